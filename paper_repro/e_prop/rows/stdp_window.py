"""The STDP window of e-prop by neuron, and eligibility traces over time.

A neuron is driven to one spike, and inputs of no weight come at all lags from it. With a
learning signal of one their weights change by the sum of their eligibility traces. For
STDP-LIF this has a closed form. Seconds on one CPU core.

    python -m paper_repro run e_prop/stdp_window
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import eventjax as ej
from paper_repro._row import Job, Record, Row, Where

from .._pair import closed_form, trace, window


BEFORE = "sum over inputs before the spike"
AFTER = "sum over inputs after the spike"


@dataclasses.dataclass(frozen=True)
class Pair:
    """All settings. Those of LIF neurons are from the two-neuron demonstration in code
    that is likely to be the author's; the paper's are UNCONFIRMED."""

    neuron: str  # "lif", "stdp_lif" or "izhikevich"
    seed: int = 0
    dt: float = 1.0
    alpha: float = 0.9  # of the membrane in a step
    threshold: float = 1.0
    gamma: float = 0.3
    refractory: float = 5.0
    refractory_slope: float = -0.3
    window: str = "after"
    beta: float = 0.184  # in the traces over time; the window has none


SETTINGS = {
    "lif": Pair("lif"),
    "stdp_lif": Pair("stdp_lif"),
    "stdp_lif_plus": Pair("stdp_lif", refractory_slope=0.3, window="from_spike"),
    "izhikevich": Pair("izhikevich", dt=0.1),
    "izhikevich_1ms": Pair("izhikevich", dt=1.0),
}
_COLOURS = {
    "lif": "#999999",
    "stdp_lif": "#0072B2",
    "stdp_lif_plus": "#D55E00",
    "izhikevich": "#009E73",
    "izhikevich_1ms": "#CC79A7",
}


def jobs(seeds: int) -> list[Job]:
    if seeds != 1:
        raise ValueError(f"stdp_window has nothing random in it, got `seeds` {seeds}.")
    return [Job(group, "seed0", config) for group, config in SETTINGS.items()]


def make_neuron(config: Pair, beta: float) -> ej.AbstractNeuron:
    if config.neuron == "izhikevich":
        return ej.SteppedIzhikevich(1)
    settings = dict(
        tau_mem=-1 / math.log(config.alpha),
        beta=beta,
        v_threshold=config.threshold,
        refractory=config.refractory,
    )
    if config.neuron == "lif":
        return ej.SteppedALIF(1, **settings)
    slope = config.refractory_slope
    return ej.STDPALIF(1, refractory_slope=slope, window=config.window, **settings)


def measure(config: Pair, where: Where) -> Record:
    """The window, beside its closed form where there is one, and a trace over time."""
    neuron = make_neuron(config, 0.0)
    if config.neuron == "izhikevich":
        rule = ej.EProp(shape=ej.surrogates.Exponential(30.0, config.gamma))
        ahead, pulse, behind = (round(x / config.dt) for x in (100.0, 3.0, 60.0))
        drive = np.concatenate(
            [np.zeros(ahead), np.full(pulse, 10.0 * config.dt), np.zeros(behind)]
        )
    else:
        rule = ej.EProp(shape=ej.surrogates.Triangle(config.threshold, config.gamma))
        drive = np.concatenate([np.linspace(0, 0.15, 40), np.zeros(20)])
    lag, change, v = window(neuron, rule, drive, config.dt)
    out: Record = {
        "metrics": {
            BEFORE: float(change[lag >= 0].sum()),
            AFTER: float(change[lag < 0].sum()),
        },
        "lags": (config.dt * lag).tolist(),
        "change": change.tolist(),
    }
    if isinstance(neuron, ej.STDPALIF) and config.window == "after":
        expected = closed_form(lag, v, neuron, config.gamma, config.dt)
        out |= {
            "closed_form": expected.tolist(),
            "largest_difference": float(np.abs(expected - change).max()),
        }
    if config.neuron != "izhikevich":
        spikes = np.zeros(60)
        spikes[[4, 5, 12, 13, 16, 24, 27, 33, 34, 38, 45, 51]] = 1
        adaptive = make_neuron(config, config.beta)
        out["trace"] = trace(adaptive, rule, spikes, 0.3, 0.12)
    return out | {"config": dataclasses.asdict(config), **ej.train.environment()}


def smoke(data: Path) -> Sequence[Job]:
    del data
    return [Job(group, "seed0", SETTINGS[group]) for group in ("lif", "stdp_lif")]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    out = [
        "Change of a weight at a learning signal of one, summed over inputs before the "
        "spike (the step of the spike among them) and after it; for Izhikevich neurons per "
        "mV of weight:",
        "",
        "| neuron | before | after | largest difference from the closed form |",
        "| --- | --- | --- | --- |",
    ]
    for group, runs in records.items():
        run = runs["seed0"]
        differs = run.get("largest_difference")
        cells = [f"{run['metrics'][name]:.2f}" for name in (BEFORE, AFTER)]
        cells.append("" if differs is None else f"{differs:.1e}")
        out.append(f"| {group} | {' | '.join(cells)} |")
    pictures = ["windows", "traces"]
    out += ["", *(f"![{x}](results/stdp_window/{x}.png)" for x in pictures)]
    return "\n".join(out) + "\n"


def draw(folder: Path) -> None:
    """Windows, and traces over time."""
    records = {
        group: json.loads((folder / group / "seed0.json").read_text(encoding="utf-8"))
        for group in SETTINGS
        if (folder / group / "seed0.json").exists()
    }
    if records:
        _draw_windows(records, folder / "windows.png")
    traced = {k: x["trace"] for k, x in records.items() if "trace" in x}
    if traced:
        _draw_traces(traced, folder / "traces.png")


def _draw_windows(records: Mapping[str, Record], path: Path) -> None:
    figure = Figure(figsize=(9.0, 3.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for group, record in records.items():
        axes = right if group.startswith("izhikevich") else left
        lags, change = np.array(record["lags"]), np.array(record["change"])
        axes.plot(lags, change, color=_COLOURS[group], lw=1.3, label=group)
        if "closed_form" in record:
            axes.plot(
                lags, record["closed_form"], ".", ms=4, color="black",
                label=f"{group}, closed form",
            )  # fmt: skip
    left.set(xlim=(-15, 30), ylabel="change of weight")
    right.set(xlim=(-20, 100), ylabel="change of weight (per mV)")
    for axes in (left, right):
        axes.axhline(0, color="#cccccc", lw=0.8, zorder=0)
        axes.axvline(0, color="#cccccc", lw=0.8, zorder=0)
        axes.set_xlabel("spike of the neuron after that of the input (ms)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path)


def _draw_traces(
    traces: Mapping[str, Mapping[str, Sequence[float]]], path: Path
) -> None:
    figure = Figure(figsize=(7.0, 3.6), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for k, (group, found) in enumerate(traces.items()):
        colour, steps = _COLOURS[group], np.arange(len(found["voltage"]))
        upper.plot(steps, found["voltage"], color=colour, lw=1.2, label=group)
        spikes = np.flatnonzero(found["spikes"])
        upper.plot(spikes, np.full(len(spikes), 2.2 + 0.2 * k), "|", color=colour)
        lower.plot(steps, found["eligibility"], color=colour, lw=1.2)
    given = np.flatnonzero(next(iter(traces.values()))["input"])
    lower.plot(given, np.full(len(given), lower.get_ylim()[0]), "|", color="black")
    upper.set_ylabel("voltage")
    lower.set(ylabel="eligibility", xlabel="step (bars below: input spikes)")
    lower.axhline(0, color="#cccccc", lw=0.8, zorder=0)
    upper.legend(
        frameon=False, fontsize="small", ncols=3, loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )  # fmt: skip
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


ROW = Row(
    name="stdp_window",
    title="the STDP window of e-prop by neuron, and eligibility traces",
    jobs=jobs,
    train=measure,
    smoke=smoke,
    seeds=1,
    details=details,
    draw=draw,
)
