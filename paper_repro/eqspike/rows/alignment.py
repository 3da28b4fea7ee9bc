"""How well the spiking update points where the gradient does.

    python -m paper_repro run eqspike/alignment

On a small network with random weights, inputs and targets, in double precision. Of each
layer's weights the cosine between

- the update of rates of the same neurons with a small nudge and the gradient of the loss,
  by central differences: the limit in which equilibrium propagation is exact;
- the spiking update and that of rates, with and without control run, with exact spike times
  and on time grids, and what each costs.

`reference` has long filters and phases, `training` those of the row mnist.
"""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row, Where


@dataclasses.dataclass(frozen=True)
class Aligned:
    """Times are in ms. Every value is a choice of ours."""

    seed: int = 0
    sizes: tuple[int, ...] = (4, 24, 3)
    batch: int = 64
    gain: float = 0.1
    bias: float = 0.2
    tau_mem: float = 10.0
    tau_syn: float = 20.0
    tau_filter: float = 40.0
    beta: float = 1.0
    free: float = 1200.0
    nudged: float = 600.0
    steps: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)  # of time grids
    small: float = 0.02  # nudge of rates


SETTINGS = {
    "reference": Aligned(),
    "training": Aligned(
        tau_mem=5.0, tau_syn=10.0, tau_filter=20.0, free=300.0, nudged=150.0
    ),
}
METRICS = "cosine with rates, inputs", "cosine with rates, outputs"


def train(config: Aligned, where: Where) -> Record:
    """Nothing is trained: updates are compared."""
    del where
    with jax.enable_x64(True):
        return {**_compare(config), **ej.train.environment()}


def _compare(config: Aligned) -> dict[str, Any]:
    q = ej.equilibrium
    keys = jr.split(jr.key(config.seed), 3)
    neuron = q.Neuron(config.tau_mem, config.tau_syn, config.tau_filter)
    network = q.Network(
        config.sizes,
        neuron=neuron,
        gain=config.gain,
        bias=config.bias,
        key=keys[0],
    )
    inputs = jr.uniform(keys[1], (config.batch, config.sizes[0]))
    shape = config.batch, config.sizes[-1]
    targets = jr.uniform(keys[2], shape, minval=0.1, maxval=0.6)

    steps = dict(free=2000, nudged=2000, step=0.2, random_sign=False)
    rates = q.RateEP(q.LIFRate(), beta=config.small, **steps)
    wanted, _ = _update(rates, network, inputs, targets)
    slope = _differences(rates, network, inputs, targets)
    same = q.RateEP(q.LIFRate(), beta=config.beta, **steps)
    found = {"rates, the same nudge": (_update(same, network, inputs, targets))}
    for control in (False, True):
        tail = "with control" if control else "without control"
        times = dict(free=config.free, nudged=config.nudged, control=control)
        exact = q.EqSpike(beta=config.beta, **times)
        found[f"exact, {tail}"] = _update(exact, network, inputs, targets)
        for dt in config.steps if control else ():
            rule = q.EqSpike(beta=config.beta, solver=ej.Clocked(dt), **times)
            made = _update(rule, network, inputs, targets)
            found[f"grid of {dt} ms, {tail}"] = made
    rows = {
        name: {"cosines": _cosines(update, wanted), "seconds": seconds}
        for name, (update, seconds) in found.items()
    }
    limit = _cosines(wanted, slope)
    return {
        "limit": limit,
        "rows": rows,
        "metrics": dict(zip(METRICS, rows["exact, with control"]["cosines"]))
        | {"cosine of rates with differences": min(limit)},
    }


def _update(
    rule: ej.equilibrium.AbstractRule, network: Any, inputs: Any, targets: Any
) -> tuple[list[np.ndarray], float]:
    """Of each matrix, and seconds of CPU after compilation, the shortest of three."""
    loss = lambda n, x, y: rule(n, x, y)[0]
    step = eqx.filter_jit(eqx.filter_grad(loss))
    seconds = []
    for _ in range(4):
        before = time.process_time()
        gradient = jax.block_until_ready(step(network, inputs, targets))
        seconds.append(time.process_time() - before)
    return [-np.asarray(w) for w in gradient.weights], min(seconds[1:])


