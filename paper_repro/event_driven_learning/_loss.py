"""What each rule makes of a batch of pictures."""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import optax

import eventjax as ej

from ._config import Pictures
from ._networks import clipped_relu, OnGrid


@ft.cache  # so that runs that differ in nothing it needs share a compilation
def make_loss(config: Pictures):
    """Cross-entropy of the readout, for `eventjax.train.fit`."""

    def loss_fn(model: Any, batch: dict[str, jax.Array], key: Any):
        del key
        logits, sol = respond(model, batch, config)
        label = batch["label"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        predicted = jnp.argmax(logits, axis=-1).astype(label.dtype)
        return losses, sol, {"accuracy": predicted == label}

    return loss_fn


def respond(
    model: Any, batch: dict[str, jax.Array], config: Pictures, voltages: bool = False
):
    """The readout, and what `simulate` returned: on a time grid with the `voltages` after
    each step if they are asked for."""
    if config.on_grid:
        return _on_grid(model, frames_of(batch, model, config), config, voltages)
    if config.rule == "clipped_relu":
        return clipped_relu(model, _pixels(batch)), None
    adjoint = ej.STDED(dual=True, bound=config.bound)
    sol = ej.simulate_first_spikes(model, encode(batch, config), adjoint=adjoint)
    return sol.potentials, sol


def _pixels(batch: dict[str, jax.Array]) -> jax.Array:
    """Of [0, 1], and of the float type that weights have."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    return jnp.asarray(batch["image"]).astype(dtype) / 255


def encode(batch: dict[str, jax.Array], config: Pictures) -> ej.FirstSpikes:
    """Bright pixels first."""
    return ej.encoders.first_spikes(_pixels(batch), config.window)


def frames_of(
    batch: dict[str, jax.Array], model: OnGrid, config: Pictures
) -> ej.Frames:
    """A still picture as a current in each step; or the events of each step, one for
    each pixel and polarity at most."""
    if "image" in batch:
        flat = _pixels(batch)
        flat = flat.reshape(flat.shape[0], 1, -1)
        counts = jnp.broadcast_to(flat, (flat.shape[0], config.steps, flat.shape[2]))
        return ej.Frames(counts, 1.0)
    spikes = ej.Spikes(jnp.asarray(batch["times"]), jnp.asarray(batch["sources"]))
    dt, size = config.t1 / config.steps, model.network.in_size
    counts = ej.Frames.from_spikes(spikes, size, dt, config.t1).counts
    return ej.Frames(jnp.minimum(counts, 1), 1.0)  # time constants are in steps


def _on_grid(model: OnGrid, frames: ej.Frames, config: Pictures, voltages: bool):
    sol = ej.simulate(
        model.network,
        frames,
        float(config.steps),
        solver=ej.Clocked(1.0),
        adjoint=adjoint_of(config),
        record=jnp.arange(1, config.steps + 1, dtype=float) if voltages else None,
        throw=False,
    )
    mean = jnp.mean(sol.frames[-1].counts, axis=-2)
    return model.readout.carry(mean), sol


def adjoint_of(config: Pictures) -> ej.MPDED:
    """The dense mask makes an ordinary surrogate gradient of the same slope."""
    mask = ej.masks.Spike()
    if config.rule == "surrogate":
        mask = ej.masks.Dense()
    elif config.near is not None:
        mask = ej.masks.NearThreshold(config.near)
    return ej.MPDED(mask, shape=ej.surrogates.Triangle(config.width))
