from collections.abc import Mapping
from typing import Any

import numpy as np

from ._figure import clean, new_figure, PathLike, read_json, save_figure


def compare_curves(
    results: Mapping[str, PathLike],
    *,
    metric: str = "accuracy",
    columns: int = 3,
    save: PathLike | None = None,
) -> Any:
    """A small panel of each of several runs: a metric over the epochs, in per cent.

    **Arguments:**

    - `results`: for each name a JSON file as for `learning_curve`.
    - `metric`: which of them, without `train_` and `validation_`.
    - `columns`: panels in a row.
    - `save`: where to write the picture.

    **Returns:** the figure.

    **Raises:** `ValueError` if there is no run, or one has no history of the metric.
    """
    if not results:
        raise ValueError("`results` must name at least one run, got none.")
    columns = min(columns, len(results))
    rows = -(-len(results) // columns)
    figure = new_figure(2.6 * columns, 1.9 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(results) :]:
        axes.set_visible(False)
    for axes, (name, path) in zip(panels.flat, results.items()):
        stored = read_json(path)
        history = stored.get("history") or [{}]
        if f"train_{metric}" not in history[0]:
            raise ValueError(f"`{path}` has no history of `{metric}` to plot.")
        epochs = [row["epoch"] for row in history]
        for part, colour in (("train", "#0072B2"), ("validation", "#D55E00")):
            values = [row.get(f"{part}_{metric}", np.nan) for row in history]
            axes.plot(epochs, 100 * np.array(values), color=colour, lw=1.5, label=part)
        title, test = name, stored.get("test", {}).get(metric)
        if test is not None:
            epoch = stored.get("selection", {}).get("epoch", epochs[-1])
            axes.plot(epoch, 100 * test, "*", color="black", ms=8, label="test")
            title = f"{name}, test {100 * test:.1f} %"
        clean(axes, "epoch", f"{metric} (%)", title)
        axes.title.set_fontsize("x-small")
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        axes.label_outer()
    panels[0, 0].legend(frameon=False, fontsize="x-small", loc="lower right")
    save_figure(figure, save)
    return figure
