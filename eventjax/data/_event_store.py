"""Event sets on disk: flat arrays that can be memory-mapped, in a folder that is complete
or absent."""

import contextlib
import json
import math
import os
import shutil
import tempfile
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._event_checks import TYPES
from ._folder import PathLike


# Event sets are typed `Any` here: their class is made on top of this file.

META = "meta.json"
_FORMAT = 1
# Numbers that are in it; besides there are names of classes, or nothing.
_NUMBERS = ("num_events", "num_units", "num_classes")
# Of NumPy and the standard library where they read what is no store.
_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)


def write_store(folder: PathLike, parts: Iterable[Any]) -> None:
    """Write event sets of the same kind to a new folder, one after the other, as one.

    Only one part needs to be in memory at a time.

    **Raises:** `FileExistsError` if the folder is there already; `ValueError` if there is
    no part, or parts differ in their numbers of units or classes.
    """
    with _new_folder(Path(folder)) as temporary, contextlib.ExitStack() as stack:
        columns = {
            name: stack.enter_context(
                _Column(temporary / f"{name}.npy", np.dtype(dtype))
            )
            for name, dtype in TYPES.items()
        }
        columns["offsets"].append(np.zeros(1, np.int64))
        meta = None
        for part in parts:
            names = part.label_names
            mine = {
                "format": _FORMAT,
                "num_units": part.num_units,
                "num_classes": part.num_classes,
                "label_names": None if names is None else list(names),
            }
            if meta not in (None, mine):
                raise ValueError(f"These sets are not of one kind: {meta}, {mine}.")
            meta = mine
            columns["offsets"].append(part.offsets[1:] + columns["times"].length)
            for name in ("times", "units", "label", "speaker"):
                columns[name].append(getattr(part, name))
        if meta is None:
            raise ValueError("There is no event set to write.")
        meta["num_events"] = columns["times"].length
        (temporary / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_store(folder: PathLike, mmap: bool) -> dict[str, Any]:
    """What an `EventSet` is made of, as it was written.

    **Raises:** `FileNotFoundError` if there is no such folder; `RuntimeError` if it is
    damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no event set in `{folder}`.")
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        _check_meta(meta)
        num_events, names = meta.pop("num_events"), meta.pop("label_names")
        meta["label_names"] = None if names is None else tuple(names)
        arrays = {name: _read_column(folder, name, mmap) for name in TYPES}
        if len(arrays["times"]) != num_events:
            raise ValueError(
                f"{META} speaks of {num_events} events, but there are "
                f"{len(arrays['times'])}"
            )
    except _ERRORS as error:
        raise damaged_store(folder, error) from error
    return {**arrays, **meta}


def _check_meta(meta: Any) -> None:
    """Take the format out, and be sure of what is left."""
    known = {"format", "label_names", *_NUMBERS}
    if not isinstance(meta, dict) or set(meta) != known:
        raise ValueError(f"{META} must hold {', '.join(sorted(known))}")
    if meta.pop("format") != _FORMAT:
        raise ValueError(f"{META} is not of format {_FORMAT}")
    names = meta["label_names"]
    numbers = all(type(meta[name]) is int for name in _NUMBERS)
    if not numbers or not isinstance(names, list | None):
        raise ValueError(f"{META} holds {meta}")
    if names and not all(isinstance(name, str) for name in names):
        raise ValueError(f"{META} holds {names} for names")


def damaged_store(folder: PathLike, reason: object) -> RuntimeError:
    return RuntimeError(
        f"The event set in `{folder}` is damaged: {reason}. Delete that folder, and make "
        "the set again."
    )


def mapped_from(array: np.ndarray) -> Path | None:
    """The folder of the store that an array is mapped from, if it is."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return Path(base.filename).parent if isinstance(base, np.memmap) else None


def _read_column(folder: Path, name: str, mmap: bool) -> np.ndarray:
    path = folder / f"{name}.npy"
    # What is small is read, whether or not the events are.
    lazy = mmap and name in ("times", "units")
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        header = file.tell()
    size = header + math.prod(shape) * dtype.itemsize
    if path.stat().st_size != size:
        raise ValueError(
            f"{path.name} has {path.stat().st_size} bytes instead of {size}"
        )
    # A file of no event cannot be mapped.
    return np.load(path, mmap_mode="r" if lazy and math.prod(shape) else None)


class _Column:
    """An array of one axis and unknown length, written to a `.npy` file bit by bit.

    NumPy pads headers so that the length can grow without moving what follows.
    """

    def __init__(self, path: Path, dtype: np.dtype):
        self.length = 0
        self._dtype = dtype
        self._file = path.open("wb")
        self._data_start = self._write_header()

    def append(self, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values)
        if values.dtype != self._dtype:
            raise ValueError(f"Expected {self._dtype}, got {values.dtype}.")
        self._file.write(values.data)
        self.length += len(values)

    def __enter__(self) -> "_Column":
        return self

    def __exit__(self, kind, *_) -> None:
        with self._file:
            if kind is None and self._write_header() != self._data_start:
                raise RuntimeError("The header of a .npy file has grown.")

    def _write_header(self) -> int:
        self._file.seek(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `folder` at the end and is gone on an error."""
    if folder.exists():
        raise FileExistsError(f"`{folder}` is there already.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(
        tempfile.mkdtemp(prefix=f"{folder.name}.incomplete.", dir=folder.parent)
    )
    try:
        yield temporary
        temporary.chmod(0o755)  # `mkdtemp` lets nobody else read
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
