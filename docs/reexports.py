"""Tells the documentation what the library says by `from ._file import X as X`.

A name that an `__init__.py` takes from its own package is public. Pages of a whole
room, such as `losses`, then show every public name without listing them.
"""

from typing import Any

import griffe


class Reexports(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        del kwargs
        for module in [pkg, *pkg.modules.values()]:
            if isinstance(module, griffe.Module) and module.is_init_module:
                module.exports = [
                    name
                    for name, member in module.members.items()
                    if member.is_alias
                    and not name.startswith("_")
                    and member.target_path.startswith(module.path + ".")  # type: ignore
                ]
