"""SSC with the paper's best settings, Nowotny, Turner and Knight 2025: 74.1 +/- 0.9 % of
the test set (8 seeds).

    python -m paper_repro run eventprop/ssc_best --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from paper_repro._row import Job, Row

from .._config import Speech
from .._speech import train
from ._smoke import made_up, tiny


# Index 792 of the authors' scan, decoded.
BEST = Speech(
    dataset="ssc",
    hidden=1024,
    copies=11,
    weight_in=(0.003, 0.001),
    shift=40,
    blend=True,
    heterogeneous=True,
    lambda_reg=5e-10,
    epochs=50,
    plateau="validation_accuracy",
    select="validation",
)


def jobs(seeds: int) -> list[Job]:
    return [
        Job("", f"seed{k}", dataclasses.replace(BEST, seed=k)) for k in range(seeds)
    ]


def smoke(data: Path) -> Sequence[Job]:
    made_up(data, "ssc")
    return [Job("", "seed0", dataclasses.replace(tiny(BEST), copies=3))]


ROW = Row(
    name="ssc_best",
    title="SSC, the paper's best network",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=8,
    needs="SSC in <data>/ssc",
)
