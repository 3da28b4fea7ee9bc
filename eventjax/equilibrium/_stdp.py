"""Weight changes against the time between spikes, as they happen in a phase."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._neuron import Neuron
from ._phase import Recording
from ._traces import pair_kernel, rate_slope


class SpikeTiming(eqx.Module):
    """What `spike_timing` returns, `[windows, batch, pre, post]`.

    - `gap`: from a spike of `pre` to the nearest one of `post` in ms, positive if that
        came later; `inf` where there is none of either.
    - `change`: what the spike of `pre` adds to the weight, times beta; 0 without a spike.
    """

    gap: Float[Array, "windows batch pre post"]
    change: Float[Array, "windows batch pre post"]


def spike_timing(
    neuron: Neuron, recording: Recording, pre: int, post: int
) -> SpikeTiming:
    r"""The part of the update that spikes of one layer trigger, spike by spike.

    At a spike of `pre` a weight changes by $g_{post}/\beta$, the derivative of the filtered
    rate of `post` at that time. Rules that depend on spike timing are usually shown as this
    change against the time to the nearest spike of the other side.

    **Arguments:**

    - `neuron`: the network's.
    - `recording`: of `run_phase(..., record=True)`, with a nudge or, as a control, without.
    - `pre`, `post`: two layers, counted from 0, the first that is not the input.

    **Returns:** a `SpikeTiming`.

    **Raises:** `ValueError` for layers that do not exist or are not next to each other.
    """
    layers = len(recording.spikes)
    if not (0 <= pre < layers and 0 <= post < layers and abs(pre - post) == 1):
        raise ValueError(
            f"`pre` and `post` must be neighbours among the {layers} layers, got {pre} and "
            f"{post}."
        )
    late, early = recording.spikes[pre][..., None], recording.spikes[post][..., None, :]
    spiked = jnp.isfinite(late)
    at = jnp.where(spiked, late, 0.0)
    by_x, by_r = rate_slope(neuron, at)
    change = by_x * recording.x[post][..., None, :]
    change = change + by_r * recording.r[post][..., None, :]
    before = early < at
    own = pair_kernel(neuron, jnp.where(before, at - early, 0.0))
    change = jnp.where(spiked, change + jnp.where(before, own, 0.0), 0.0)

    times = recording.times(neuron)
    nearest = _nearest(times[pre][..., None], times[post])
    return SpikeTiming(jnp.where(spiked, nearest, jnp.inf), change)


def _nearest(pre: Array, post: Array) -> Array:
    """From each `pre` to the nearest of `post` in any window: one of its own window, the
    last before or the first after."""
    there = jnp.isfinite(post)
    no = jnp.full_like(post[:1], jnp.inf)
    last = lax.cummax(jnp.where(there, post, -jnp.inf), axis=0)
    last = jnp.concatenate([-no, last[:-1]])
    first = jnp.concatenate([lax.cummin(post, axis=0, reverse=True)[1:], no])
    start = jnp.where(jnp.isfinite(pre), pre, 0.0)
    best = jnp.full(jnp.broadcast_shapes(pre.shape, post[..., None, :].shape), jnp.inf)
    best = best.astype(post.dtype)
    for other in (post, last, first):
        gap = other[..., None, :] - start
        best = jnp.where(jnp.abs(gap) < jnp.abs(best), gap, best)
    return best
