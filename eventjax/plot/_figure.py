"""What all plots share: colours, a clean figure, reading and saving."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


PathLike = str | os.PathLike[str]

# Okabe and Ito's colours, told apart by colour-blind people too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7f7f7f"


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def new_figure(width: float, height: float) -> Any:
    """An empty figure, sizes in inches, that belongs to no window."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: install `eventjax[plot]`.") from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def clean(axes: Any, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Labels, and no frame where there is nothing to read."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="small")


def read_json(path: PathLike) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_arrays(path: PathLike, *names: str) -> dict[str, np.ndarray]:
    """All arrays of a file; a `ValueError` if one of those named is not among them."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"`{path}` has no {', '.join(f'`{name}`' for name in missing)}, only "
            f"{', '.join(sorted(arrays))}."
        )
    return arrays


def save_figure(figure: Any, path: PathLike | None) -> None:
    """Write a picture in one piece; its type is the path's suffix. `None`: not at all."""
    if path is None:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        figure.savefig(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
