"""N-MNIST and CIFAR10-DVS, recordings of event cameras. On the grid of MPD-ED: `RampIF`
neurons take one spike of each source, and a camera's pixels have many.

    python -m paper_repro run event_driven_learning/nmnist --data-dir DATA
    python -m paper_repro run event_driven_learning/cifar10_dvs --data-dir DATA
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import eventjax as ej
from paper_repro._row import for_seeds, Job, Row

from .._config import Pictures
from .._train import train
from ._pictures import details, smoke_jobs


def _row(base: Pictures, name: str, example: Callable[[Path], Any]) -> Row:
    """MPD-ED and its twin; `example` writes a small made-up set."""
    settings = {
        "mpd_ed": base,
        "surrogate": dataclasses.replace(base, rule="surrogate"),
    }

    def smoke(data: Path) -> Sequence[Job]:
        if not (data / base.dataset).is_dir():
            example(data)
        return smoke_jobs({"mpd_ed": dataclasses.replace(base, validation_size=10)})

    return Row(
        name=base.dataset,
        title=f"{name} with MPD-ED and its twin",
        jobs=lambda seeds: for_seeds(settings, seeds),
        train=train,
        smoke=smoke,
        seeds=3,
        needs=f"{name} in <data>/{base.dataset}",
        details=details,
    )


_BASE = Pictures(rule="mpd_ed", steps=10, gain=1.5, learning_rate=3e-3)
NMNIST = _row(
    dataclasses.replace(_BASE, dataset="nmnist", t1=300.0),
    "N-MNIST",
    ej.data.write_example_nmnist,
)
CIFAR10_DVS = _row(
    dataclasses.replace(
        _BASE,
        dataset="cifar10_dvs",
        t1=1200.0,
        validation_size=900,
        plan=("pool", "pool", 32, 64, 128),
        epochs=30,
        batch=16,
    ),
    "CIFAR10-DVS",
    ej.data.write_example_cifar10_dvs,
)
