"""Yin-Yang: learn when to spike first, with exact spike times and exact gradients.

Four coordinates become four spikes between 0 and 30 ms; a fifth comes at 0 ms. The output
neuron that fires first names the class. Without arguments a small network learns this in
about a minute. `--paper` takes the network and schedule of Wunderlich and Pehle, Scientific
Reports 11:12829 (2021), who report 98.1 +/- 0.2 % on the test set (10 seeds).

    python -m experiments.yin_yang
    python -m experiments.yin_yang --paper --seed 3
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
import optax

import eventjax as ej

from ._common import (
    Arrays,
    dense_layers,
    example_arrays,
    first_spike_times,
    from_command_line,
    Record,
    spike_arrays,
    spikes_of,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in ms."""

    seed: int = 0
    double: bool = False  # compute in double precision
    hidden: int = 120
    epochs: int = 25
    batch: int = 32
    learning_rate: float = 5e-3
    decay: float = 0.9  # of the learning rate, per epoch
    select_best: bool = True  # take the epoch with the best validation, not the last
    weight_in: tuple[float, float] = (2.0, 1.0)  # mean and standard deviation
    weight_out: tuple[float, float] = (0.4, 0.1)
    tau_mem: float = 20.0
    tau_syn: float = 5.0
    tau0: float = 0.5  # time scale of the softmax over first spikes
    tau1: float = 6.4  # time scale of the pull towards early spikes,
    alpha: float = 3e-3  # and its weight
    t_late: float = 30.0  # when a coordinate of 1 spikes
    t1: float = 60.0  # end of the simulation
    train_size: int = 5000
    output: Path = Path("runs/yin_yang")


PAPER = Settings(
    double=True,
    hidden=200,
    epochs=100,
    decay=0.95,
    select_best=False,
    weight_in=(1.5, 0.78),
    weight_out=(0.93, 0.1),
    output=Path("runs/yin_yang_paper"),
)


def make_network(settings: Settings, key: jax.Array) -> ej.Network:
    taus = dict(tau_mem=settings.tau_mem, tau_syn=settings.tau_syn)
    return dense_layers(
        sizes=(5, settings.hidden, 3),
        weights=(settings.weight_in, settings.weight_out),
        neurons=(ej.LIF(settings.hidden, **taus), ej.LIF(3, **taus)),
        capacities=(2 * settings.hidden, 64),
        key=key,
    )


def make_loss(settings: Settings):
    def loss_fn(network: ej.Network, batch: dict[str, jax.Array], key: Any):
        sol = ej.simulate(network, spikes_of(batch), settings.t1, throw=False)
        first, label = sol.first_spike_times, batch["label"]
        losses = ej.losses.first_spike_cross_entropy(
            first, label, tau0=settings.tau0, alpha=settings.alpha, tau1=settings.tau1
        )
        return losses, sol, {"accuracy": ej.losses.first_spike_correct(first, label)}

    return loss_fn


def encode(features: np.ndarray, label: np.ndarray, settings: Settings) -> Arrays:
    spikes = ej.encoders.latency(features, 0.0, settings.t_late, bias=0.0)
    return spike_arrays(spikes, label)


def run(
    settings: Settings, *, resume: bool = False, progress: bool = True
) -> dict[str, Any]:
    with jax.enable_x64(settings.double):
        return _run(settings, resume, progress)


def _run(settings: Settings, resume: bool, progress: bool) -> dict[str, Any]:
    folder = settings.output / f"seed{settings.seed}"
    record = Record(folder, settings, resume=resume)
    # The published splits: see `ej.data.yin_yang`.
    data = [
        ej.data.yin_yang(size, seed)
        for size, seed in ((settings.train_size, 42), (1000, 41), (1000, 40))
    ]
    train, validation, test = (
        encode(part["features"], part["label"], settings) for part in data
    )
    batches = ej.data.Batches(train, settings.batch, seed=settings.seed, drop_last=True)
    rate = optax.exponential_decay(
        settings.learning_rate, len(batches), settings.decay, staircase=True
    )
    init_key, train_key = jr.split(jr.key(settings.seed))
    loss_fn = make_loss(settings)
    with record.log:
        fitted = ej.train.fit(
            make_network(settings, init_key),
            loss_fn,
            batches,
            optax.adam(rate),
            epochs=settings.epochs,
            validation=lambda: ej.data.padded_batches(validation, 500),
            select_best="accuracy" if settings.select_best else None,
            learning_rate=rate,
            log=record.log,
            checkpoints=record.checkpoints,
            progress=progress,
            key=train_key,
        )
    means = ej.train.evaluate(fitted.model, loss_fn, ej.data.padded_batches(test, 500))
    results = record.finish(fitted, means)
    store_arrays(folder, fitted.model, data[2]["features"], test, settings)
    plot(folder)
    return results


def store_arrays(
    folder: Path,
    network: ej.Network,
    features: np.ndarray,
    test: Arrays,
    settings: Settings,
) -> None:
    """Spike times over the whole plane and for the test set, and some test samples."""
    axis = np.linspace(0, 1, 101)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x - 0.5, y - 0.5) <= 0.5
    plane = np.stack([x, y, 1 - x, 1 - y], axis=-1)[inside]
    points = encode(plane, np.zeros(len(plane), int), settings)
    times = np.full((*x.shape, 3), np.nan)
    times[inside] = first_spike_times(network, points, settings.t1)
    first = first_spike_times(network, test, settings.t1)
    few = {name: array[:10] for name, array in test.items()}
    ej.train.save_arrays(
        folder / "arrays.npz",
        map_x=axis,
        map_y=axis,
        map_times=times,
        points=features[:, :2],
        labels=test["label"],
        points_correct=ej.losses.first_spike_correct(first, test["label"]),
        **example_arrays(network, few, settings.t1),
    )


def plot(folder: Path) -> None:
    """Draw what `run` has stored. Can be called again without a new run."""
    ej.plot.learning_curve(folder / "results.json", save=folder / "learning_curve.png")
    for draw in (ej.plot.raster, ej.plot.voltage, ej.plot.spike_time_map):
        draw(folder / "arrays.npz", save=folder / f"{draw.__name__}.png")


if __name__ == "__main__":
    settings, resume = from_command_line(Settings(), PAPER, __doc__)
    results = run(settings, resume=resume)
    print(f"results in {settings.output / f'seed{settings.seed}'}")
    print(f"test accuracy: {100 * results['test']['accuracy']:.1f} %")
