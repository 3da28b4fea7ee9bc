"""Which folder raw data is read from, and which one prepared sets are written to."""

import os
from pathlib import Path


PathLike = str | os.PathLike[str]

DATA_VARIABLE = "EVENTJAX_DATA_DIR"
CACHE_VARIABLE = "EVENTJAX_CACHE_DIR"


def data_root(data_dir: PathLike | None) -> Path | None:
    """The folder of raw data: `data_dir`, else the environment's, else `None`.

    It is only ever read.
    """
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def prepared_root(prepared_dir: PathLike | None, raw_root: Path | None) -> Path:
    """The folder of prepared sets: `prepared_dir`, else the environment's, else
    `~/.cache/eventjax`.

    **Raises:** `ValueError` if it lies inside the folder of raw data `raw_root`, which
    must stay as it is.
    """
    chosen = prepared_dir or os.environ.get(CACHE_VARIABLE) or "~/.cache/eventjax"
    root = Path(chosen).expanduser()
    if raw_root is not None and root.resolve().is_relative_to(raw_root.resolve()):
        raise ValueError(
            f"Prepared sets would be written to `{root}`, inside the folder of raw "
            f"data `{raw_root}`, which is never written to. Give another folder in "
            f"`prepared_dir` or in the environment variable {CACHE_VARIABLE}."
        )
    return root
