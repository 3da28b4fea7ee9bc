"""Voltages at any time from known events: explicit sums, differentiable by themselves.

Where the events are known the voltage is a sum over them, so gradients reach event times,
weights and parameters by plain automatic differentiation, and spike times pass them on.
"""

from collections.abc import Callable

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._neuron._lif_crossing import stationary_point
from .._neuron._lif_flow import Flow, propagate, psp, Steps, Taus, voltage
from ._problem import LayerProblem, LayerRun, without_streams


def _taus(problem: LayerProblem) -> Taus:
    return Taus(problem.tau_mem, problem.tau_syn, problem.bias)


def _insert(x: Array, axes: int) -> Array:
    """Parameters with axes of length one between batch and neurons."""
    return x if x.ndim == 0 else x.reshape(x.shape[0], *(1,) * axes, x.shape[-1])


def _sum_over_events(
    at: Float[Array, "batch times neurons"],
    times: Float[Array, "batch events lanes"],
    values: Float[Array, "batch events neurons"],
    kernel: Callable[[Array], Array],
) -> Float[Array, "batch times neurons"]:
    """What events of given size have left at given times."""
    at, times = at[:, :, None, :], times[:, None]
    there = (times <= at) & jnp.isfinite(times)
    gap = jnp.where(there, at - jnp.where(there, times, 0.0), 0.0)
    left = jnp.where(there, kernel(gap), 0.0)
    return jnp.sum(left * values[:, None], axis=2)


def _without_resets(
    at: Float[Array, "batch times neurons"], problem: LayerProblem
) -> Float[Array, "batch times neurons"]:
    """From the state at `t0` and the arrivals in `times`."""
    taus = jax.tree.map(lambda x: _insert(x, 1), _taus(problem))
    wide = jax.tree.map(lambda x: _insert(x, 2), _taus(problem))
    start = voltage(problem.v[:, None], problem.i[:, None], at - problem.t0, taus)
    times, currents = (jnp.moveaxis(x, 1, 0) for x in (problem.times, problem.received))
    return start + _sum_over_events(
        at, times, currents, lambda t: psp(t, wide.mem, wide.syn)
    )


def _falls(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch times neurons"]:
    """How far the own spikes have lowered V; each concerns one neuron only."""
    batch, num = problem.v.shape
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]

    def of_source(x: Array) -> Array:
        return jnp.broadcast_to(x, (batch, num))[sample, run.sources]

    # A neuron above threshold at t0 falls from there, all others from the threshold.
    top, v = of_source(problem.v_threshold), of_source(problem.v)
    top = jnp.where(run.times <= problem.t0, jnp.maximum(v, top), top)
    fall, tau = top - of_source(problem.v_reset), of_source(problem.tau_mem)
    there = (run.times[:, None] <= at[:, :, None]) & jnp.isfinite(run.times)[:, None]
    times = jnp.where(jnp.isfinite(run.times), run.times, 0.0)
    gap = jnp.where(there, at[:, :, None] - times[:, None], 0.0)
    left = jnp.where(there, fall[:, None] * jnp.exp(-gap / tau[:, None]), 0.0)
    total = jnp.zeros((*at.shape, num), at.dtype)
    time = jnp.arange(at.shape[1], dtype=jnp.int32)[None, :, None]
    return total.at[sample[..., None], time, run.sources[:, None]].add(left)


def _voltages_at(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch times neurons"]:
    every = jnp.broadcast_to(at[:, :, None], (*at.shape, problem.v.shape[1]))
    total = _without_resets(every, problem)
    if problem.v_threshold is None:
        return total
    total -= _falls(at, problem, run)
    if problem.recurrent is not None:
        wide = jax.tree.map(lambda x: _insert(x, 2), _taus(problem))
        batch = run.times.shape[0]
        back = run.times[None] + problem.recurrent_delay[:, run.sources]
        back = jnp.moveaxis(back, 0, 1).reshape(batch, -1)
        received = jnp.moveaxis(problem.recurrent[:, run.sources], 0, 1)
        total += _sum_over_events(
            every,
            back[:, :, None],
            received.reshape(batch, back.shape[1], -1),
            lambda t: psp(t, wide.mem, wide.syn),
        )
    return total


def voltages_at(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch times neurons"]:
    """V at given times of `[t0, t1]`; at a spike that of just after it.

    One time after the other, also in the reverse pass: what all events have left at all
    times would not fit into memory.
    """
    problem = without_streams(problem)
    one = jax.checkpoint(lambda at: _voltages_at(at[:, None], problem, run)[:, 0])
    return jnp.moveaxis(lax.map(one, at.T), 0, 1)


def _time_of_maximum(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """When the voltage of each neuron is largest; each segment has one stationary point
    at most."""
    taus, t1 = _taus(problem), problem.t1
    there = problem.times <= t1
    ends = jnp.where(there, problem.times, t1)
    ends = jnp.pad(ends, ((0, 1), (0, 0), (0, 0)), constant_values=t1)
    received = jnp.where(there, problem.received, 0.0)
    received = jnp.pad(received, ((0, 1), (0, 0), (0, 0)))

    def segment(k, carry):
        state, start, best, when = carry
        end = ends[k]
        dt = end - start
        flat = jnp.minimum(stationary_point(state.v, state.i, taus), dt)
        for h in (flat, jnp.broadcast_to(dt, flat.shape)):
            v = voltage(state.v, state.i, h, taus)
            when = jnp.where(v > best, start + h, when)
            best = jnp.maximum(v, best)
        state = propagate(state, Steps.of(dt, taus), taus.bias).receive(received[k])
        return state, end, best, when

    used = 1 + jnp.max(jnp.sum(there, axis=0, dtype=jnp.int32))
    start = jnp.broadcast_to(problem.t0, ends.shape[1:])
    when = jnp.broadcast_to(problem.t0, problem.v.shape)
    carry = Flow(problem.v, problem.i), start, problem.v, when
    return lax.fori_loop(0, used, segment, carry)[3]


def max_voltages(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """The largest voltage of each neuron, which must not spike. Its derivative needs none
    of the time of the maximum: there V' is zero, or the time is fixed."""
    problem = without_streams(problem)
    when = _time_of_maximum(lax.stop_gradient(problem))
    return _without_resets(lax.stop_gradient(when)[:, None], problem)[:, 0]
