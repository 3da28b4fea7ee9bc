"""Spikes, synaptic events and updates of a picture, and what they would cost a chip.

    python -m paper_repro run eqspike/energy --data-dir DATA

The paper extrapolates three orders of magnitude less energy than a GPU for inference and
two for training; its device, energies and reference are UNCONFIRMED. Counts are what is
measured here. Energies are settings. By default they are those that are quoted from
Davies et al. (Loihi, IEEE Micro 38(1), 2018; not read in the paper itself), 23.6 pJ for a
synaptic event and 120 pJ for a synaptic update, and 1.7 pJ to send a spike; and for a GPU
38 pJ for a multiplication with its addition, which are the 300 W and 15.7 TFLOP/s of a
Tesla V100 at its peak, so it is kind to the GPU. The GPU settles the same network as
rates, as the row mnist does.

Currents of inputs are constant and cost nothing here: in hardware they are analogue. What
neurons use between spikes is left out, too.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row, Where

from .._taught import currents_and_targets, Taught, taught


@dataclasses.dataclass(frozen=True)
class Energies(Taught):
    """Energies in pJ, and steps of the GPU's phases."""

    pictures: int = 100
    spike: float = 1.7
    synaptic: float = 23.6
    update: float = 120.0
    gpu: float = 38.0
    gpu_free: int = 100
    gpu_nudged: int = 40


def train(config: Energies, where: Where) -> Record:
    """Trains a little, and counts on test pictures.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    q = ej.equilibrium
    network, parts = taught(config, where)
    few = parts["test"], config.pictures
    pixels, targets = currents_and_targets(*few, config)
    rule = q.EqSpike(beta=config.beta, free=config.free, nudged=config.nudged)
    _, free, contrast = rule.update(network, pixels, targets)
    phases = {
        "free": q.work(network, free.counts),
        "nudged": q.work(network, contrast.counts, learns=True),
    }
    counts = {
        phase: {
            name: float(np.mean(getattr(work, name)))
            for name in ("spikes", "synaptic", "updates")
        }
        for phase, work in phases.items()
    }
    per = config.spike, config.synaptic, config.update
    joules = {name: float(np.mean(x.energy(*per))) for name, x in phases.items()}
    inner = sum(w.size for w in network.weights[1:])
    once = network.weights[0].size
    gpu = {
        "free": config.gpu * (once + 2 * inner * config.gpu_free),
        "nudged": config.gpu * (once + inner + 2 * inner * config.gpu_nudged),
    }
    ours = {"inference": joules["free"], "training": sum(joules.values())}
    theirs = {"inference": gpu["free"], "training": sum(gpu.values())}
    ratios = {f"GPU over chip, {k}": theirs[k] / ours[k] for k in ours}
    report = q.report(network.neuron, free.counts, config.free)
    return {
        "counts": counts,
        "nj": {k: {"chip": ours[k] / 1e3, "GPU": theirs[k] / 1e3} for k in ours},
        "layers": [
            {name: float(getattr(x, name)) for name in ("rate", "dead", "saturated")}
            for x in report
        ],
        "metrics": ratios,
        **ej.train.environment(),
    }


SETTINGS = {"mnist": Energies()}


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_data`
    return [Job("mnist", "seed0", SETTINGS["mnist"].tiny)]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    runs = list(records["mnist"].values())
    first = runs[0]
    out = [
        f"Of a test picture, means over {len(runs)} seeds:",
        "",
        "| phase | spikes | synaptic events | updates |",
        "| --- | --- | --- | --- |",
    ]
    for phase in first["counts"]:
        mean = lambda what, phase=phase: np.mean(
            [run["counts"][phase][what] for run in runs]
        )
        cells = " | ".join(f"{mean(x):.0f}" for x in ("spikes", "synaptic", "updates"))
        out.append(f"| {phase} | {cells} |")
    given = first["config"]
    out += [
        "",
        f"At {given['spike']} pJ for a spike, {given['synaptic']} pJ for a synaptic event "
        f"and {given['update']} pJ for an update, beside a GPU that settles rates at "
        f"{given['gpu']} pJ for a multiplication with its addition:",
        "",
        "| | chip, nJ | GPU, nJ | GPU over chip |",
        "| --- | --- | --- | --- |",
    ]
    for what in first["nj"]:
        chip, gpu = (np.mean([r["nj"][what][x] for r in runs]) for x in ("chip", "GPU"))
        out.append(f"| {what} | {chip:.0f} | {gpu:.0f} | {gpu / chip:.2f} |")
    layers = "; ".join(
        f"layer {k + 1}: mean rate {x['rate']:.3f}, dead {x['dead']:.2f}, saturated "
        f"{x['saturated']:.2f}"
        for k, x in enumerate(first["layers"])
    )
    out += ["", f"Neurons over these pictures, first seed: {layers}.", ""]
    return "\n".join([*out, "![energy](results/energy/energy.png)", ""])


def draw(folder: Path) -> None:
    """Energy of a picture, in parts."""
    records = [
        json.loads(x.read_text(encoding="utf-8")) for x in folder.glob("*/seed*.json")
    ]
    if not records:
        return
    figure = Figure(figsize=(4, 2.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    place = np.arange(2)
    for k, (who, colour) in enumerate((("chip", "#0072B2"), ("GPU", "#D55E00"))):
        height = [
            np.mean([record["nj"][what][who] for record in records])
            for what in ("inference", "training")
        ]
        axes.bar(place + 0.4 * k - 0.2, height, 0.38, color=colour, label=who)
    axes.set_xticks(place, ["inference", "training"])
    axes.set_ylabel("energy of a picture (nJ)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(folder / "energy.png")


ROW = Row(
    name="energy",
    title="spikes, synaptic events and updates of a picture",
    jobs=lambda count: for_seeds(SETTINGS, count),
    train=train,
    smoke=smoke,
    seeds=2,
    needs="MNIST in <data>/mnist",
    details=details,
    draw=draw,
)
