"""Checkpoints on disk: arrays by name, and notes beside them.

They are written by orbax, in a folder of a temporary name that gets its final one when
all is in it. A checkpoint has two items: the arrays, and JSON with the notes. Orbax does
not notice a damaged array, so the notes have a checksum of each, and of themselves.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._records import PathLike
from ._run import Failure


Arrays = dict[str, np.ndarray]


class CheckpointFiles:
    """The last few checkpoints in a folder, each known by its number.

    They are written in the background: `save` returns when it has taken over what there
    is to write. A write that failed is an error in the next `save`, or at the end of the
    `with` block, which waits for the last one.

    **Arguments:**

    - `folder`: is made if need be. What a write has left unfinished there is removed.
    - `keep`: how many stay; the oldest is removed when a new one is complete.
    """

    def __init__(self, folder: PathLike, keep: int):
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "`checkpoints` needs orbax-checkpoint: install `eventjax[train]`, or "
                "leave the argument out."
            ) from error
        self.folder = Path(folder).absolute()
        self._args = ocp.args
        self._writing: int | None = None
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, cleanup_tmp_directories=True
            ),
        )

    def __enter__(self) -> "CheckpointFiles":
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        try:
            self._wait()
        except Failure as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # what went wrong first stays the error
        finally:
            self._manager.close()

    def newest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, number: int, arrays: Arrays, notes: dict[str, Any]) -> None:
        """Begin to write a checkpoint, after the one before is complete.

        **Arguments:**

        - `number`: larger than that of any checkpoint there is.
        - `arrays`: to be left as they are from now on.
        - `notes`: values that JSON knows, likewise.

        **Raises:** `Failure` if this one, or the one before, cannot be written.
        """
        self._wait()
        notes = {
            **notes,
            "arrays": described(arrays),
            "checksums": {name: _checksum(x) for name, x in arrays.items()},
        }
        # Orbax does not store arrays without elements.
        items = self._args.Composite(
            arrays=self._args.StandardSave([x for x in arrays.values() if x.size]),
            notes=self._args.JsonSave({"notes": notes, "checksum": _text_sum(notes)}),
        )
        self._writing = number
        with self._errors_of_writing():
            self._manager.save(number, args=items, force=True)

    def read_notes(self, number: int) -> dict[str, Any]:
        """The notes, with `described(arrays)` and the checksums among them.

        **Raises:** `Failure` if they are damaged, as `read_arrays`.
        """
        return self._or_older(self._notes, number)

    def read_arrays(self, number: int, notes: dict[str, Any]) -> Arrays:
        return self._or_older(self._arrays, number, notes)

    def _wait(self) -> None:
        with self._errors_of_writing():
            self._manager.wait_until_finished()
        self._writing = None

    @contextlib.contextmanager
    def _errors_of_writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            number, self._writing = self._writing, None
            raise Failure(
                f"The checkpoint {self.folder / str(number)} could not be written: "
                f"{_first_line(error)}\nThose before it are as they were. Make sure that "
                f"there is room in {self.folder} and that it may be written to, then "
                "call `fit` again: it goes on from the newest of them."
            ) from error

    def _or_older(self, read, number: int, *args: Any) -> Any:
        """What `read` returns; if the checkpoint is damaged, an error that says which
        older one is whole. Not that one in its stead: a disk that damages files is
        something to know before more is written to it."""
        try:
            return read(number, *args)
        except _Damaged as damaged:
            whole = self._newest_whole_before(number)
            path = self.folder / str(number)
            instead = (
                f"the one before it that is whole, {self.folder / str(whole)}"
                if whole is not None
                else "the start, as there is no whole one before it"
            )
            raise Failure(
                f"The checkpoint {path} is damaged: {damaged}. Put back a copy if there "
                f"is one, or remove this folder to go on from {instead}."
            ) from damaged.__cause__

    def _newest_whole_before(self, number: int) -> int | None:
        for older in sorted(self._manager.all_steps(), reverse=True):
            if older < number:
                with contextlib.suppress(_Damaged):
                    self._arrays(older, self._notes(older))
                    return older
        return None

    def _notes(self, number: int) -> dict[str, Any]:
        try:
            item = self._args.Composite(notes=self._args.JsonRestore())
            stored = self._manager.restore(number, args=item).notes
            notes, checksum = stored["notes"], stored["checksum"]
        except Exception as error:
            raise _Damaged("its notes cannot be read") from error
        if _text_sum(notes) != checksum:
            raise _Damaged("its notes do not have their checksum")
        return notes

    def _arrays(self, number: int, notes: dict[str, Any]) -> Arrays:
        arrays = {
            name: np.zeros(shape, dtype)
            for name, (dtype, shape) in notes["arrays"].items()
        }
        wanted = {name: x for name, x in arrays.items() if x.size}
        try:
            like = self._args.StandardRestore(list(wanted.values()))
            item = self._args.Composite(arrays=like)
            found = self._manager.restore(number, args=item).arrays
            arrays |= dict(zip(wanted, found, strict=True))
        except Exception as error:
            raise _Damaged("its arrays cannot be read") from error
        for name, array in arrays.items():
            if _checksum(array) != notes["checksums"][name]:
                raise _Damaged(f"`{name}` does not have its checksum")
        return arrays


class _Damaged(Exception):
    """A checkpoint cannot be used; the message says what of it."""


def described(arrays) -> dict[str, list]:
    """Type and shape of each array, in values that JSON knows."""
    return {name: [str(x.dtype), list(x.shape)] for name, x in arrays.items()}


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _text_sum(notes: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(notes, sort_keys=True).encode())


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
