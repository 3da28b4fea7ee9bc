"""STD-ED on x = 1 - t / T, which is 1 for the earliest spike and 0 for silence."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._connection import AbstractLinearMap
from .._neuron import AbstractRamp, RampIF
from .._solver._ramp import Lines, RampProblem, two_sums
from ._ramp_equations import (
    bounded,
    Crossings,
    crossings,
    pull_connection,
    pull_threshold,
    pull_values,
)


class DualLearnt(eqx.Module):
    """All that gradients reach."""

    connection: AbstractLinearMap
    threshold: AbstractRamp
    x: Float[Array, "*given"]  # 0 where nothing fired


def dual_lines(learnt: DualLearnt, fired: Bool[Array, "*given"], neuron: RampIF):
    """From the sums W of the weights of what fired, and A of weights times x. A window
    opens at the voltage A and closes at W + A, if `rise` is the window."""
    weights = fired.astype(learnt.x.dtype)
    weight, sum_x = two_sums(learnt.connection, weights, learnt.x)
    return Lines(neuron.window * sum_x / neuron.rise, weight / neuron.rise)


def dual_values(times: Float[Array, "*made"], window: float) -> Float[Array, "*made"]:
    """x of the layer: 0 if A <= -W, 1 if A >= 1, else (W + A) / (1 + W), for a ramp from
    1 to 0 and `rise` the window."""
    silent = times == jnp.inf
    return jnp.where(silent, 0.0, 1 - jnp.where(silent, 0.0, times) / window)


def backward_dual(
    learnt: DualLearnt,
    fired: Bool[Array, "*given"],
    neuron: RampIF,
    found: Crossings,
    bar: Float[Array, "*made"],
    bound: float | None,
) -> DualLearnt:
    r"""With $g$ the cotangents of x, $r$ the rates and $t$ the spike times,

    $$dL/dA = g r, \quad dL/dW = g r\,t / T, \quad
    dL/dw_i = x_i\,dL/dA + dL/dW, \quad dL/dx_i = \sum_j w_{ij}\,dL/dA_j$$

    for inputs that fired and neurons that are active, else 0."""
    bar = jnp.where(found.active, bar, 0.0)
    by_sum = bounded(found.rate / neuron.rise, bound)
    by_weight = bounded(found.t / neuron.window * found.rate / neuron.rise, bound)
    sum_bar, weight_bar = bar * by_sum, bar * by_weight
    back = pull_values(learnt.connection, learnt.x, sum_bar)
    weights = fired.astype(learnt.x.dtype)
    at_spikes = -bar * found.rate / neuron.window
    return DualLearnt(
        pull_connection(learnt.connection, (weights, learnt.x), (weight_bar, sum_bar)),
        pull_threshold(learnt.threshold, found, neuron.window, at_spikes),
        jnp.where(fired, back, 0.0),
    )


# Gives x, and whether each neuron spikes: one that does so at the very end has x = 0 too.
@eqx.filter_custom_vjp
def _run(learnt, *, fired, neuron, bound):
    del bound
    line = dual_lines(learnt, fired, neuron)
    times = learnt.threshold.crossing(line.v, line.slope, neuron.window)
    return dual_values(times, neuron.window), times < jnp.inf


@_run.def_fwd
def _forward(perturbed, learnt, *, fired, neuron, bound):
    del perturbed, bound
    line = dual_lines(learnt, fired, neuron)
    times = learnt.threshold.crossing(line.v, line.slope, neuron.window)
    out = dual_values(times, neuron.window), times < jnp.inf
    return out, crossings(learnt.threshold, line, times, neuron.window)


@_run.def_bwd
def _backward(found, bars, perturbed, learnt, *, fired, neuron, bound):
    del perturbed
    bar = jnp.zeros_like(found.t) if bars[0] is None else bars[0]
    return backward_dual(learnt, fired, neuron, found, bar, bound)


def run_dual(problem: RampProblem, bound: float | None) -> Float[Array, "*made"]:
    """Spike times, found and differentiated by x."""
    neuron = problem.neuron
    times = jnp.where(problem.fired, problem.times, neuron.window)
    x = jnp.where(problem.fired, 1 - times / neuron.window, 0.0)
    learnt = DualLearnt(problem.connection, neuron.threshold, x)
    bare = RampIF(
        neuron.window, rise=neuron.rise
    )  # gradients pass through `learnt` only
    out, fires = _run(learnt, fired=problem.fired, neuron=bare, bound=bound)
    return jnp.where(fires, neuron.window * (1 - out), jnp.inf)
