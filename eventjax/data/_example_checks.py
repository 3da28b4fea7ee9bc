"""What all writers of made-up files ask for."""

from collections.abc import Iterable
from pathlib import Path


def check_positive_numbers(**values: float | int) -> None:
    """**Raises:** `ValueError` that names the first that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")


def check_absent(paths: Iterable[Path]) -> None:
    """**Raises:** `FileExistsError` that names the first that is there."""
    for path in paths:
        if path.exists():
            raise FileExistsError(f"`{path}` is there already, and is left as it is.")
