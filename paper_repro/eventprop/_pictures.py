"""Pictures of runs on spoken words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from paper_repro._confusion import draw_confusion


def draw_pictures(
    folder: Path, confusion: np.ndarray, names: Sequence[str] | None
) -> None:
    """Learning curve, raster and confusion matrix of a run, into its folder."""
    ej.plot.learning_curve(folder / "results.json", save=folder / "learning_curve.png")
    ej.plot.raster(folder / "arrays.npz", save=folder / "raster.png")
    draw_confusion(confusion, names, folder / "confusion.png")
