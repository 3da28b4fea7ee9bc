"""Layers of `RampIF` neurons: straight lines that meet a falling threshold."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._connection import AbstractLinearMap
from .._neuron import RampIF


class RampProblem(eqx.Module):
    """A layer and the spikes of the layer before, of one float type. Times count from the
    start of that layer's window, what is found from the start of the layer's own."""

    connection: AbstractLinearMap
    neuron: RampIF
    times: Float[Array, "*given"]  # anything where nothing fired
    fired: Bool[Array, "*given"]


class Lines(eqx.Module):
    """The voltages of a layer in its window."""

    v: Float[Array, "*made"]  # when it opens
    slope: Float[Array, "*made"]  # per ms


def two_sums(
    connection: AbstractLinearMap, one: Array, two: Array
) -> tuple[Array, Array]:
    """What a connection makes of two arrays of values, in one go."""
    sums = connection.apply(jnp.stack([one, two]))
    return sums[0], sums[1]


def lines(problem: RampProblem) -> Lines:
    """From the sums W of the weights of what fired, and I of weights times times."""
    neuron = problem.neuron
    times = jnp.where(problem.fired, problem.times, 0.0)
    fired = problem.fired.astype(times.dtype)
    weight, moment = two_sums(problem.connection, fired, times)
    v = (neuron.window * weight - moment) / neuron.rise
    return Lines(v, weight / neuron.rise)


def ramp_times(problem: RampProblem) -> Float[Array, "*made"]:
    """When each neuron spikes, `+inf` where it is silent: plain operations, which JAX can
    differentiate in forward and reverse mode, and to any order."""
    line, neuron = lines(problem), problem.neuron
    return neuron.threshold.crossing(line.v, line.slope, neuron.window)
