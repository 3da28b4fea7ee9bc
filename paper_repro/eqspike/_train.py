"""Trains and tests a network on MNIST."""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

import eventjax as ej
from experiments._common import Record as RunFolder
from paper_repro._row import Record, Where

from ._config import Settings
from ._data import CLASSES, load
from ._network import layer_rates, make_network, make_rule


METRIC = "test accuracy %"
_TOGETHER = 500  # pictures that are evaluated together


def train(config: Settings, where: Where) -> Record:
    """Train a network, and test the epoch that is best on validation data.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    parts = load(config, where)
    size = min(config.batch, len(parts["train"]["label"]))
    batches = ej.data.Batches(parts["train"], size, seed=config.seed, drop_last=True)
    init_key, train_key = jr.split(jr.key(config.seed))
    padded = lambda name: ej.data.padded_batches(
        parts[name], min(_TOGETHER, len(parts[name]["label"]))
    )
    folder = RunFolder(where.folder, config, resume=True)
    loss_fn, (rate, optimiser) = (
        make_loss(config.shared),
        make_optimiser(config.shared, len(batches)),
    )
    with folder.log:
        fitted = ej.train.fit(
            make_network(config, init_key),
            loss_fn,
            batches,
            optimiser,
            epochs=config.epochs,
            validation=lambda: padded("validation"),
            select_best="accuracy",
            learning_rate=rate,
            log=folder.log,
            checkpoints=folder.checkpoints,
            progress=where.progress,
            key=train_key,
        )
    test = ej.train.evaluate(fitted.model, loss_fn, padded("test"))
    record = folder.finish(fitted, test)
    ej.plot.learning_curve(
        where.folder / "results.json", save=where.folder / "learning_curve.png"
    )
    return record | {"metrics": {METRIC: 100 * float(test["accuracy"])}}


@ft.cache  # so that runs that differ in nothing it needs share a compilation
def make_loss(config: Settings):
    """For `eventjax.train.fit`: half the square distance of the output rates from the
    wanted ones, with the estimate of the rule in place of its gradient. Without a key the
    free phase only, and what layers do in it."""
    rule = make_rule(config)

    def loss_fn(network: Any, batch: dict[str, jax.Array], key: Any):
        pixels = jnp.asarray(batch["image"]).astype(network.dtype) / 255
        label = jnp.asarray(batch["label"])
        right = jax.nn.one_hot(label, CLASSES, dtype=pixels.dtype)
        targets = config.off + (config.on - config.off) * right
        if key is None:
            outcome, state = rule.settle(network, pixels)
            losses = 0.5 * jnp.sum((targets - outcome.rates) ** 2, axis=1)
            metrics = _activity(layer_rates(config, outcome, state))
        else:
            _, outcome = rule(network, pixels, targets)
            losses, metrics = outcome.losses, {}
        right = outcome.prediction == label.astype(outcome.prediction.dtype)
        return losses, None, {"accuracy": right.astype(pixels.dtype)} | metrics

    return loss_fn


def _activity(layers: list[jax.Array]) -> dict[str, jax.Array]:
    """Of each layer and sample: mean rate, and shares that are silent and saturated."""
    out = {}
    for k, rates in enumerate(layers):
        share = lambda x, dtype=rates.dtype: jnp.mean(x.astype(dtype), axis=1)
        out[f"layer {k + 1}: rate"] = jnp.mean(rates, axis=1)
        out[f"layer {k + 1}: silent"] = share(rates <= 0)
        out[f"layer {k + 1}: saturated"] = share(rates > 0.9)
    return out


@ft.cache
def make_optimiser(
    config: Settings, steps: int
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Adam with a learning rate that falls to zero along a cosine; but plain descent
    with continual updates, which have been made already."""
    if config.rule == "continual_ep":
        rate = optax.constant_schedule(config.learning_rate)
        return rate, optax.sgd(rate)
    rate = optax.cosine_decay_schedule(config.learning_rate, steps * config.epochs)
    return rate, optax.adam(rate)
