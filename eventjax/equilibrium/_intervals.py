r"""The voltage of a layer between two arrivals, and when it reaches the threshold there.

With constant drive B and arrivals of weight w at times s, the voltage within a window is

$$v(t) = B + M(t) e^{-t/\tau_m} + S(t) e^{-t/\tau_s}, \qquad
\kappa = \tau_s / (\tau_s - \tau_m),$$

where M and S jump by $-\kappa w e^{s/\tau_m}/\tau_s$ and $\kappa w e^{s/\tau_s}/\tau_s$ at
each arrival and are constant in between. One time constant is twice the other, so with
z the slower of the two exponentials, which falls from 1, this is a quadratic in z. A
neuron that spiked in the window before is held at 0 until as long after the start of this
one; there M starts anew.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._neuron import Neuron


class Layer(eqx.Module):
    """A layer at the start of a window, `[batch, neurons]` each."""

    drive: Array  # B
    mem: Array  # M, without arrivals
    syn: Array  # S, without arrivals
    held: Array  # whether a refractory time ends in this window
    z: Array  # when it does
    inverse: Array  # 1 / z


def slow_tau(neuron: Neuron) -> float:
    return max(neuron.tau_mem, neuron.tau_syn)


def decay(neuron: Neuron, t: Array) -> Array:
    """z of a time."""
    return jnp.exp(-t / slow_tau(neuron))


def window_end(neuron: Neuron, like: Array) -> Array:
    return decay(neuron, jnp.asarray(neuron.refractory, like.dtype))


def begin(
    neuron: Neuron, v: Array, current: Array, drive: Array, own: Array, before: Array
) -> Layer:
    """From voltage, synaptic current and drive at the start of a window, the weight `own`,
    `[batch, 1]`, with which a neuron's spike arrives at itself, and the spikes of the
    window before."""
    held = jnp.isfinite(before)
    z = decay(neuron, jnp.where(held, before, 0.0))
    inverse = 1 / z
    # A neuron's own spike arrives just as its refractory time ends, so to the voltage it
    # is the same as if it had been there all along.
    _, by_syn = unit_arrival(neuron, inverse)
    syn = kappa(neuron) * current + jnp.where(held, own * by_syn, 0.0)
    return Layer(drive, v - drive - syn, syn, held, z, inverse)


def kappa(neuron: Neuron) -> float:
    return neuron.tau_syn / (neuron.tau_syn - neuron.tau_mem)


def unit_arrival(neuron: Neuron, inverse: Array) -> tuple[Array, Array]:
    """What an arrival of weight 1, at 1/z, adds to M and to S."""
    scale = kappa(neuron) / neuron.tau_syn
    once, twice = scale * inverse, scale * inverse * inverse
    if neuron.tau_mem > neuron.tau_syn:
        return -once, twice
    return -twice, once


def released(neuron: Neuron, layer: Layer, syn: Array) -> Array:
    """M from the end of the refractory time on, at which S is `syn` and v is 0."""
    if neuron.tau_mem > neuron.tau_syn:
        return -(layer.drive * layer.inverse + syn * layer.z)
    return -(layer.drive * layer.inverse + syn) * layer.inverse


def voltage(neuron: Neuron, drive: Array, mem: Array, syn: Array, z: Array) -> Array:
    a, b = _quadratic(neuron, mem, syn)
    return drive + z * (b + z * a)


def _quadratic(neuron: Neuron, mem: Array, syn: Array) -> tuple[Array, Array]:
    """The coefficients of z^2 and of z."""
    if neuron.tau_mem > neuron.tau_syn:
        return syn, mem
    return mem, syn


def crossing(
    neuron: Neuron, layer: Layer, mem: Array, syn: Array, since: Array, until: Array
) -> Array:
    """z of the first spike between two arrivals, at z of `since` and of `until`, or 0.

    The voltage starts below the threshold, so it is the root at which it rises with time
    that counts: (-b - sqrt(b^2 - 4ac)) / 2a whatever the sign of a. The ends are looked at
    as well, since a root on one of them may be lost to rounding. Where the refractory time
    has not ended before `until` there is no spike.
    """
    a, b = _quadratic(neuron, mem, syn)
    c = layer.drive - neuron.v_threshold
    start = jnp.where(layer.held, jnp.minimum(layer.z, since), since)
    above = jnp.maximum(c + start * (b + start * a), c + until * (b + until * a)) >= 0
    disc = b * b - 4 * a * c
    root = jnp.sqrt(jnp.maximum(disc, 0.0))
    up = jnp.where(b > 0, -(b + root), 2 * c)
    down = jnp.where(b > 0, 2 * a, root - b)
    z = up / jnp.where(down == 0, 1.0, down)
    inside = (disc >= 0) & (down != 0) & (z <= start) & (z >= until)
    z = jnp.minimum(jnp.maximum(z, until), start)
    return jnp.where((until < start) & (inside | above), z, 0.0)


def finish(
    neuron: Neuron, layer: Layer, mem: Array, syn: Array, found: Array
) -> tuple[Array, Array]:
    """Spikes in ms from the start of the window, or `inf`, and voltages at its end, from M
    and S after all arrivals and z of the first spike, or 0."""
    end = window_end(neuron, syn)
    spiked = found > 0
    # Not clipped below: z does not exceed 1.
    times = -slow_tau(neuron) * jnp.log(jnp.where(spiked, found, 1.0))
    spikes = jnp.where(spiked, jnp.minimum(times, neuron.refractory), jnp.inf)
    still = layer.held & (layer.z <= end)
    v = voltage(neuron, layer.drive, mem, syn, end)
    return spikes, jnp.where(spiked | still, 0.0, v)
