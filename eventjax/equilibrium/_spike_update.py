r"""The spike-driven update of a synapse within one window.

At each spike of either neuron the weight grows by the derivative of the other's filtered
rate, $g = (x - r)/\tau_f$, at that very moment. A g within the window is what x and r at
its start make of it, plus the answer to the neuron's own spike, if that came before: spikes
of both in one window add `pair_kernel` of the time between them. Spikes at the same time
count as one just after the other, in either order, since the kernel is continuous.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._neuron import Neuron
from ._state import Activity
from ._traces import rate_slope


def window_update(
    neuron: Neuron,
    above: Activity,
    below: Activity,
    spikes_above: Float[Array, "batch above"],
    spikes_below: Float[Array, "batch below"],
    scale: Float[Array, " batch"],
) -> Float[Array, "above below"]:
    """The sum over the batch, in which a sample counts `scale` times, from the states of
    two layers at the start of a window and their spikes in it."""
    weigh = scale[:, None]
    up, down = (
        [weigh * x for x in _slopes(neuron, s)] for s in (spikes_above, spikes_below)
    )
    # x and r of one side meet what its spikes make of them on the other: one product.
    left = jnp.concatenate([*up, above.x, above.r])
    right = jnp.concatenate([below.x, below.r, *down])
    smooth = jnp.matmul(left.T, right, precision="highest")
    return smooth + _pairs(neuron, spikes_above, spikes_below, scale)


def _slopes(neuron: Neuron, spikes: Array) -> tuple[Array, ...]:
    """What a spike makes of x and of r at the start of the window, or 0 without one."""
    there = jnp.isfinite(spikes)
    parts = rate_slope(neuron, jnp.where(there, spikes, 0.0))
    return tuple(jnp.where(there, x, 0.0) for x in parts)


def _pairs(neuron: Neuron, one: Array, two: Array, scale: Array) -> Array:
    """Sum of `pair_kernel` over the samples in which both spiked.

    exp(-|s - t| / tau) is the smaller of two products, exp((s - t) / tau) and its inverse:
    this takes no exponential for each pair.
    """
    syn, late = neuron.tau_syn, neuron.tau_filter

    def both(tau: float) -> Array:
        grow, fade = [], []
        for spikes in (one, two):
            there = jnp.isfinite(spikes)
            s = jnp.where(there, spikes, 0.0)
            grow.append(jnp.where(there, jnp.exp(s / tau), 0.0))
            fade.append(jnp.where(there, jnp.exp(-s / tau), 0.0))
        first = grow[0][:, :, None] * fade[1][:, None, :]
        second = fade[0][:, :, None] * grow[1][:, None, :]
        return jnp.minimum(first, second)

    if syn == late:
        s, t = (jnp.where(jnp.isfinite(x), x, 0.0) for x in (one, two))
        gap = jnp.abs(s[:, :, None] - t[:, None, :])
        each = both(syn) * (1 - gap / syn) / syn**2
    else:
        apart = syn - late
        each = both(late) / (late * apart) - both(syn) / (syn * apart)
    return jnp.sum(scale[:, None, None] * each, axis=0)
