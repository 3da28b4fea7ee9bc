"""MNIST with both rules and what they stand beside. The paper's figures on it, if it has
any, are UNCONFIRMED.

    python -m paper_repro run event_driven_learning/mnist --data-dir DATA
    python -m paper_repro run event_driven_learning/mnist/mpd_ed/seed0
"""

import dataclasses
import functools as ft
from collections.abc import Sequence
from pathlib import Path

from paper_repro._row import for_seeds, Job, Row

from .._config import Pictures
from .._train import train
from ._pictures import details, draw, smoke_jobs


BASE = Pictures(dataset="mnist", epochs=10, crop=1)
FIRST_SPIKES = {
    "std_ed": BASE,
    "clipped_relu": dataclasses.replace(BASE, rule="clipped_relu"),
    "fixed_threshold": dataclasses.replace(BASE, rule="fixed_threshold"),
}
ON_GRID = dataclasses.replace(
    BASE, rule="mpd_ed", gain=1.5, epochs=6, learning_rate=3e-3
)
SETTINGS = FIRST_SPIKES | {
    # Near the threshold, and where they spike only: fewer operations, less accuracy
    "mpd_ed": dataclasses.replace(ON_GRID, near=0.6),
    "mpd_ed_spikes": ON_GRID,
    "surrogate": dataclasses.replace(ON_GRID, rule="surrogate"),
}


def jobs(seeds: int) -> list[Job]:
    return for_seeds(SETTINGS, seeds)


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_sources`
    return smoke_jobs(SETTINGS)


ROW = Row(
    name="mnist",
    title="MNIST with both rules, and their rivals",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="MNIST in <data>/mnist",
    details=ft.partial(details, curves="mnist"),
    draw=ft.partial(draw, groups=tuple(SETTINGS)),
)
