r"""The traces x and r between spikes, and how the rate's derivative answers a spike.

A trace `x` that starts at one is $e^{-t/\tau_s}$, and makes r reach
$K(t) = \frac{\tau_s}{\tau_s - \tau_f} (e^{-t/\tau_s} - e^{-t/\tau_f})$.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._neuron import Neuron


def second_filter(neuron: Neuron, t: Array) -> Array:
    """K(t): what a trace x of one, decaying, makes of r within `t` ms."""
    syn, late = neuron.tau_syn, neuron.tau_filter
    if syn == late:
        return t / syn * jnp.exp(-t / syn)
    return syn / (syn - late) * (jnp.exp(-t / syn) - jnp.exp(-t / late))


def pass_window(
    neuron: Neuron, x: Array, r: Array, spikes: Array
) -> tuple[Array, Array]:
    """x and r one window later, in which a neuron spiked at `spikes`, or did not (inf)."""
    window = jnp.asarray(neuron.refractory, x.dtype)
    there = jnp.isfinite(spikes)
    since = jnp.where(there, window - spikes, 0.0)
    jump = jnp.where(there, 1 / neuron.tau_syn, 0.0)
    new_x = x * jnp.exp(-window / neuron.tau_syn)
    new_r = r * jnp.exp(-window / neuron.tau_filter) + x * second_filter(neuron, window)
    new_x = new_x + jump * jnp.exp(-since / neuron.tau_syn)
    return new_x, new_r + jump * second_filter(neuron, since)


def rate_slope(neuron: Neuron, t: Array) -> tuple[Array, Array]:
    """The parts of x and of r, as they were `t` ms ago, in g = r' now, without spikes
    since: g = (x - r) / tau_f."""
    syn, late = neuron.tau_syn, neuron.tau_filter
    by_x = (jnp.exp(-t / syn) - second_filter(neuron, t)) / late
    return by_x, -jnp.exp(-t / late) / late


def pair_kernel(
    neuron: Neuron, gap: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    r"""How the derivative of a neuron's filtered rate answers one of its spikes.

    $$k(t) = \frac{1}{\tau_f} \left[ \frac{e^{-t/\tau_s}}{\tau_s}
    - \frac{e^{-t/\tau_s} - e^{-t/\tau_f}}{\tau_s - \tau_f} \right]$$

    A spike on each side of a tied synapse, `gap` apart, changes its weight by this,
    divided by $\beta$, in whichever order they come: potentiation for spikes closer than
    `pair_kernel_zero`, depression for others, and nothing on average, since the integral
    of $k$ is zero. That is what the rule implies, not a figure of the paper.

    **Arguments:**

    - `neuron`: the `Neuron` whose time constants are taken.
    - `gap`: time between the two spikes in ms, of any shape and sign.

    **Returns:** $k(|gap|)$, in 1/ms^2.
    """
    gap = jnp.abs(jnp.asarray(gap))
    by_x, _ = rate_slope(neuron, gap)
    return by_x / neuron.tau_syn


def pair_kernel_zero(neuron: Neuron) -> float:
    """The time between two spikes, in ms, at which `pair_kernel` changes its sign."""
    syn, late = neuron.tau_syn, neuron.tau_filter
    if syn == late:
        return syn
    return float(jnp.log(late / syn)) / (1 / syn - 1 / late)
