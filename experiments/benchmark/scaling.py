"""How the time of a gradient step grows.

    python -m experiments.benchmark.scaling
    python -m experiments.benchmark.scaling --workload W2F --store

Starting from W2 or W2F with 8 samples, one quantity at a time is taken through a range of
16, ours exact and ours on a time grid of 1 ms with surrogate gradients:

- spikes: 500 to 8,000 input spikes in a second, and hidden neurons at 1 to 16 Hz with them;
- neurons: 64 to 1024 hidden ones, whose recurrent weights are scaled so that each gets
  equally strong input;
- batch: 8 to 128 samples;
- duration: 0.25 to 4 s.

The exponent is the slope of a line through all points of a series, log time over log
quantity; that of spikes counts input and hidden ones.

As long as every arriving spike is taken to every neuron, a step must do at least what
`least_work` says. For each pair of the two there is, forward, a step of V and I (5
operations) and a bound on V up to the next arrival (4); in reverse a step of the adjoint
variables (4) and the addition to the weight's gradient (1). 12 bytes move: the weight is
read, its gradient is read and written; V and I may stay in registers. Arrivals are the
input's spikes and, with recurrence, the layer's own. One step of W2F, 8,000 arrivals at 256
neurons in 32 samples, has 65.5 million pairs, so 0.79 GB and 0.92 billion operations. The
bytes move between processor and cache: weights and gradient are 0.7 MB each, and what must
come from memory, these and the spikes, is below 10 MB.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.benchmark import _measure, ours_spoken, workloads


RESULTS = pathlib.Path(__file__).resolve().parent / "results"
HOW = {"eventjax": ours_spoken.EXACT, "Clocked": ours_spoken.CLOCKED}
# Input spikes in a second, and the factor of the input's weights with which hidden neurons
# of W2 fire at 1, 2, 4, 8 and 16 Hz.
SPIKES = {500: 8.94, 1000: 5.17, 2000: 2.92, 4000: 1.59, 8000: 0.88}


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Measure how the time of a gradient step grows."""

    workload: Literal["W2", "W2F"] = "W2"
    """Where to start."""
    seconds: float = 1.5
    """About how long to time each step, after compilation and warm-up."""
    store: bool = False
    """Write measurements and plot to experiments/benchmark/results/."""


