"""What a run leaves behind: metrics line by line, results and arrays in one piece."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, IO

import jax
import numpy as np


PathLike = str | os.PathLike[str]

_PACKAGES = ("eventjax", "jax", "jaxlib", "equinox", "optax", "numpy")


class MetricsLog:
    """A file of JSON lines, one for each thing that happened, written out at once.

    What a run that dies has logged so far is on disk and readable. Of several processes
    (`jax.distributed`) only the first makes the file and writes to it.

    **Arguments:**

    - `path`: the file. An old one is replaced; its folder is made if need be.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self._file = None
        if is_first_process():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        """Add the line `{"event": event, ...}`. Numbers that are not finite become
        `null`, which JSON knows."""
        line = json.dumps({"event": event, **_plain(values)}, allow_nan=False)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def save_json(path: PathLike, values: Mapping[str, Any]) -> None:
    """Write a JSON file in one piece: either all of it is there, or the old file is.

    NumPy and JAX arrays become lists, and numbers that are not finite `null`. Of several
    processes (`jax.distributed`) only the first writes.
    """
    text = json.dumps(_plain(values), indent=1, allow_nan=False) + "\n"
    if not is_first_process():
        return
    with _replacing(path) as file:
        file.write(text.encode())


def save_arrays(path: PathLike, **arrays: Any) -> None:
    """Write an `.npz` file of arrays in one piece, as `save_json` does."""
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    if not is_first_process():
        return
    with _replacing(path) as file:
        np.savez_compressed(file, **arrays)


def environment() -> dict[str, Any]:
    """Where this run takes place: commit, versions and machine.

    `commit` is what `git describe --always --dirty` says in the current folder, or
    `None` where that is not a checkout.
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "commit": _commit(),
        "versions": versions,
        "machine": {
            "platform": platform.platform(),
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "devices": [device.device_kind for device in jax.devices()],
        },
    }


def is_first_process() -> bool:
    """Whether this process is the one to write. It does not start JAX's backend, before
    which `jax.distributed.initialize` must be called."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


@contextlib.contextmanager
def _replacing(path: PathLike) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place if all goes well, and goes if not: a full
    disk leaves the old one, if there is one, and nothing of the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.add_note(
                f"{path} could not be written; what was there before still is."
            )
        raise


def _plain(value: Any) -> Any:
    """The same in what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, platform.processor() or None)
