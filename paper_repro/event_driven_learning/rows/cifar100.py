"""CIFAR-100, the set of the abstract's two figures: up to 2.51 points (STD-ED) and 6.79
points (MPD-ED) above other event-driven rules. Which rules, with which networks, and all
absolute accuracies are UNCONFIRMED.

    python -m paper_repro run event_driven_learning/cifar100 --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from paper_repro._row import for_seeds, Job, Row

from .._train import train
from ._pictures import details, smoke_jobs
from .cifar10 import DEEP


SETTINGS = {
    group.removesuffix("_vgg11"): dataclasses.replace(config, dataset="cifar100")
    for group, config in DEEP.items()
}


def jobs(seeds: int) -> list[Job]:
    return for_seeds(SETTINGS, seeds)


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_sources`
    return smoke_jobs({"std_ed": SETTINGS["std_ed"]})


ROW = Row(
    name="cifar100",
    title="CIFAR-100, VGG-11, with both rules and their twins",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="CIFAR-100 in <data>/cifar100",
    details=details,
)
