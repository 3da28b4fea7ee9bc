"""A picture of what classes are taken for what."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def draw_confusion(
    confusion: np.ndarray,
    names: Sequence[str] | None,
    path: Path,
    *,
    counts: bool = True,
) -> None:
    """How often each class, a row, was taken for each, a column, in per cent of its row;
    with numbers if there is room for `counts`."""
    size = len(confusion)
    names = [str(k) for k in range(size)] if names is None else names
    total = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    share = 100 * confusion / total
    inches = 2.0 + (0.28 if counts else 0.14) * size
    figure = Figure(figsize=(inches + 0.6, inches), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="% of the class", shrink=0.8)
    axes.set_xticks(range(size), names, rotation=90, fontsize="small")
    axes.set_yticks(range(size), names, fontsize="small")
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    for row, column in zip(*np.nonzero(confusion)) if counts else ():
        axes.text(
            column, row, str(confusion[row, column]), ha="center", va="center",
            fontsize=6, color="white" if share[row, column] > 50 else "black",
        )  # fmt: skip
    figure.savefig(path)
