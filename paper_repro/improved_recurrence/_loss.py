"""What a network makes of a batch, and how wrong that is."""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp

import eventjax as ej

from ._config import Settings


CLOSE = 0.2  # a sum that is no further off counts as right


@ft.cache  # so that runs that differ in nothing it needs share a compilation
def make_loss(config: Settings):
    """Cross-entropy of the frames that are asked for, or the square error of a sum, for
    `eventjax.train.fit`. Padding has no part in it, which it has in the code."""

    def loss_fn(network: ej.graded.Classifier, batch: dict[str, jax.Array], key: Any):
        passed = respond(network, batch, key)
        asked = jnp.asarray(batch["asked"])
        if config.task == "adding":
            target = jnp.asarray(batch["target"]).astype(passed.outputs.dtype)
            error = target - passed.outputs[..., 0]
            losses = _mean(error**2, asked)
            right = jnp.abs(error) <= CLOSE
        else:
            label = jnp.asarray(batch["label"])
            losses = ej.losses.framewise_cross_entropy(passed.outputs, label, asked)
            right = jnp.argmax(passed.outputs, axis=-1).astype(label.dtype) == label
        accuracy = _mean(right.astype(losses.dtype), asked)
        return losses + passed.drift, None, {"accuracy": accuracy}

    return loss_fn


def respond(
    network: ej.graded.Classifier, batch: dict[str, Any], key: Any
) -> ej.graded.Classified:
    frames = jnp.asarray(batch["frames"])
    frames = frames.astype(jax.dtypes.canonicalize_dtype(float))
    return network(frames, jnp.asarray(batch["valid"]), key=key)


def _mean(values: jax.Array, asked: jax.Array) -> jax.Array:
    """Over the frames of each sequence that are asked for."""
    total = jnp.sum(jnp.where(asked, values, 0), axis=1)
    return total / jnp.sum(asked, axis=1).astype(values.dtype)
