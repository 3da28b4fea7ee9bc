"""How many operations a layer takes where only events cost anything."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .._connection import (
    AbstractLinearMap,
    AveragePool2d,
    ImageConnection,
)


class Operations(eqx.Module):
    """Numbers of operations of a layer, of each sample.

    **Fields:**

    - `forward`: additions of a weight to a voltage, one for each input spike and neuron.
    - `error`: multiplications and additions that carry errors to the layer before.
    - `weight`: those that add to the gradient of a weight.
    """

    forward: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    weight: Float[Array, "*batch"]

    @property
    def backward(self) -> Float[Array, "*batch"]:
        """Those of errors and of weights."""
        return self.error + self.weight


def count_pairs(
    connection: AbstractLinearMap | ImageConnection,
    given: Float[Array, "*given"],
    made: Float[Array, "*made"],
    *,
    batch_ndim: int = 1,
) -> Float[Array, "*batch"]:
    """Over how many synapses sources that count for something reach neurons that do.

    **Arguments:**

    - `connection`: a `Dense`, a `Conv2d`, a `Chain`, or an `ImageConnection`. A pool in it
        is none of its own: each source has a synapse with all that its patch reaches.
    - `given`, `made`: how much each source and neuron counts, such as its number of
        spikes; shapes are those the connection takes and makes, behind `batch_ndim` axes.

    **Returns:** the sum over all synapses of `given` times `made`, `[*batch]`.
    """
    ones = lambda x: jnp.ones_like(x, given.dtype) if eqx.is_inexact_array(x) else x
    reached = _carry(jax.tree.map(ones, connection), given) * _patch_size(connection)
    if reached.shape != made.shape:
        raise ValueError(
            f"`made` must have the shape that the connection makes of `given`, "
            f"{reached.shape}, got {made.shape}."
        )
    axes = tuple(range(batch_ndim, made.ndim))
    return jnp.sum(reached * made, axes)


def _carry(connection: AbstractLinearMap | ImageConnection, x: Array) -> Array:
    is_image = isinstance(connection, ImageConnection)
    return connection.carry(x) if is_image else connection.apply(x)


def _patch_size(connection: AbstractLinearMap | ImageConnection) -> int:
    """By how much average pools make values smaller than sums are."""
    is_pool = lambda x: isinstance(x, AveragePool2d)
    parts = jax.tree.leaves(connection, is_leaf=is_pool)
    return math.prod(math.prod(x.size) for x in parts if is_pool(x))


def count_operations(
    given: Float[Array, "..."],
    spikes: Float[Array, "..."],
    mask: Bool[Array, "..."],
    given_mask: Bool[Array, "..."] | None = None,
    *,
    connection: AbstractLinearMap | ImageConnection | None = None,
) -> Operations:
    """Operations of a layer under `MPDED`, forwards and backwards.

    A neuron has an error at a step if its mask is on there, or at a later step with no
    spike of its own from here on before that. Each such pair meets all input spikes of
    its step (for weights) and all neurons of the layer before that need an error there.

    **Arguments:**

    - `given`, `spikes`: frames (`Frames.counts`) of the layer before and of the layer,
        shape `[*batch, steps, units]`.
    - `mask`: where the mask of the layer is on: `spikes > 0` for `masks.Spike`, and all
        for `masks.Dense`.
    - `given_mask`: the same for the layer before, `None` for input, which needs no error.
    - `connection`: what connects the layers, `None` for all to all.

    **Returns:** `Operations`, shape `[*batch]`. To turn them into energy multiply by that
    of an operation; the paper's energies (Wei et al., arXiv 2403.00270) are UNCONFIRMED.

    **Raises:** `ValueError` for shapes that do not fit, and for an empty mask.
    """
    _check(given, spikes, mask, given_mask)
    fires, on = (jnp.moveaxis(x, -2, 0) for x in (spikes > 0, mask))

    def step(after: Array, here: tuple[Array, Array]):
        fires, on = here
        reached = on | (after & ~fires)
        return reached, reached

    _, reached = lax.scan(step, jnp.zeros_like(on[0]), (fires, on), reverse=True)
    errors = jnp.moveaxis(reached, 0, -2).astype(given.dtype)

    def pairs(sources: Array, neurons: Array) -> Array:
        if connection is not None:
            of_steps = count_pairs(
                connection, sources, neurons, batch_ndim=sources.ndim - 1
            )
        else:
            of_steps = jnp.sum(sources, -1) * jnp.sum(neurons, -1)
        return jnp.sum(of_steps, -1)

    forward, weight = pairs(given, jnp.ones_like(errors)), pairs(given, errors)
    if given_mask is None:
        return Operations(forward, jnp.zeros_like(weight), weight)
    return Operations(forward, pairs(given_mask.astype(given.dtype), errors), weight)


def _check(given: Array, spikes: Array, mask: Array, given_mask: Array | None) -> None:
    pairs = [("mask", mask, spikes), ("given_mask", given_mask, given)]
    for name, value, like in pairs:
        if value is not None and value.shape != like.shape:
            raise ValueError(
                f"`{name}` must have the shape of the frames it is for, {like.shape}, got "
                f"{value.shape}."
            )
        if value is not None and value.size == 0:
            raise ValueError(f"`{name}` is empty, of shape {value.shape}: give frames.")
    if given.shape[:-1] != spikes.shape[:-1]:
        raise ValueError(
            "`given` and `spikes` must have the same batch and steps, got "
            f"{given.shape} and {spikes.shape}."
        )
