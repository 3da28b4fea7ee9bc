"""SHD with the paper's best settings, Nowotny, Turner and Knight 2025: 93.5 +/- 0.7 % of
the test set (8 seeds).

    python -m paper_repro run eventprop/shd_best --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from paper_repro._row import Job, Row

from .._config import Speech
from .._speech import train
from ._smoke import made_up, tiny


# Index 1406 of the authors' scan, decoded.
BEST = Speech(
    dt_bin=2.0,
    recurrent_delay=2.0,
    hidden=512,
    copies=11,
    weight_in=(0.003, 0.001),
    shift=40,
    train_taus=True,
    lambda_reg=2.5e-10,
    epochs=100,
    plateau="train_accuracy",
    select="train",
)


def jobs(seeds: int) -> list[Job]:
    pictures = ("learning_curve.png", "raster.png", "confusion.png")
    return [
        Job(
            "", f"seed{k}", dataclasses.replace(BEST, seed=k), pictures if not k else ()
        )
        for k in range(seeds)
    ]


def smoke(data: Path) -> Sequence[Job]:
    made_up(data)
    return [
        Job("", "seed0", dataclasses.replace(tiny(BEST), copies=3), ("raster.png",))
    ]


ROW = Row(
    name="shd_best",
    title="SHD, the paper's best network",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=8,
    needs="SHD in <data>/shd",
)
