from typing import Any

import numpy as np

from ._figure import (
    clean,
    colour,
    GREY,
    new_figure,
    PathLike,
    read_arrays,
    save_figure,
)


def raster(arrays: PathLike, *, sample: int = 0, save: PathLike | None = None) -> Any:
    """Every spike of one sample: the input above, then layer by layer.

    **Arguments:**

    - `arrays`: an `.npz` file with `sizes`, the number of input sources and of neurons
        in each layer; `times_0`, `sources_0` for the input and `times_1`, `sources_1`
        and so on for the layers, `[samples, capacity]`, times in ms, `inf` where empty.
        A layer that does not spike has none.
    - `sample`: which one.
    - `save`: where to write the picture.

    **Returns:** the figure.

    **Raises:** `ValueError` if the file lacks the arrays or the sample.
    """
    stored = read_arrays(arrays, "sizes", "times_0", "sources_0")
    if not 0 <= sample < len(stored["times_0"]):
        raise ValueError(
            f"`sample` must lie in 0 to {len(stored['times_0']) - 1}, got {sample}."
        )
    sizes = stored["sizes"].tolist()
    shown = [k for k in range(len(sizes)) if f"times_{k}" in stored]
    heights = [np.sqrt(sizes[k]) + 1 for k in shown]
    figure = new_figure(7.0, 4.5)
    panels = figure.subplots(
        len(shown), 1, sharex=True, squeeze=False, height_ratios=heights
    )[:, 0]
    drawn = []
    for axes, k in zip(panels, shown):
        times, sources = (stored[f"{x}_{k}"][sample] for x in ("times", "sources"))
        there = np.isfinite(times)
        drawn.append(times)
        _draw(axes, times[there], sources[there], sizes[k], k == shown[-1] and k > 0)
        name = "input" if k == 0 else f"layer {k}"
        clean(axes, ylabel=f"{name}\nneuron" if k else "input\nsource")
    latest = max(np.max(x, where=np.isfinite(x), initial=0.0) for x in drawn)
    panels[-1].set_xlim(-0.02 * latest, 1.02 * latest or 1.0)
    panels[-1].set_xlabel("time (ms)")
    save_figure(figure, save)
    return figure


def _draw(axes: Any, times, sources, size: int, last: bool) -> None:
    """One tick per spike; each output neuron has its own colour, others share one."""
    trains = [times[sources == n] for n in range(size)]
    colours = [colour(n) for n in range(size)] if last and size <= 10 else "#222222"
    length = max(0.8, size / 40)  # a tick of one row would be too small to see
    axes.eventplot(
        trains, lineoffsets=np.arange(size), linelengths=length, colors=colours
    )
    axes.set_ylim(size - 0.4, -0.6)
    if size <= 10:
        axes.set_yticks(range(size))
        for n in range(size):
            axes.axhline(n, color=GREY, lw=0.3, zorder=0)
