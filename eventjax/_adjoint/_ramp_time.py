"""STD-ED on spike times."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._connection import AbstractLinearMap
from .._neuron import AbstractRamp, RampIF
from .._solver._ramp import lines, ramp_times, RampProblem
from ._ramp_equations import (
    bounded,
    Crossings,
    crossings,
    pull_connection,
    pull_threshold,
    pull_values,
)


class Learnt(eqx.Module):
    """All that gradients reach."""

    connection: AbstractLinearMap
    threshold: AbstractRamp
    times: Float[Array, "*given"]


def backward_time(
    problem: RampProblem, found: Crossings, bar: Array, bound: float | None
) -> Learnt:
    r"""With $g$ the cotangents of spike times $t^* = T + t$ and $r$ the rates,

    $$dL/dI = g r, \quad dL/dW = -g r t^*, \quad
    dL/dw_i = t_i\,dL/dI + dL/dW, \quad dL/dt_i = \sum_j w_{ij}\,dL/dI_j$$

    for inputs that fired and neurons that are active, else 0."""
    neuron = problem.neuron
    bar = jnp.where(found.active, bar, 0.0)
    by_moment = bounded(found.rate / neuron.rise, bound)
    by_weight = bounded((neuron.window + found.t) * found.rate / neuron.rise, bound)
    moment_bar, weight_bar = bar * by_moment, -bar * by_weight
    times = jnp.where(problem.fired, problem.times, 0.0)
    fired = problem.fired.astype(times.dtype)
    back = pull_values(problem.connection, times, moment_bar)
    return Learnt(
        pull_connection(problem.connection, (fired, times), (weight_bar, moment_bar)),
        pull_threshold(neuron.threshold, found, neuron.window, bar * found.rate),
        jnp.where(problem.fired, back, 0.0),
    )


@eqx.filter_custom_vjp
def _run(learnt, *, fired, neuron, bound):
    del bound
    return ramp_times(_problem(learnt, fired, neuron))


@_run.def_fwd
def _forward(perturbed, learnt, *, fired, neuron, bound):
    del perturbed, bound
    problem = _problem(learnt, fired, neuron)
    line = lines(problem)
    times = learnt.threshold.crossing(line.v, line.slope, neuron.window)
    return times, crossings(learnt.threshold, line, times, neuron.window)


@_run.def_bwd
def _backward(found, bar, perturbed, learnt, *, fired, neuron, bound):
    del perturbed
    bar = jnp.zeros_like(found.t) if bar is None else bar
    return backward_time(_problem(learnt, fired, neuron), found, bar, bound)


def _problem(learnt: Learnt, fired: Array, neuron: RampIF) -> RampProblem:
    neuron = RampIF(neuron.window, threshold=learnt.threshold, rise=neuron.rise)
    return RampProblem(learnt.connection, neuron, learnt.times, fired)


def run_time(problem: RampProblem, bound: float | None) -> Float[Array, "*made"]:
    """Spike times, with gradients by the equations above."""
    neuron = problem.neuron
    learnt = Learnt(problem.connection, neuron.threshold, problem.times)
    bare = RampIF(
        neuron.window, rise=neuron.rise
    )  # gradients pass through `learnt` only
    return _run(learnt, fired=problem.fired, neuron=bare, bound=bound)