def series(base: workloads.Spoken) -> dict[str, dict[float, workloads.Spoken]]:
    """The specs of each series by the quantity that grows; `base` is in all of them."""

    def of(**changes: Any) -> workloads.Spoken:
        return dataclasses.replace(base, **changes)

    n, std, t1 = base.num_hidden, base.recurrent_std, base.t1
    return {
        "spikes": {
            events / 500: of(
                events=round(base.events * events / 8000),
                hidden_scale=base.hidden_scale * scale / SPIKES[8000],
            )
            for events, scale in SPIKES.items()
        },
        "neurons": {
            k * n // 4: of(num_hidden=k * n // 4, recurrent_std=std * (4 / k) ** 0.5)
            for k in (1, 2, 4, 8, 16)
        },
        "batch": {k * base.batch: of(batch=k * base.batch) for k in (1, 2, 4, 8, 16)},
        "duration": {
            k * t1 / 4000: of(t1=k * t1 / 4, events=k * base.events // 4)
            for k in (1, 2, 4, 8, 16)
        },
    }


def least_work(spec: workloads.Spoken, hidden_spikes: float) -> dict[str, float]:
    """What one gradient step must do at least: see the top of this file.

    **Arguments:**

    - `hidden_spikes`: of a sample.

    **Returns:** pairs of an arriving spike and a neuron, bytes and operations.
    """
    arrivals = spec.events + (0 if spec.delay is None else hidden_spikes)
    pairs = spec.batch * spec.num_hidden * arrivals
    return {"pairs": pairs, "bytes": 12 * pairs, "operations": 14 * pairs}


def measure(
    spec: workloads.Spoken, who: str, room: int, seconds: float
) -> dict[str, float]:
    """One gradient step by all weights, of a layer that has room for as many spikes."""
    data = workloads.arrays(spec)
    network = ours_spoken.make_network(spec, data, room)
    loss = ours_spoken.make_loss(network, spec.t1, HOW[who])
    step = jax.value_and_grad(loss, has_aux=True)
    inputs = ours_spoken.weights_of(network), *ours_spoken.given(data)
    timing, out = _measure.measure(step, *inputs, seconds=seconds)
    (_, (_, counts, _)), grads = out
    if not all(np.isfinite(x).all() for x in map(np.asarray, grads)):
        raise ValueError(f"the gradient of {who} is not finite for {spec}")
    jax.clear_caches()
    return {
        "hidden_spikes": round(float(counts.mean()), 1),
        "most_hidden_spikes": int(counts.max()),
        "grad_ms": round(timing.wall_ms, 3),
        "grad_fastest_ms": round(timing.fastest_ms, 3),
        "cpu_ms": round(timing.cpu_ms, 3),
        "compile_s": round(timing.compile_s, 2),
        "peak_mb": round(timing.memory_mb, 3),
    }


def measure_all(spec: workloads.Spoken, seconds: float) -> dict[str, dict[str, float]]:
    """Both ways to run it. On a grid a layer needs no room, and has nearly as many spikes
    as it exactly has: a tenth more is room for these."""
    clocked = measure(spec, "Clocked", 1, seconds)
    room = math.ceil(1.1 * clocked["most_hidden_spikes"]) + 16
    return {"eventjax": measure(spec, "eventjax", room, seconds), "Clocked": clocked}


def measurements(base: workloads.Spoken, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each point of each series and each way to run it."""
    seen = {}
    for name, specs in series(base).items():
        for quantity, spec in specs.items():
            if spec not in seen:
                seen[spec] = measure_all(spec, seconds)
            for who, row in seen[spec].items():
                x = spec.events + row["hidden_spikes"] if name == "spikes" else quantity
                yield {"series": name, "x": x, "who": who} | row


def exponent(x: list[float], y: list[float]) -> float:
    """The slope of a line through the points in log-log axes."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def summary(rows: list[dict]) -> list[dict]:
    """For each series and each way to run it the ends and the exponents."""
    out = []
    for key in dict.fromkeys((row["series"], row["who"]) for row in rows):
        mine = [row for row in rows if (row["series"], row["who"]) == key]
        found = {"series": key[0], "who": key[1]}
        for name in ("x", "grad_ms", "peak_mb"):
            found[name] = [mine[k][name] for k in (0, -1)]
        for name in ("grad_ms", "peak_mb"):
            pairs = [(row["x"], row[name]) for row in mine]
            found[f"{name}_exponent"] = round(exponent(*zip(*pairs, strict=True)), 3)
        out.append(found)
    return out


def plot(rows: list[dict], path: pathlib.Path) -> None:
    """Time over quantity in log-log axes, one panel for each series."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.8), dpi=150, layout="constrained")
    names = list(dict.fromkeys(row["series"] for row in rows))
    units = {"spikes": "spikes per sample", "duration": "duration (s)"}
    panels = figure.subplots(1, len(names), sharey=True)
    for panel, name in zip(panels, names, strict=True):
        for line in summary([row for row in rows if row["series"] == name]):
            mine = [
                (row["x"], row["grad_ms"])
                for row in rows
                if row["series"] == name and row["who"] == line["who"]
            ]
            label = f"{line['who']}, exponent {line['grad_ms_exponent']:.2f}"
            panel.plot(*zip(*mine, strict=True), "o-", ms=3, lw=1.5, label=label)
        panel.set(xscale="log", yscale="log", xlabel=units.get(name, name))
        ticks = [row["x"] for row in rows if row["series"] == name]
        ticks = [ticks[0], ticks[len(ticks) // 2], ticks[-1]]
        panel.set_xticks(ticks, [f"{x:.5g}" for x in ticks])
        panel.set_xticks([], minor=True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize="x-small")
    panels[0].set_ylabel("gradient step (ms)")
    figure.savefig(path)


def table(rows: list[dict]) -> Table:
    """The summary as a table."""
    out = Table(title="gradient step")
    for name in ("what grows", "who", "from", "to", "ms", "exponent", "MB", "exponent"):
        out.add_column(
            name, justify="left" if name in ("what grows", "who") else "right"
        )
    for line in summary(rows):
        arrow = lambda x: f"{x[0]:.1f} to {x[1]:.1f}"
        out.add_row(
            line["series"],
            line["who"],
            *(f"{x:g}" for x in line["x"]),
            arrow(line["grad_ms"]),
            f"{line['grad_ms_exponent']:.2f}",
            arrow(line["peak_mb"]),
            f"{line['peak_mb_exponent']:.2f}",
        )
    return out


def store(config: Scaling, base: workloads.Spoken, rows: list[dict]) -> pathlib.Path:
    """Write measurements, with everything needed to repeat them, and the plot."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"scaling-{config.workload}-{jax.default_backend()}.json"
    spoken = workloads.WORKLOADS[config.workload]()
    spikes = spoken.num_hidden * spoken.events / 500
    record = {
        "config": dataclasses.asdict(config),
        "spec": dataclasses.asdict(base),
        "least_work": least_work(spoken, spikes),
        "summary": summary(rows),
        "rows": rows,
        "machine": _measure.machine(),
        "versions": _measure.versions("eventjax", "equinox"),
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    plot(rows, path.with_suffix(".png"))
    return path


def main(config: Scaling) -> None:
    base = workloads.WORKLOADS[config.workload](batch=8)
    rows = []
    for row in measurements(base, config.seconds):
        print(json.dumps(row), flush=True)
        rows.append(row)
    Console(stderr=True).print(table(rows))
    if config.store:
        print(f"stored in {store(config, base, rows)}")


if __name__ == "__main__":
    main(tyro.cli(Scaling, description=__doc__))