def _differences(
    rule: ej.equilibrium.AbstractRule, network: Any, inputs: Any, targets: Any
) -> list[np.ndarray]:
    """Minus the gradient of the loss by all weights, by central differences."""

    @eqx.filter_jit
    def loss(weights):
        changed = eqx.tree_at(lambda n: n.weights, network, weights)
        outcome, _ = rule.settle(changed, inputs)
        return 0.5 * jnp.mean(jnp.sum((targets - outcome.rates) ** 2, axis=1))

    out = []
    for k, weight in enumerate(network.weights):
        slope = np.zeros(weight.shape)
        for place in np.ndindex(*weight.shape):
            at = lambda h, k=k, place=place: loss(
                tuple(
                    w.at[place].add(h) if j == k else w
                    for j, w in enumerate(network.weights)
                )
            )
            slope[place] = -(at(1e-6) - at(-1e-6)) / 2e-6
        out.append(slope)
    return out


def _cosines(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> list[float]:
    norm = np.linalg.norm
    return [float(np.sum(a * b) / norm(a) / norm(b)) for a, b in zip(one, two)]


def smoke(data: Path) -> Sequence[Job]:
    del data
    few = dataclasses.replace(
        SETTINGS["training"],
        sizes=(2, 3, 2),
        batch=3,
        free=60.0,
        nudged=60.0,
        steps=(1.0,),
    )
    return [Job("training", "seed0", few)]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """A table for each group, means over seeds."""
    out = []
    for group, runs in records.items():
        every = list(runs.values())
        limit = np.min([run["limit"] for run in every])
        out += [
            f"{group}, {len(every)} seeds. Rates with a small nudge against central "
            f"differences: cosines of at least {limit:.4f}. Against these rates, cosines "
            "of input and output weights, means over seeds, and CPU seconds of a "
            "loss and its update:",
            "",
            "| update | inputs | outputs | seconds |",
            "| --- | --- | --- | --- |",
        ]
        for name in every[0]["rows"]:
            cosines = np.mean([run["rows"][name]["cosines"] for run in every], axis=0)
            seconds = np.mean([run["rows"][name]["seconds"] for run in every])
            cells = " | ".join(f"{x:.3f}" for x in cosines)
            out.append(f"| {name} | {cells} | {seconds:.3f} |")
        out.append("")
    return "\n".join([*out, "![cosines](results/alignment/alignment.png)", ""])


def draw(folder: Path) -> None:
    """Cosine against cost, of exact spike times and of grids."""
    records = _records(folder)
    if not records:
        return
    figure = Figure(figsize=(3.4 * len(records), 2.8), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(records), squeeze=False)[0]
    for axes, (group, runs) in zip(panels, records.items(), strict=True):
        mean = lambda name, runs=runs: (
            np.mean([run["rows"][name]["seconds"] for run in runs]),
            np.mean([run["rows"][name]["cosines"] for run in runs], axis=0),
        )
        grids = [name for name in runs[0]["rows"] if name.startswith("grid")]
        points = [mean(name) for name in grids]
        for k, (label, colour) in enumerate(
            (("inputs", "#0072B2"), ("outputs", "#D55E00"))
        ):
            seconds, cosines = mean("exact, with control")
            axes.plot(seconds, cosines[k], "*", ms=11, color=colour)
            axes.plot(
                [s for s, _ in points],
                [c[k] for _, c in points],
                "o-",
                color=colour,
                label=label,
            )
        for name, (seconds, cosines) in zip(grids, points):
            axes.annotate(
                name.split()[2],
                (seconds, min(cosines)),
                xytext=(0, -11),
                textcoords="offset points",
                fontsize="x-small",
                ha="center",
            )
        axes.set_title(group, loc="left", fontsize="medium")
        axes.set(xscale="log", xlabel="CPU seconds of an update")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("cosine with rates")
    panels[0].legend(frameon=False, title="weights; star: exact", fontsize="small")
    figure.savefig(folder / "alignment.png")


def _records(folder: Path) -> dict[str, list[Record]]:
    found = {
        group: [
            json.loads(x.read_text())
            for x in sorted((folder / group).glob("seed*.json"))
        ]
        for group in SETTINGS
    }
    return {group: runs for group, runs in found.items() if runs}


ROW = Row(
    name="alignment",
    title="spiking updates against the gradient, exact and on grids",
    jobs=lambda count: for_seeds(SETTINGS, count),
    train=train,
    smoke=smoke,
    seeds=3,
    details=details,
    draw=draw,
)
