"""CIFAR-10 as JPEG pictures, which are lossy: figures are not those of CIFAR-10 itself. A
fixed subset of 10,000 training pictures for both rules and their twins; the full set and
VGG-11, one seed each, can be run too. The paper's figures are UNCONFIRMED.

    python -m paper_repro run event_driven_learning/cifar10 --data-dir DATA
    python -m paper_repro run event_driven_learning/cifar10/std_ed_full
"""

import dataclasses
import functools as ft
from collections.abc import Sequence
from pathlib import Path

from paper_repro._row import for_seeds, Job, Row

from .._config import Pictures, VGG11
from .._train import train
from ._pictures import details, draw, smoke_jobs


BASE = Pictures(
    dataset="cifar10_jpeg",
    train_size=10000,
    epochs=15,
    gain=0.7,
    crop=4,
    flip=True,
)
ON_GRID = dataclasses.replace(BASE, rule="mpd_ed", gain=1.5, learning_rate=3e-3)
SUBSET = {
    # As many epochs as all, after as many of its twin
    "std_ed": dataclasses.replace(BASE, warm_start=15),
    "clipped_relu": dataclasses.replace(BASE, rule="clipped_relu"),
    # Near the threshold, and where they spike only: fewer operations, less accuracy
    "mpd_ed": dataclasses.replace(ON_GRID, near=0.6),
    "mpd_ed_spikes": ON_GRID,
    "surrogate": dataclasses.replace(ON_GRID, rule="surrogate"),
}
FULL = {
    f"{group}_full": dataclasses.replace(config, train_size=None)
    for group, config in SUBSET.items()
}
# For a GPU; not run.
DEEP = {
    f"{group}_vgg11": dataclasses.replace(
        config,
        train_size=None,
        plan=VGG11,
        stride=1,
        hidden=(4096, 4096),
        epochs=100,
        cutout=16,
    )
    for group, config in SUBSET.items()
}


def jobs(seeds: int) -> list[Job]:
    return [*for_seeds(SUBSET, seeds), *for_seeds(FULL, 1), *for_seeds(DEEP, 1)]


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_sources`
    return smoke_jobs({name: SUBSET[name] for name in ("std_ed", "mpd_ed")})


ROW = Row(
    name="cifar10",
    title="CIFAR-10 (JPEG) with both rules and their twins",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="the JPEG pictures of CIFAR-10 in <data>/cifar10_jpeg",
    details=ft.partial(details, curves="cifar10"),
    draw=ft.partial(draw, groups=tuple(SUBSET)),
)
