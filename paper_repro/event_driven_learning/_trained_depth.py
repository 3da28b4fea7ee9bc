"""MNIST with networks of several depths, of which only the threshold differs."""

import dataclasses
import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import eventjax as ej
from experiments._common import Arrays, Record
from paper_repro._row import Record as Stored, Where

from ._depth import (
    kaiming_stack,
    layer_shares,
    OVERLAPPING,
    RAMPS,
    Stack,
    WINDOW,
)
from ._stdbp import stdbp_layer


@dataclasses.dataclass(frozen=True)
class Trained:
    """All settings of a training."""

    threshold: str  # one of `_depth.THRESHOLDS`
    layers: int  # hidden ones
    seed: int = 0
    width: int = 256
    train_size: int = 10000  # pictures; others serve for validation
    validation_size: int = 1000
    test_size: int = 10000
    epochs: int = 5
    batch: int = 100
    learning_rate: float = 1e-3


def _encoded(batch: dict[str, Any]) -> ej.FirstSpikes:
    # Of the float type that the weights have.
    pixels = jnp.asarray(batch["pixels"], jax.dtypes.canonicalize_dtype(float))
    return ej.encoders.first_spikes(pixels, WINDOW)


def _windows_loss(threshold: str, stack: Stack, batch, key: Any):
    """Cross-entropy of the potentials of outputs that do not spike, read when a window of
    their own would close."""
    del key
    neuron = ej.RampIF(WINDOW, threshold=RAMPS[threshold])
    hidden = [ej.FirstSpikeLayer(x, neuron) for x in stack[:-1]]
    readout = ej.PotentialReadout(stack[-1], WINDOW)
    network = ej.FirstSpikeNetwork([*hidden, readout])
    sol = ej.simulate_first_spikes(network, _encoded(batch), adjoint=ej.STDED())
    label = batch["label"]
    losses = optax.softmax_cross_entropy_with_integer_labels(sol.potentials, label)
    accuracy = ej.losses.largest_correct(sol.potentials, label)
    return losses, sol, {"accuracy": accuracy}


def _overlapping_loss(stack: Stack, batch, key: Any):
    """Cross-entropy of minus the times of output spikes: there is no end at which
    potentials could be read. Nothing pulls at an output that is silent."""
    del key
    spikes = _encoded(batch)
    for connection in stack:
        spikes = stdbp_layer(connection, spikes).spikes
    times, label = spikes.times, batch["label"]
    losses = ej.losses.first_spike_cross_entropy(times, label, tau0=WINDOW)
    accuracy = ej.losses.first_spike_correct(times, label)
    return losses, None, {"accuracy": accuracy}


# Each made once, so that seeds share a compilation.
@ft.cache
def _loss(threshold: str):
    if threshold == OVERLAPPING:
        return _overlapping_loss
    return ft.partial(_windows_loss, threshold)


@ft.cache
def _optimiser(learning_rate: float):
    return optax.adamw(learning_rate)


def _load(split: str, where: Where) -> Arrays:
    if where.smoke:
        return _made_up(split)
    data = ej.data.load(
        "mnist", split, data_dir=where.data_dir, prepared_dir=where.prepared_dir
    )
    pixels = (data["image"].reshape(-1, 784) / 255).astype(np.float32)
    return {"pixels": pixels, "label": data["label"].astype(np.int32)}


def _made_up(split: str) -> Arrays:
    """Noise in the shape of MNIST: the set itself is known by its checksums, so no file
    could stand in for it."""
    rng = np.random.default_rng(len(split))
    pixels = rng.uniform(size=(40, 784)) * (rng.uniform(size=(40, 784)) < 0.2)
    label = rng.integers(0, 10, 40).astype(np.int32)
    return {"pixels": pixels.astype(np.float32), "label": label}


def train_depth(config: Trained, where: Where) -> Stored:
    """Train one network, and test what the last epoch has made of it."""
    first = config.validation_size
    train = _load(f"train[{first}:{first + config.train_size}]", where)
    validation = _load(f"train[:{first}]", where)
    test = _load(f"test[:{config.test_size}]", where)
    batches = ej.data.Batches(train, config.batch, seed=config.seed, drop_last=True)
    sizes = (784, *[config.width] * config.layers, 10)
    init_key, train_key = jr.split(jr.key(config.seed))
    loss = _loss(config.threshold)
    record = Record(where.folder, config, resume=True)
    with record.log:
        fitted = ej.train.fit(
            kaiming_stack(sizes, init_key),
            loss,
            batches,
            _optimiser(config.learning_rate),
            epochs=config.epochs,
            validation=lambda: ej.data.padded_batches(validation, 500),
            # Gradients without bound are what is looked at: count them, and go on.
            max_skipped=config.epochs * len(batches),
            log=record.log,
            checkpoints=record.checkpoints,
            progress=where.progress,
            key=train_key,
        )
    means = ej.train.evaluate(fitted.model, loss, ej.data.padded_batches(test, 500))
    few = {name: jnp.asarray(array[:500]) for name, array in test.items()}
    shares = layer_shares(fitted.model[:-1], _encoded(few), config.threshold)
    skipped = sum(row["skipped"] for row in fitted.history)
    return record.finish(fitted, means) | {
        "metrics": {
            "test accuracy %": 100 * means["accuracy"],
            "steps skipped %": 100 * skipped / (config.epochs * len(batches)),
        },
        "parameters": sum(x.size for x in jax.tree.leaves(fitted.model)),
        "shares": shares,
    }
