"""Synaptic operations and energy of a sample, forwards and backwards, from the networks
that the rows mnist and cifar10 have trained.

    python -m paper_repro run event_driven_learning/mnist
    python -m paper_repro run event_driven_learning/energy

The abstract claims 30 times less energy than surrogate gradients on a chip; which chip,
task and network is UNCONFIRMED. So what is here is a count of operations, times an energy
of each.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paper_repro._row import Job, Record, Row, Where


RESULTS = Path(__file__).parents[1] / "results"
_NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG)"}
# The first is whose commit is read, the last what the others are compared with
RULES = ("std_ed", "mpd_ed", "mpd_ed_spikes", "surrogate")
METRIC = "times less backward energy than the surrogate gradient"


@dataclasses.dataclass(frozen=True)
class Energies:
    """In picojoules, by default those of 32-bit floating point at 45 nm (Horowitz, ISSCC
    2014): 0.9 for an addition, 3.7 for a multiplication. That the paper uses these is
    UNCONFIRMED."""

    row: str
    commit: str | None  # of the run that is read
    seed: int = 0
    addition: float = 0.9
    multiplication: float = 3.7

    @property
    def both(self) -> float:
        return self.addition + self.multiplication


def jobs(seeds: int) -> list[Job]:
    if seeds != 1:
        raise ValueError(f"energy reads one run of each rule, got `seeds` {seeds}.")
    return [_job(row) for row in _NAMES]


def _job(row: str) -> Job:
    path = _file(row, RULES[0])
    commit = None
    if path.exists():
        commit = json.loads(path.read_text(encoding="utf-8"))["commit"]
    return Job(row, "seed0", Energies(row, commit))


def _file(row: str, rule: str) -> Path:
    return RESULTS / row / rule / "seed0.json"


def train(config: Energies, where: Where) -> Record:
    """Nothing is trained: it reads what runs have stored.

    **Raises:** `FileNotFoundError` if there are none.
    """
    *rules, rival = RULES
    stored = {
        rule: _made_up() if where.smoke else _read(config.row, rule)
        for rule in (*rules, rival)
    }
    costs = {rule: cost(run["activity"], config) for rule, run in stored.items()}
    most = costs[rival]["backward_nj"]
    metrics = {f"{METRIC}, {rule}": most / costs[rule]["backward_nj"] for rule in rules}
    source = stored[rules[0]]
    about = {name: source[name] for name in ("commit", "versions", "machine")}
    accuracy = {rule: run["metrics"]["test accuracy %"] for rule, run in stored.items()}
    return {"metrics": metrics, "seed": config.seed, **about} | {
        "costs": costs,
        "accuracy": accuracy,
    }


def _read(row: str, rule: str) -> Record:
    path = _file(row, rule)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no run of {rule} in {path}: do "
            f"`python -m paper_repro run event_driven_learning/{row}/{rule}` first."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _made_up() -> Record:
    layer = {"forward": 100.0, "error": 0.0, "weight": 50.0, "spikes": 5.0}
    about = {"commit": None, "versions": {}, "machine": {}}
    return {
        "activity": [layer, {**layer, "error": 20.0}],
        "metrics": {"test accuracy %": 50.0},
        **about,
    }


def cost(layers: Sequence[Mapping[str, float]], energies: Energies) -> dict[str, float]:
    """Events, operations and energies of a sample.

    A spike adds weights to voltages. The first layer of networks on a grid is given
    brightness in place of spikes, so there it multiplies too, as the backward pass does
    everywhere.
    """
    total = lambda name: float(sum(layer.get(name, 0.0) for layer in layers))
    forward, error, weight = (total(x) for x in ("forward", "error", "weight"))
    multiplied = layers[0]["forward"] if "active" not in layers[0] else 0.0
    backward = error + weight
    return {
        "events": total("spikes"),
        "forward": forward,
        "error": error,
        "weight": weight,
        "forward_nj": 1e-3
        * (forward * energies.addition + multiplied * energies.multiplication),
        "backward_nj": 1e-3 * backward * energies.both,
    }


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_made_up`
    return [Job("mnist", "seed0", Energies("mnist", None))]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """A table for each data set."""
    out = []
    for group, runs in records.items():
        record = runs["seed0"]
        per = record["config"]
        out += [
            f"{_NAMES[group]}, test pictures, at {per['addition']} pJ for an addition and "
            f"{per['multiplication']} pJ for a multiplication:",
            "",
            "| rule | accuracy % | events | forward, thousands | errors | weights | "
            "forward, nJ | backward, nJ |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for rule, found in record["costs"].items():
            thousands = [
                f"{found[x] / 1e3:.1f}" for x in ("forward", "error", "weight")
            ]
            energy = [f"{found[x]:.1f}" for x in ("forward_nj", "backward_nj")]
            cells = [f"{record['accuracy'][rule]:.2f}", f"{found['events']:.0f}"]
            out.append(f"| {rule} | {' | '.join([*cells, *thousands, *energy])} |")
        out.append("")
    return "\n".join([*out, "![energy](results/energy/energy.png)", ""])


def draw(folder: Path) -> None:
    """Energy of a sample by rule, forwards and backwards."""
    records = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*/seed0.json"))
    }
    if not records:
        return
    figure = Figure(figsize=(3.2 * len(records), 2.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(records), squeeze=False, sharey=True)[0]
    for axes, (name, record) in zip(panels, records.items(), strict=True):
        place = np.arange(len(record["costs"]))
        for k, (part, colour) in enumerate(
            (("forward_nj", "#0072B2"), ("backward_nj", "#D55E00"))
        ):
            height = [found[part] for found in record["costs"].values()]
            label = part.removesuffix("_nj")
            axes.bar(place + 0.4 * k - 0.2, height, 0.38, color=colour, label=label)
        axes.set(yscale="log", title=_NAMES[name])
        axes.set_xticks(
            place, [x.replace("_spikes", "\nspikes") for x in record["costs"]]
        )
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("energy of a sample (nJ)")
    panels[-1].legend(frameon=False)
    figure.savefig(folder / "energy.png")


ROW = Row(
    name="energy",
    title="operations and energy of a sample, forwards and backwards",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=1,
    needs="stored results of the rows mnist and cifar10",
    details=details,
    draw=draw,
)
