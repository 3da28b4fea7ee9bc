"""Yin-Yang with the first-spike loss, Wunderlich and Pehle 2021: 98.10 +/- 0.18 % of the
test set (10 seeds). Three to six minutes a seed on two CPU cores.

    python -m paper_repro run eventprop/yin_yang --seeds 10
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments import yin_yang
from paper_repro._row import Job, Record, Row, Where


def jobs(seeds: int) -> list[Job]:
    return [
        Job("", f"seed{k}", dataclasses.replace(yin_yang.PAPER, seed=k))
        for k in range(seeds)
    ]


def train(config: yin_yang.Settings, where: Where) -> Record:
    # The experiment puts each seed into a folder of its own.
    settings = dataclasses.replace(config, output=where.folder.parent)
    record = yin_yang.run(settings, resume=True, progress=where.progress)
    return record | {"metrics": {"test accuracy %": 100 * record["test"]["accuracy"]}}


def smoke(data: Path) -> Sequence[Job]:
    del data  # the set is generated
    tiny = dataclasses.replace(
        yin_yang.PAPER, double=False, hidden=30, epochs=1, train_size=96
    )
    return [Job("", "seed0", tiny)]


ROW = Row(
    name="yin_yang",
    title="Yin-Yang, first-spike loss",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=10,
)
