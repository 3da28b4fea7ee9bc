"""Which papers and rows there are, and which of them a name means."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ._row import Job, Paper, Row


HERE = Path(__file__).parent


def papers() -> list[Paper]:
    """Every folder with a `targets.toml` is a paper: a package with `TITLE` and `ROWS`."""
    return [
        _paper(path.parent) for path in sorted(HERE.glob("*/targets.toml"))
    ]  # fmt: skip


def _paper(folder: Path) -> Paper:
    package = importlib.import_module(f"{__package__}.{folder.name}")
    return Paper(folder.name, package.TITLE, tuple(package.ROWS), folder)


def find(name: str) -> Iterator[tuple[Paper, Row, str]]:
    """The rows that a name means, with what it says beyond the row.

    **Arguments:**

    - `name`: `<paper>`, which means all its rows, `<paper>/<row>`, or with a group and a
        replicate behind it.

    **Raises:** `ValueError` for a paper or row that does not exist.
    """
    wanted, _, rest = name.partition("/")
    known = {paper.name: paper for paper in papers()}
    if wanted not in known:
        raise ValueError(f"There is no paper {wanted!r}, only {', '.join(known)}.")
    paper = known[wanted]
    row, _, rest = rest.partition("/")
    found = [x for x in paper.rows if not row or x.name == row]
    if not found:
        names = ", ".join(x.name for x in paper.rows)
        raise ValueError(f"{wanted} has no row {row!r}, only {names}.")
    return ((paper, x, rest) for x in found)


def chosen(row: Row, jobs: Sequence[Job], rest: str) -> list[Job]:
    """The runs of a row that a name means.

    **Raises:** `ValueError` if there are none.
    """
    out = [x for x in jobs if not rest or f"{x.path}/".startswith(f"{rest}/")]
    if not out:
        parts = dict.fromkeys(x.group or x.replicate for x in jobs)
        raise ValueError(f"{row.name} has no {rest!r}, only {', '.join(parts)}.")
    return out
