from typing import Any

import numpy as np

from ._figure import (
    clean,
    colour,
    new_figure,
    PathLike,
    read_arrays,
    save_figure,
)


def spike_time_map(arrays: PathLike, *, save: PathLike | None = None) -> Any:
    """When each output neuron fires, over a plane of inputs, and which one is first.

    **Arguments:**

    - `arrays`: an `.npz` file with the grid's coordinates `map_x` and `map_y`, each
        `[points]`, evenly spaced, and `map_times`, the first spike times in ms,
        `[len(map_y), len(map_x), outputs]`: `inf` where a neuron is silent, `nan` where
        the plane has no data. If it has them, the points `points` (`[n, 2]`) with their
        `labels` are drawn, and crosses mark those that were not `points_correct`.
    - `save`: where to write the picture.

    **Returns:** the figure.

    **Raises:** `ValueError` if the file lacks the arrays.
    """
    from matplotlib.colors import ListedColormap

    stored = read_arrays(arrays, "map_x", "map_y", "map_times")
    x, y, times = stored["map_x"], stored["map_y"], stored["map_times"]
    size = times.shape[-1]
    figure = new_figure(2.4 * (size + 1) + 0.8, 2.7)
    panels = figure.subplots(1, size + 1, sharex=True, sharey=True)
    inside = ~np.isnan(times).all(axis=-1)
    first = np.where(inside, np.argmin(_silent_last(times), axis=-1), -1)
    fired = np.where(np.isfinite(times), times, np.nan)
    low, high = np.nanpercentile(fired, [1, 99]) if np.isfinite(fired).any() else (0, 1)
    for n, axes in enumerate(panels[:size]):
        axes.pcolormesh(
            x, y, np.where(inside, 1.0, np.nan), cmap=ListedColormap(["#e8e8e8"]),
            rasterized=True,
        )  # fmt: skip
        image = axes.pcolormesh(
            x, y, fired[..., n], vmin=low, vmax=high, cmap="viridis_r", rasterized=True
        )
        mine = np.where(first == n, 1.0, 0.0)
        if 0 < mine.sum() < mine.size:
            axes.contour(x, y, mine, levels=[0.5], colors="white", linewidths=1.0)
        clean(axes, "x", "y" if n == 0 else "", f"output {n}")
        axes.title.set_color(colour(n))
        axes.set_aspect("equal")
    figure.colorbar(
        image, ax=panels[:size], label="first spike (ms)", shrink=0.85, pad=0.01
    )
    _draw_first(panels[size], stored, x, y, first, size)
    save_figure(figure, save)
    return figure


def _silent_last(times: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(times), np.inf, times)


def _draw_first(axes: Any, stored: dict, x, y, first: np.ndarray, size: int) -> None:
    """Which output fires first, with the points it was tested on."""
    from matplotlib.colors import ListedColormap

    shown = np.where(first < 0, np.nan, first)
    colours = ListedColormap([colour(n) for n in range(size)])
    axes.pcolormesh(
        x, y, shown, cmap=colours, vmin=-0.5, vmax=size - 0.5, alpha=0.45,
        rasterized=True,
    )  # fmt: skip
    title = "fires first"
    if "points" in stored:
        points, labels = stored["points"], stored["labels"]
        right = stored.get("points_correct", np.ones(len(points), bool)).astype(bool)
        axes.scatter(*points[right].T, s=1.5, c=colours(labels[right]), lw=0)
        axes.scatter(*points[~right].T, s=14, c="black", marker="x", lw=0.9)
        title += f"; {int((~right).sum())} of {len(right)} wrong (x)"
    clean(axes, "x", "", title)
    axes.set_aspect("equal")
