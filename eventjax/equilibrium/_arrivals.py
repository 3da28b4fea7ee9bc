"""Spikes that arrive within a window, in the order in which they do."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


class Arrivals(eqx.Module):
    """Sorted by time, `inf` at the end where there are none."""

    times: Float[Array, "batch sources"]
    sources: Int[Array, "batch sources"]
    most: Int[Array, ""]  # the largest number of a sample


def sort_arrivals(spikes: Float[Array, "batch sources"], window: float) -> Arrivals:
    """Sort the spikes of each sample, which lie in [0, window] or are `inf`, by time, and
    coincident ones by their source."""
    num = spikes.shape[1]
    bits = max(num - 1, 1).bit_length()
    most = jnp.max(jnp.sum(jnp.isfinite(spikes), axis=1, dtype=jnp.int32))
    if spikes.dtype == jnp.float32 and bits <= 10:
        order = _packed_order(spikes, window, bits)
    else:
        order = jnp.argsort(spikes, axis=1).astype(jnp.int32)
    return Arrivals(jnp.take_along_axis(spikes, order, axis=1), order, most)


def _packed_order(spikes: Array, window: float, bits: int) -> Array:
    """Time and source in one integer, which is sorted seven times as fast as a pair.

    The times keep at least 21 bits, so that two are put out of order only if they lie
    within 5e-7 of a window. That is about the rounding error of the crossings themselves,
    and a current that jumps a moment too early or late moves a voltage by no more than
    that moment does.
    """
    last = (1 << (31 - bits)) - 1
    there = jnp.isfinite(spikes)
    part = jnp.where(there, spikes / window, 0.0) * (last - 1)
    time = jnp.where(there, part.astype(jnp.int32), last)
    source = lax.broadcasted_iota(jnp.int32, spikes.shape, 1)
    key = lax.sort((time << bits) | source, dimension=1)
    return key & ((1 << bits) - 1)
