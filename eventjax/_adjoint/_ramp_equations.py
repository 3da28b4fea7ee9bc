"""The equations that both forms of STD-ED share."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._connection import AbstractLinearMap
from .._neuron import AbstractRamp
from .._solver._ramp import Lines


class Crossings(eqx.Module):
    """What the backward pass keeps of each neuron."""

    t: Float[Array, "*made"]  # of its spike, from the start of the window
    active: Bool[Array, "*made"]  # neither saturated nor silent
    rate: Float[Array, "*made"]  # 1 / closing speed, in ms, 0 unless active


def crossings(threshold: AbstractRamp, line: Lines, times: Array, window: float):
    """At given spike times. A spike moves by `rate` for each unit that its voltage, or by
    minus that which its threshold, is off: the implicit function theorem."""
    active = (times > 0) & (times < jnp.inf)
    t = jnp.where(active, times, 0.0)
    speed = threshold.closing_speed(line.v, line.slope, t, window)
    rate = jnp.where(active, 1 / jnp.where(active, speed, 1.0), 0.0)
    return Crossings(t, active, rate)


def bounded(x: Array, bound: float | None) -> Array:
    """Within `[-bound, bound]`."""
    return x if bound is None else jnp.clip(x, -bound, bound)


def pull_threshold(
    threshold: AbstractRamp, found: Crossings, window: float, bar: Array
) -> AbstractRamp:
    """The gradient of a threshold from the cotangents of its values at spikes."""
    arrays, rest = eqx.partition(threshold, eqx.is_inexact_array)
    value = lambda arrays: eqx.combine(arrays, rest).value(found.t, window)
    return jax.vjp(value, arrays)[1](bar)[0]


def pull_connection(
    connection: AbstractLinearMap, given: tuple[Array, Array], bars: tuple[Array, Array]
) -> AbstractLinearMap:
    """The gradient of weights from the cotangents of two sums, in one go."""
    arrays, rest = eqx.partition(connection, eqx.is_inexact_array)
    values = jnp.stack(given)
    sums = lambda arrays: eqx.combine(arrays, rest).apply(values)
    return jax.vjp(sums, arrays)[1](jnp.stack(bars))[0]


def pull_values(connection: AbstractLinearMap, given: Array, bar: Array) -> Array:
    """The gradient of the values that a connection was given."""
    return jax.vjp(connection.apply, given)[1](bar)[0]
