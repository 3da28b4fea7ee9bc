"""The largest voltage between known arrivals, differentiable by itself."""

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_crossing import stationary_point
from .._neuron._lif_flow import Flow, propagate, Steps, Taus, voltage
from .._neuron._quick_psp import quick_psp
from ._problem import LayerProblem, without_streams
from ._tiles import compute_once
from ._window import wide


def _taus(problem: LayerProblem) -> Taus:
    return Taus(problem.tau_mem, problem.tau_syn, problem.bias)


def _voltage(
    at: Float[Array, "batch neurons"], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """V at a time of each neuron, from the state at `t0` and the arrivals before it."""
    taus = _taus(problem)
    # Last come the events: one long loop, of which XLA on CPU makes vectors.
    last = lambda x: jnp.moveaxis(x, 0, 2)
    end, times = at[:, :, None], last(problem.times)
    there = (times <= end) & jnp.isfinite(times)
    gap = jnp.where(there, end - jnp.where(there, times, 0.0), 0.0)
    mem, syn = (x if x.ndim == 0 else x[..., None] for x in (taus.mem, taus.syn))
    left = quick_psp(gap, mem, syn)  # nothing at a gap of zero
    start = voltage(problem.v, problem.i, at - problem.t0, taus)
    return start + jnp.sum(left * last(problem.received), axis=2)


def _maximum(
    problem: LayerProblem,
) -> tuple[Float[Array, "batch neurons"], Int[Array, "batch neurons"]]:
    """When the voltage of each neuron is largest, and which arrival is then: its place,
    or -1 for none.

    It is largest at an end of a segment between two arrivals or at a stationary point, of
    which each segment has one at most. There u = I."""
    taus, times = _taus(problem), problem.times
    there = times <= problem.t1
    bounds = jnp.where(there, times, problem.t1)
    # The segment before the first arrival, those behind each, and one of no length at t1.
    starts = jnp.pad(bounds, ((1, 1), (0, 0), (0, 0)), constant_values=problem.t1)
    starts = starts.at[0].set(problem.t0)
    lengths = jnp.diff(starts, axis=0, append=starts[-1:])
    currents = jnp.where(there, problem.received, 0.0)
    currents = jnp.pad(currents, ((0, 2), (0, 0), (0, 0)))

    def segment(state, xs):
        step, current = xs
        return propagate(state, step, taus.bias).receive(current), state

    steps = Steps.of(lengths, wide(taus))
    states = lax.scan(segment, Flow(problem.v, problem.i), (steps, currents))[1]
    # Of full shape, so that what follows is one long loop and not many short ones.
    full = [jnp.broadcast_to(x, states.v.shape) for x in (starts, lengths)]
    always = problem.t0 <= problem.t1
    starts, lengths = compute_once(full, always)
    flat = stationary_point(states.v, states.i, wide(taus))
    inside = (states.i > states.v - wide(taus.bias)) & (flat < lengths)
    h = jnp.where(inside, flat, 0.0)
    top = wide(taus.bias) + states.i * jnp.exp(-h / wide(taus.syn))
    top, when = compute_once((jnp.where(inside, top, states.v), starts + h), always)

    place = jnp.arange(top.shape[0], dtype=jnp.int32)[:, None, None]
    best = top == jnp.max(top, axis=0)[None]
    first = jnp.min(jnp.where(best, place, top.shape[0] - 1), axis=0)
    pick = lambda x: jnp.take_along_axis(x, first[None], axis=0)[0]
    # Only segments behind an arrival start with one: not the first, nor the one at t1.
    starts_there = jnp.pad(there, ((1, 1), (0, 0), (0, 0)))
    behind = pick(jnp.broadcast_to(starts_there, top.shape))
    arrives = behind & ~pick(inside)
    return pick(when), jnp.where(arrives, first - 1, -1)


def maximum_times(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """When the voltage of each neuron is largest.

    Where V' is zero the largest voltage needs no derivative of its time. But V may also be
    largest where inhibition arrives, and then that time is the time of an arrival."""
    problem = without_streams(problem)
    when, arrival = _maximum(lax.stop_gradient(problem))
    times = jnp.broadcast_to(problem.times, (problem.times.shape[0], *when.shape))
    at = jnp.maximum(arrival, 0)[None]
    moving = jnp.take_along_axis(times, at, axis=0, mode="promise_in_bounds")[0]
    return jnp.where(arrival >= 0, moving, lax.stop_gradient(when))


def voltages_then(
    when: Float[Array, "batch neurons"], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """V of each neuron, which must not spike, at a time of its own."""
    return _voltage(when, without_streams(problem))


def max_voltages(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """The largest voltage of each neuron, which must not spike."""
    return voltages_then(maximum_times(problem), problem)
