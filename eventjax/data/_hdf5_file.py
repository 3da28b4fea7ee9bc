"""An HDF5 file that is read by a process of its own.

On some damaged files the HDF5 library does not fail but crashes. That process goes down
then, instead of the one that asked, where it is an error like any other.

To be imported only where h5py is at hand.
"""

import contextlib
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np


_PROGRAM = Path(__file__).with_name("_hdf5_server.py")


class Hdf5File:
    """A file open for reading, until the end of `with`.

    **Raises:** `RuntimeError` from every method for what the library cannot read, or
    crashes on.
    """

    def __init__(self, path: Path):
        # Without -P the folder of the program would be searched for modules.
        command = [sys.executable, "-P", str(_PROGRAM), str(path)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )
        try:
            self._answer()
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def describe(self, name: str) -> dict[str, Any] | None:
        """`shape`, whether it holds `lists`, and `dtype` and `kind` of what is in it or in
        them. `None` if there is no data set of this name."""
        found, _ = self._ask(name)
        return None if found["shape"] is None else found

    def read(self, name: str) -> np.ndarray:
        """All of a data set of numbers or text with one axis."""
        _, (values,) = self._ask(name, 0, None)
        return values

    def read_lists(self, name: str, start: int, stop: int) -> list[np.ndarray]:
        """Some of the lists of a data set."""
        _, (lengths, values) = self._ask(name, start, stop)
        return np.split(values, np.cumsum(lengths)[:-1])

    def _ask(self, *question: str | int | None) -> tuple[dict, list[np.ndarray]]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then the missing answer says why
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> tuple[dict, list[np.ndarray]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._why_gone())
        head = json.loads(line)
        if "error" in head:
            raise RuntimeError(head["error"])
        arrays = []
        for size in head["sizes"]:
            part = self._process.stdout.read(size)
            if len(part) < size:
                raise RuntimeError(self._why_gone())
            arrays.append(np.load(io.BytesIO(part), allow_pickle=False))
        return head, arrays

    def _why_gone(self) -> str:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        library = f"HDF5 {h5py.version.hdf5_version}"
        return f"the process that reads it by {library} went down ({how})"

    def _end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # of a question not sent
                pipe.close()
        self._process.wait()
