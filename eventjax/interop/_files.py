import os
from pathlib import Path

import nir


PathLike = str | os.PathLike[str]


def write_nir(path: PathLike, graph: nir.NIRGraph) -> None:
    """Write a graph to a file, in one piece: a run that is interrupted leaves behind the
    file that was there before, or none.

    **Arguments:**

    - `path`: of the file, by custom with the suffix `.nir`. Folders are made.
    - `graph`: an `nir.NIRGraph`, as `to_nir` gives it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        nir.write(beside, graph)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_nir(path: PathLike) -> nir.NIRGraph:
    """Read a graph from a file.

    **Arguments:**

    - `path`: of a file that `write_nir`, `nir.write` or another simulator has made.

    **Returns:** an `nir.NIRGraph`, for `from_nir`.

    **Raises:** a `FileNotFoundError` if there is no file, and a `ValueError` if it holds
    no sound graph.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file `{path}`.")
    try:
        return nir.read(path)
    except Exception as error:  # what h5py and nir raise is of many types
        why = str(error) or type(error).__name__
        raise ValueError(
            f"`{path}` holds no graph that nir can read: {why}. It may be damaged, or "
            "not be a file of NIR."
        ) from error
