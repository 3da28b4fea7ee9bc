"""Latency-coded MNIST with the maximum-voltage loss, Wunderlich and Pehle 2021:
97.58 +/- 0.12 % of the test set after 100 epochs (10 seeds). Five minutes an epoch on two
CPU cores, so a group of 30 epochs stands beside that of 100.

    python -m paper_repro run eventprop/latency_mnist/30_epochs --seeds 1
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from experiments import latency_mnist
from experiments._common import Arrays, spike_arrays
from paper_repro._row import Job, Record, Row, Where


def jobs(seeds: int) -> list[Job]:
    return [
        Job(
            f"{epochs}_epochs",
            f"seed{k}",
            dataclasses.replace(latency_mnist.PAPER, seed=k, epochs=epochs),
        )
        for epochs in (100, 30)
        for k in range(seeds)
    ]


def train(config: latency_mnist.Settings, where: Where) -> Record:
    settings = dataclasses.replace(
        config, output=where.folder.parent, data_dir=where.data_dir
    )
    record = latency_mnist.run(
        settings,
        resume=True,
        progress=where.progress,
        load=_made_up if where.smoke else latency_mnist.load,
    )
    return record | {"metrics": {"test accuracy %": 100 * record["test"]["accuracy"]}}


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_made_up`
    tiny = dataclasses.replace(latency_mnist.PAPER, hidden=20, epochs=1, batch=8)
    return [Job("30_epochs", "seed0", tiny)]


def _made_up(split: str, settings: latency_mnist.Settings) -> Arrays:
    """Noise in the shape of MNIST: the set itself is known by its checksums, so no file
    could stand in for it."""
    del settings
    rng = np.random.default_rng(len(split))
    pixels = rng.uniform(size=(40, 784)) * (rng.uniform(size=(40, 784)) < 0.2)
    spikes = ej.encoders.latency(pixels, 20.0, 0.0, threshold=1 / 255, capacity=320)
    return spike_arrays(spikes, rng.integers(0, 10, 40))


ROW = Row(
    name="latency_mnist",
    title="latency MNIST, maximum-voltage loss",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=10,
    needs="MNIST in <data>/mnist",
)
