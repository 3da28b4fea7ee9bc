from typing import Any

import numpy as np

from ._figure import clean, colour, GREY, new_figure, PathLike, read_json, save_figure


def learning_curve(results: PathLike, *, save: PathLike | None = None) -> Any:
    """Loss, error and activity over the epochs of a run.

    **Arguments:**

    - `results`: a JSON file with the rows of `eventjax.train.fit` under `"history"`. If it
        has them, `"selection"` (`{"epoch": ...}`) and `"test"` (`{"accuracy": ...}`) are
        shown too.
    - `save`: where to write the picture.

    **Returns:** the figure.

    **Raises:** `ValueError` if the file has no history.
    """
    stored = read_json(results)
    history = stored.get("history")
    if not history:
        raise ValueError(f"`{results}` has no `history` of epochs to plot.")
    epochs = np.array([row["epoch"] for row in history])
    figure = new_figure(9.0, 3.0)
    loss, error, activity = figure.subplots(1, 3)
    for index, part in enumerate(("train", "validation")):
        style = dict(color=colour(index), lw=1.5, marker="o", ms=2, label=part)
        if f"{part}_loss" in history[0]:
            loss.plot(epochs, _column(history, f"{part}_loss"), **style)
        if f"{part}_accuracy" in history[0]:
            wrong = 100 * (1 - _column(history, f"{part}_accuracy"))
            error.plot(epochs, wrong, **style)
    _mark_test(error, stored, epochs)
    for axes in (loss, error):
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize="small")
    clean(loss, "epoch", "mean over samples", "loss")
    clean(error, "epoch", "classified wrongly (%)", "error")
    for axes in (loss, error, activity):
        axes.xaxis.get_major_locator().set_params(integer=True)
    _plain_log_ticks(error)
    _plain_log_ticks(loss)
    _plot_activity(activity, epochs, history)
    save_figure(figure, save)
    return figure


def _column(history: list[dict], name: str) -> np.ndarray:
    return np.array([np.nan if row[name] is None else row[name] for row in history])


def _mark_test(axes: Any, stored: dict, epochs: np.ndarray) -> None:
    accuracy = stored.get("test", {}).get("accuracy")
    if accuracy is None:
        return
    epoch = stored.get("selection", {}).get("epoch", epochs[-1])
    label = f"test, {100 * accuracy:.1f} % right"
    axes.plot(epoch, 100 * (1 - accuracy), "*", color="black", ms=9, label=label)


def _plot_activity(axes: Any, epochs: np.ndarray, history: list[dict]) -> None:
    """Spikes per sample of each layer, with the dead fraction beside the line's name."""
    rows = [row["spikes_per_sample"] for row in history]
    for layer in range(len(rows[0])):
        if rows[0][layer] is None:
            continue
        values = [row[layer] for row in rows]
        dead = history[-1]["dead_fraction"][layer]
        label = f"layer {layer + 1} ({100 * dead:.0f} % silent)"
        axes.plot(epochs, values, color=colour(layer + 2), lw=1.5, label=label)
    axes.set_ylim(bottom=0)
    axes.axhline(0, color=GREY, lw=0.5)
    if axes.get_legend_handles_labels()[0]:  # models without exact spikes have none
        axes.legend(frameon=False, fontsize="small")
    clean(axes, "epoch", "spikes per sample", "activity")


def _plain_log_ticks(axes: Any) -> None:
    """1, 2, 3, 5, 10 instead of powers of ten: these curves span a decade or two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
