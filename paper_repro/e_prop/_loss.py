"""What a network makes of a batch of utterances."""

import dataclasses
import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

import eventjax as ej

from ._config import Phones
from ._network import adjoint, Readers


@ft.cache  # so that runs that differ in nothing it needs share a compilation
def make_loss(config: Phones):
    """Cross-entropy of the frames, with regularisers of rates and weights, for
    `eventjax.train.fit`."""

    def loss_fn(readers: Readers, batch: dict[str, jax.Array], key: Any):
        logits, sols = respond(readers, batch, config)
        label, valid = batch["label"], batch["valid"]
        losses = ej.losses.framewise_cross_entropy(logits, label, valid)
        best = jnp.argmax(logits, axis=-1).astype(label.dtype)
        right = (best == label) & valid
        accuracy = jnp.sum(right, axis=1) / jnp.sum(valid, axis=1)
        if key is not None:  # not in evaluation
            extra = _rates(sols, valid, config) + _weights(readers, config)
            losses = losses + extra
        return losses, _as_one(sols), {"accuracy": accuracy}

    return loss_fn


def _as_one(sols: list[ej.Solution]) -> ej.Solution:
    """What the layers of all networks did, one after the other, for `fit` to look at."""
    joined = {
        name: tuple(x for sol in sols for x in getattr(sol, name))
        for name in ("spikes", "frames", "num_spikes", "num_clipped", "slopes")
    }
    return dataclasses.replace(sols[0], **joined)


def respond(
    readers: Readers, batch: dict[str, jax.Array], config: Phones
) -> tuple[Float[Array, "batch frames classes"], list[ej.Solution]]:
    """The outputs at the end of each frame, and what `simulate` returned."""
    frames, valid = jnp.asarray(batch["frames"]), jnp.asarray(batch["valid"])
    frames = frames.astype(jax.dtypes.canonicalize_dtype(float))
    total, sols = jnp.zeros(()), []
    for k, network in enumerate(readers.networks):
        turn = (lambda x: x) if k == 0 else ft.partial(reversed_frames, valid=valid)
        sol = _run(network, turn(frames), config)
        total = total + turn(sol.voltages[-1])
        sols.append(sol)
    return total, sols


def _run(network: ej.Network, frames: jax.Array, config: Phones) -> ej.Solution:
    """Each frame is a current in as many steps as it is repeated."""
    counts = jnp.repeat(frames, config.repeats, axis=1)
    steps = counts.shape[1]
    return ej.simulate(
        network,
        ej.Frames(counts, 1.0),
        float(steps),
        solver=ej.Clocked(1.0),
        adjoint=adjoint(config),
        record=config.repeats * jnp.arange(1, frames.shape[1] + 1).astype(counts.dtype),
        throw=False,
    )


def reversed_frames(
    x: Float[Array, "batch frames values"], valid: Bool[Array, "batch frames"]
) -> Float[Array, "batch frames values"]:
    """From the last frame to the first; padding stays behind."""
    place = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
    length = jnp.sum(valid, axis=1, keepdims=True, dtype=jnp.int32)
    place = jnp.where(place < length, length - 1 - place, place)
    return jnp.take_along_axis(x, place[:, :, None], axis=1)


def _rates(sols: list[ej.Solution], valid: jax.Array, config: Phones) -> jax.Array:
    """`rate_strength` times the mean square over neurons of how far their mean rate, over
    frames and batch, is from `rate`. Through spikes, so by eligibility traces."""
    steps = jnp.repeat(valid, config.repeats, axis=1).astype(sols[0].t1.dtype)
    squares = []
    for sol in sols:
        for frames in sol.frames[:-1]:
            rate = jnp.sum(frames.counts * steps[:, :, None], (0, 1)) / jnp.sum(steps)
            squares.append(jnp.mean((rate - config.rate) ** 2))
    return config.rate_strength * sum(squares, jnp.zeros(())) / len(squares)


def _weights(readers: Readers, config: Phones) -> jax.Array:
    """`l2` times the sum of squares of input and recurrent weights."""
    hidden = [y for n in readers.networks for y in n.layers[:-1]]
    weights = [y.connection.weight for y in hidden]
    weights += [y.recurrent.connection.weight for y in hidden]
    return config.l2 * sum((jnp.sum(w**2) for w in weights), jnp.zeros(()))
