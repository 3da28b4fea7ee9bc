"""What a spike changes a weight by, against the time to the nearest one of the other side.

    python -m paper_repro run eqspike/stdp --data-dir DATA

The paper reports that its updates show a form of STDP; its protocol and curve are
UNCONFIRMED. Here every spike of a hidden neuron in the nudged phases of test pictures is
looked at, in a network that has learnt from some: the weight to an output changes by the
derivative of the output's filtered rate. Apart for outputs whose rate rises and falls in
the phase, and as a control for the same phases without nudge.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row, Where

from .._taught import currents_and_targets, Taught, taught


EDGE = 20.0  # ms, to either side
KINDS = ("rising", "falling", "control")


def train(config: Taught, where: Where) -> Record:
    """Trains a little, and looks at nudged phases.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    q = ej.equilibrium
    network, parts = taught(config, where)
    few = parts["test"], config.pictures
    pixels, targets = currents_and_targets(*few, config)
    before = q.run_phase(network, pixels, config.free).state
    curves = {}
    for nudge in (q.Nudge(targets, config.beta), None):
        phase = q.run_phase(
            network, pixels, config.nudged, state=before, nudge=nudge, record=True
        )
        found = q.spike_timing(network.neuron, phase.recording, 0, 1)
        change = phase.state[-1].r - before[-1].r
        if nudge is None:
            curves["control"] = _curve(found, np.ones(change.shape, bool))
        else:
            curves["rising"] = _curve(found, np.asarray(change > 0))
            curves["falling"] = _curve(found, np.asarray(change < 0))
    whole = {kind: curves[kind]["mean"] for kind in KINDS}
    return {
        "curves": curves,
        "metrics": {f"mean change per spike, {k}, 1e-3": v for k, v in whole.items()},
        **ej.train.environment(),
    }


def _curve(timing: ej.equilibrium.SpikeTiming, which: np.ndarray) -> dict[str, Any]:
    """Mean change by time in bins of 1 ms, in 1e-3, of chosen outputs `[batch, post]`."""
    gap, change = np.asarray(timing.gap), np.asarray(timing.change)
    chosen = np.isfinite(gap) & which[None, :, None, :]
    bins = np.arange(-EDGE, EDGE + 1)
    place = np.digitize(gap[chosen], bins)
    value = 1e3 * change[chosen]
    count = np.bincount(place, minlength=len(bins) + 1)[1:-1]
    total = np.bincount(place, value, minlength=len(bins) + 1)[1:-1]
    mean = [float(t / n) if n else float("nan") for t, n in zip(total, count)]
    mean = [None if np.isnan(x) else x for x in mean]
    return {
        "change": mean,
        "spikes": count.tolist(),
        "mean": float(value.mean()) if value.size else 0.0,
    }


SETTINGS = {"mnist": Taught()}


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_data`
    return [Job("mnist", "seed0", SETTINGS["mnist"].tiny)]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    out = [
        "Weights from hidden neurons to outputs: mean change at a spike of the hidden "
        "neuron (times beta, in 1e-3) where the nearest spike of the output came within "
        "5 ms before it, within 5 ms after it, and over all:",
        "",
        "| outputs | run | before | after | all |",
        "| --- | --- | --- | --- | --- |",
    ]
    middle = int(EDGE)
    for run, record in records["mnist"].items():
        for kind in KINDS:
            curve = record["curves"][kind]
            sides = [
                _weighted(curve, middle - 5, middle),
                _weighted(curve, middle, middle + 5),
            ]
            cells = [f"{x:+.3f}" for x in (*sides, curve["mean"])]
            out.append(f"| {kind} | {run} | {' | '.join(cells)} |")
    return "\n".join([*out, "", "![timing](results/stdp/stdp.png)", ""])


def _weighted(curve: Mapping[str, list], start: int, stop: int) -> float:
    count = np.array(curve["spikes"][start:stop], float)
    change = np.array([x or 0.0 for x in curve["change"][start:stop]])
    return float(np.sum(count * change) / max(np.sum(count), 1))


def draw(folder: Path) -> None:
    """A curve for each kind, means over seeds."""
    records = [
        json.loads(x.read_text(encoding="utf-8")) for x in folder.glob("*/seed*.json")
    ]
    if not records:
        return
    figure = Figure(figsize=(5, 3), dpi=150, layout="constrained")
    axes = figure.subplots()
    times = np.arange(-EDGE, EDGE) + 0.5
    for kind, colour in zip(KINDS, ("#0072B2", "#D55E00", "#7f7f7f")):
        curves = [record["curves"][kind] for record in records]
        values = np.array([c["change"] for c in curves], float)
        mean = np.ma.masked_invalid(values).mean(axis=0)
        axes.plot(times, mean, "o-", ms=3, color=colour, label=kind)
    axes.axhline(0, color="#7f7f7f", lw=0.5)
    axes.axvline(0, color="#7f7f7f", lw=0.5)
    axes.set_xlabel("nearest output spike after the hidden one (ms)")
    axes.set_ylabel("change at the\nhidden spike (1e-3 / beta)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, title="outputs")
    figure.savefig(folder / "stdp.png")


ROW = Row(
    name="stdp",
    title="weight changes against times between spikes",
    jobs=lambda count: for_seeds(SETTINGS, count),
    train=train,
    smoke=smoke,
    seeds=2,
    needs="MNIST in <data>/mnist",
    details=details,
    draw=draw,
)
