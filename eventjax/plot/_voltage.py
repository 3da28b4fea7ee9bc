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


def voltage(arrays: PathLike, *, sample: int = 0, save: PathLike | None = None) -> Any:
    """Voltages of a layer over time, one line per neuron.

    **Arguments:**

    - `arrays`: an `.npz` file with `voltage_times` in ms, `[times]`, and `voltages`,
        dimensionless, `[samples, times, neurons]`. If it has them, `threshold` is drawn
        as a line, `voltage_spikes` (ms, `[samples, neurons]`, `inf` where silent) as
        marks, and `label` (`[samples]`) is named.
    - `sample`: which one.
    - `save`: where to write the picture.

    **Returns:** the figure.

    **Raises:** `ValueError` if the file lacks the arrays or the sample.
    """
    stored = read_arrays(arrays, "voltage_times", "voltages")
    if not 0 <= sample < len(stored["voltages"]):
        raise ValueError(
            f"`sample` must lie in 0 to {len(stored['voltages']) - 1}, got {sample}."
        )
    times, traces = stored["voltage_times"], stored["voltages"][sample]
    figure = new_figure(7.0, 3.0)
    axes = figure.subplots()
    for n in range(traces.shape[1]):
        axes.plot(times, traces[:, n], color=colour(n), lw=1.3, label=f"neuron {n}")
    if "threshold" in stored:
        threshold = float(stored["threshold"])
        axes.axhline(threshold, color=GREY, lw=0.8, ls="--")
        axes.annotate(
            "threshold", (times[-1], threshold), xytext=(0, 3),
            textcoords="offset points", ha="right", color=GREY, fontsize="small",
        )  # fmt: skip
        if "voltage_spikes" in stored:
            spikes = stored["voltage_spikes"][sample]
            for n in np.flatnonzero(np.isfinite(spikes)).tolist():
                axes.plot(spikes[n], threshold, "v", color=colour(n), ms=6)
    title = f"label {stored['label'][sample]}" if "label" in stored else ""
    axes.set_xlim(times[0], times[-1])
    axes.legend(frameon=False, fontsize="small", ncols=2)
    clean(axes, "time (ms)", "voltage (threshold = 1)", title)
    save_figure(figure, save)
    return figure
