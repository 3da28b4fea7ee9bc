"""The figure of the row gradient_reversal, from what is stored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


IN_WORDS = {
    "ramp": "ramp (STD-ED)",
    "rel_psp": "fixed threshold, ReL-PSP (STDBP)",
    "double_exponential": "LIF, exact",
    "surrogate": "LIF on a grid, surrogate",
}
# Okabe and Ito's colours, told apart by colour-blind people too.
COLOURS = dict(zip(IN_WORDS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7")))


def draw(folder: Path) -> None:
    """Shares of reversed signs, and what becomes of a spike if an input is delayed."""
    runs = {
        name: [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((folder / name).glob("*.json"))
        ]
        for name in IN_WORDS
    }
    runs = {name: records for name, records in runs.items() if records}
    figure = Figure(figsize=(9.0, 3.2), dpi=150, layout="constrained")
    shares, delays = figure.subplots(1, 2)
    for place, (name, records) in enumerate(runs.items()):
        values = [x["metrics"]["reversed by input times %"] for x in records]
        mean = float(np.mean(values))
        shares.barh(place, mean, color=COLOURS[name], height=0.6)
        shares.annotate(
            f"{mean:.1f} %",
            (mean, place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    shares.set_yticks(range(len(runs)), [IN_WORDS[name] for name in runs])
    shares.invert_yaxis()
    shares.set_xlim(0, 100)
    _clean(
        shares, "signs reversed, by input times (%)", "", "2000 random neurons a seed"
    )
    for name, records in runs.items():
        if "example" in records[0]:
            first, out = (np.array(records[0]["example"][x]) for x in ("first", "out"))
            delays.plot(
                first, out - out[0], color=COLOURS[name], lw=1.5, label=IN_WORDS[name]
            )
    delays.axhline(0, color="#7f7f7f", lw=0.5)
    if delays.get_legend_handles_labels()[0]:
        delays.legend(frameon=False, fontsize="small")
    _clean(
        delays, "delay of an excitatory input (ms)", "delay of the spike (ms)",
        "one neuron of two inputs",
    )  # fmt: skip
    figure.savefig(folder / "gradient_reversal.png")


def _clean(axes: Any, xlabel: str, ylabel: str, title: str) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
