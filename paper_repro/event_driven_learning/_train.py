"""Trains and tests a network on pictures: what the rows of all data sets share."""

import dataclasses
import functools as ft
from collections.abc import Mapping
from typing import Any

import jax
import jax.random as jr
import optax

import eventjax as ej
from experiments._common import Record as RunFolder
from paper_repro._row import Record, Where

from ._activity import activity
from ._config import Pictures
from ._loss import make_loss
from ._networks import first_spike_network, grid_network
from ._sources import load, Source


def train(config: Pictures, where: Where) -> Record:
    """Train a network, and test the epoch that is best on validation data.

    **Arguments:**

    - `config`: all settings.
    - `where`: see `Where`.

    **Returns:** the record of the run. Its `"test"` has accuracy and loss, and
    `"activity"` what the layers do, and how many operations that takes.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    parts = load(config, where)
    init_key, train_key = jr.split(jr.key(config.seed))
    make = grid_network if config.on_grid else first_spike_network
    model = make(config, parts["train"].shape, parts["train"].classes, init_key)
    folder = RunFolder(where.folder, config, resume=True)
    if config.warm_start:
        model = _warm(model, config, parts, where, train_key)
    with folder.log:
        kept = folder.log, folder.checkpoints
        fitted = _fit(model, config, parts, where, train_key, *kept)
    loss_fn = make_loss(config.shared)
    test = ej.train.evaluate(fitted.model, loss_fn, parts["test"].padded())
    record = folder.finish(fitted, test)
    return record | {
        "metrics": {"test accuracy %": 100 * test["accuracy"]},
        "activity": activity(fitted.model, parts["test"], config),
    }


def _fit(
    model: Any,
    config: Pictures,
    parts: Mapping[str, Source],
    where: Where,
    key: jax.Array,
    log: ej.train.MetricsLog | None,
    checkpoints: Any,
) -> ej.train.Fitted:
    batches = parts["train"].batches(config)
    rate, optimiser = make_optimiser(config.shared, len(batches))
    return ej.train.fit(
        model,
        make_loss(config.shared),
        batches,
        optimiser,
        epochs=config.epochs,
        validation=parts["validation"].padded,
        select_best="accuracy",
        learning_rate=rate,
        log=log,
        checkpoints=checkpoints,
        progress=where.progress,
        key=key,
    )


def _warm(model: Any, config: Pictures, parts, where: Where, key) -> Any:
    """With weights that the clipped ReLU network has learnt in some epochs."""
    if config.rule != "std_ed":
        raise ValueError(
            "`warm_start` gives a network of first spikes the weights of its twin, so the "
            f"rule must be 'std_ed', got {config.rule!r}."
        )
    before = dataclasses.replace(
        config, rule="clipped_relu", warm_start=0, epochs=config.warm_start
    )
    checkpoints = where.folder / "warm_start"
    return _fit(model, before, parts, where, key, None, checkpoints).model


@ft.cache
def make_optimiser(
    config: Pictures, steps: int
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """AdamW with a learning rate that falls to zero along a cosine."""
    rate = optax.cosine_decay_schedule(config.learning_rate, steps * config.epochs)
    return rate, optax.adamw(rate, weight_decay=config.weight_decay)
