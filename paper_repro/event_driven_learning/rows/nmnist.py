"""N-MNIST, recordings of an event camera. On the grid of MPD-ED: `RampIF` neurons take one
spike of each source, and a camera's pixels have many.

    python -m paper_repro run event_driven_learning/nmnist --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import eventjax as ej
from paper_repro._row import for_seeds, Job, Row

from .._config import Pictures
from .._train import train
from ._pictures import details, smoke_jobs


BASE = Pictures(dataset="nmnist", rule="mpd_ed", t1=300.0, steps=10, epochs=10)
SETTINGS = {
    "mpd_ed": BASE,
    "surrogate": dataclasses.replace(BASE, rule="surrogate"),
}


def jobs(seeds: int) -> list[Job]:
    return for_seeds(SETTINGS, seeds)


def smoke(data: Path) -> Sequence[Job]:
    if not (data / "nmnist").is_dir():
        ej.data.write_example_nmnist(data)
    few = dataclasses.replace(SETTINGS["mpd_ed"], validation_size=10)
    return smoke_jobs({"mpd_ed": few})


ROW = Row(
    name="nmnist",
    title="N-MNIST with MPD-ED and its twin",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="N-MNIST in <data>/nmnist",
    details=details,
)
