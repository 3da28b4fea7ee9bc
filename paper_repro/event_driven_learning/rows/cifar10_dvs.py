"""CIFAR10-DVS, recordings of an event camera, as N-MNIST is.

python -m paper_repro run event_driven_learning/cifar10_dvs --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import eventjax as ej
from paper_repro._row import for_seeds, Job, Row

from .._config import Pictures
from .._train import train
from ._pictures import details, smoke_jobs


BASE = Pictures(
    dataset="cifar10_dvs",
    rule="mpd_ed",
    t1=1200.0,
    steps=10,
    validation_size=900,
    plan=("pool", "pool", 32, "pool", 64, "pool", 128, "pool"),
    epochs=30,
    batch=16,
)
SETTINGS = {
    "mpd_ed": BASE,
    "surrogate": dataclasses.replace(BASE, rule="surrogate"),
}


def jobs(seeds: int) -> list[Job]:
    return for_seeds(SETTINGS, seeds)


def smoke(data: Path) -> Sequence[Job]:
    if not (data / "cifar10_dvs").is_dir():
        ej.data.write_example_cifar10_dvs(data)
    few = dataclasses.replace(SETTINGS["mpd_ed"], validation_size=10)
    return smoke_jobs({"mpd_ed": few})


ROW = Row(
    name="cifar10_dvs",
    title="CIFAR10-DVS with MPD-ED and its twin",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="CIFAR10-DVS in <data>/cifar10_dvs",
    details=details,
)
