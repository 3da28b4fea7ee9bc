"""The figure of the row over_sparsity, from what is stored."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ._depth import IN_WORDS, THRESHOLDS


# Okabe and Ito's colours, told apart by colour-blind people too.
COLOURS = dict(zip(THRESHOLDS, ("#0072B2", "#D55E00", "#E69F00", "#009E73")))
_FRESH = "16_layers_untrained"


def draw(folder: Path) -> None:
    """Firing and gradients by layer before training, and accuracy by depth after it, with
    bars from the worst to the best seed."""
    figure = Figure(figsize=(11.0, 3.4), dpi=150, layout="constrained")
    fires, gains, accuracy = figure.subplots(1, 3)
    fresh = [_read(path) for path in sorted((folder / _FRESH).glob("*.json"))]
    for name in THRESHOLDS:
        style = dict(
            color=COLOURS[name], lw=1.5, marker="o", ms=3, label=IN_WORDS[name]
        )
        if fresh:
            layers = np.arange(1, 1 + len(fresh[0]["shares"][name]))
            fires.plot(layers, 100 * _by_layer(fresh, name, "fires"), **style)
            gains.plot(layers, _by_layer(fresh, name, "gain_99"), **style)
        trained = _accuracies(folder, name)
        if trained:
            depths = sorted(trained)
            means = [np.mean(trained[k]) for k in depths]
            lows = [np.mean(trained[k]) - np.min(trained[k]) for k in depths]
            highs = [np.max(trained[k]) - np.mean(trained[k]) for k in depths]
            accuracy.errorbar(depths, means, [lows, highs], capsize=3, **style)
    gains.set_yscale("log")
    gains.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    gains.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    gains.yaxis.set_minor_formatter(NullFormatter())
    _clean(fires, "layer", "neurons that fire (%)", "before training, 16 layers")
    _clean(gains, "layer", "99th percentile (ms)", "1 / denominator of gradients")
    _clean(accuracy, "hidden layers", "test accuracy (%)", "MNIST, after training")
    accuracy.set_xticks(
        sorted({x for name in THRESHOLDS for x in _accuracies(folder, name)})
    )
    for axes in (fires, accuracy):
        axes.set_ylim(0, 103)
    handles, labels = fires.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, frameon=False
        )
    figure.savefig(folder / "over_sparsity.png")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _by_layer(runs: list[dict], threshold: str, what: str) -> np.ndarray:
    """Means over runs; NaN, which leaves a gap, where a run has none."""
    rows = [[x[what] for x in run["shares"][threshold]] for run in runs]
    return np.array(rows, float).mean(axis=0)


def _accuracies(folder: Path, threshold: str) -> dict[int, list[float]]:
    """Of all trained runs, by the number of hidden layers."""
    out: dict[int, list[float]] = defaultdict(list)
    for path in folder.glob(f"{threshold}_*_layers/*.json"):
        run = _read(path)
        if run["config"]["threshold"] == threshold:
            out[run["config"]["layers"]].append(run["metrics"]["test accuracy %"])
    return out


def _clean(axes: Any, xlabel: str, ylabel: str, title: str) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
