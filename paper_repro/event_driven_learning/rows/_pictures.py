"""What the rows of pictures have in common: a group for each rule."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from paper_repro._row import Job, Record

from .._config import Pictures


METRIC = "test accuracy %"
NAMES = {
    "mnist": "MNIST",
    "cifar10_jpeg": "CIFAR-10 (JPEG)",
    "cifar100": "CIFAR-100",
    "nmnist": "N-MNIST",
    "cifar10_dvs": "CIFAR10-DVS",
}
TWINS = {
    "std_ed": "clipped_relu",
    "mpd_ed": "surrogate",
    "mpd_ed_spikes": "surrogate",
}


def smoke_jobs(settings: Mapping[str, Pictures]) -> Sequence[Job]:
    """Each group on a few made-up pictures, with a tiny network."""
    return [Job(group, "seed0", tiny(config)) for group, config in settings.items()]


def tiny(config: Pictures) -> Pictures:
    return dataclasses.replace(
        config,
        plan=(2, "pool", 3, "pool"),
        hidden=config.hidden and (4,),
        epochs=1,
        warm_start=min(config.warm_start, 1),
        batch=10,
    )


def details(
    records: Mapping[str, Mapping[str, Record]], curves: str | None = None
) -> str:
    """Accuracies by seed, differences from twins, and what each rule costs; `curves` is
    the row that has a picture of learning curves."""
    first = next(run for runs in records.values() for run in runs.values())
    name = NAMES[first["config"]["dataset"]]
    out = [
        f"{name}: accuracy in per cent, of test data, of the epoch that was best on "
        "validation data, and the difference from the twin in points (seeds of both):",
        "",
    ]
    seeds = sorted({seed for runs in records.values() for seed in runs})
    out += [
        f"| rule | {' | '.join(seeds)} | mean | from its twin |",
        f"| --- | {' | '.join(['---'] * len(seeds))} | --- | --- |",
    ]
    for group, runs in records.items():
        cells = [
            f"{runs[x]['metrics'][METRIC]:.2f}" if x in runs else "" for x in seeds
        ]
        mean = f"{np.mean([x['metrics'][METRIC] for x in runs.values()]):.2f}"
        twin = _from_twin(runs, records.get(TWINS.get(group, ""), {}))
        out.append(f"| {group} | {' | '.join(cells)} | {mean} | {twin} |")
    out += ["", *_costs(records)]
    if curves is not None and any("seed0" in runs for runs in records.values()):
        out += ["", f"![learning curves](results/{curves}/curves.png)"]
    return "\n".join(out) + "\n"


def _from_twin(one: Mapping[str, Record], two: Mapping[str, Record]) -> str:
    """The mean difference over seeds that both have."""
    both = [seed for seed in one if seed in two]
    if not both:
        return ""
    found = [one[x]["metrics"][METRIC] - two[x]["metrics"][METRIC] for x in both]
    return f"{np.mean(found):+.2f} ({len(both)})"


def _costs(records: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Of the first seed: activity and operations of all layers together."""
    rows = []
    for group, runs in records.items():
        layers = runs["seed0"]["activity"] if "seed0" in runs else []
        if layers:
            total = lambda name: sum(layer.get(name, 0.0) for layer in layers)
            hidden = [x for x in layers if "spikes" in x]
            spikes = sum(x["spikes"] for x in hidden) / sum(
                x["neurons"] for x in hidden
            )
            back = total("error") + total("weight")
            dense = total("dense_error") + total("dense_weight")
            rows.append(
                f"| {group} | {spikes:.3f} | {total('forward') / 1e6:.2f} | "
                f"{back / 1e6:.3f} | {dense / 1e6:.2f} | {dense / back:.1f} |"
            )
    if not rows:
        return []
    return [
        "Spikes of a hidden neuron in a sample, and millions of operations of a sample "
        "where only events cost anything, beside those of the same network without event-"
        "driven learning (seed 0, 1000 test pictures):",
        "",
        "| rule | spikes | forward | backward | backward, dense | times fewer |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
    ]


def draw(folder: Path, groups: Sequence[str]) -> None:
    """Learning curves of the first seed of each rule."""
    runs = {
        group: folder / group / "seed0.json"
        for group in groups
        if (folder / group / "seed0.json").exists()
    }
    if runs:
        ej.plot.compare_curves(runs, save=folder / "curves.png")
