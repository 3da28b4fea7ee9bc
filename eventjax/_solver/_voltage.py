"""Voltages at any time from known events: explicit sums, differentiable by themselves.

Where the events are known the voltage is a sum over them, so gradients reach event times,
weights and parameters by plain automatic differentiation, and spike times pass them on.
Events come first in all shapes: XLA on CPU sums over a first axis much faster than over a
short last one.
"""

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int

from .._neuron._lif_crossing import stationary_point
from .._neuron._lif_flow import Flow, propagate, psp, Steps, Taus, voltage
from ._problem import LayerProblem, LayerRun
from ._window import wide
from ._work_queue import compute_once


def _taus(problem: LayerProblem) -> Taus:
    return Taus(problem.tau_mem, problem.tau_syn, problem.bias)


@jax.custom_jvp
def _psp(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """`psp` in a form that takes a quarter of the time but has derivatives of its own:
    where the time constants are equal a limit is taken."""
    gap = jnp.abs(tau_mem - tau_syn) / (tau_mem * tau_syn)
    apart = gap > 0
    part = jnp.expm1(-t * gap) / jnp.where(apart, -gap, 1.0)
    slow = jnp.exp(-t / jnp.maximum(tau_mem, tau_syn))
    return jnp.where(apart, part, t) / tau_mem * slow


def _psp_jvp(primals, tangents):
    t, tau_mem, tau_syn = primals
    by_time, *by_taus = tangents
    value = _psp(t, tau_mem, tau_syn)
    out = jnp.zeros_like(value)
    if not isinstance(by_time, SymbolicZero):
        out += by_time * ((jnp.exp(-t / tau_syn) - value) / tau_mem)
    if not all(isinstance(x, SymbolicZero) for x in by_taus):
        by_taus = [
            jnp.zeros(x.shape, x.dtype) if isinstance(x, SymbolicZero) else x
            for x in by_taus
        ]
        of_taus = lambda mem, syn: psp(t, mem, syn)
        out += jax.jvp(of_taus, (tau_mem, tau_syn), tuple(by_taus))[1]
    return value, out


_psp.defjvp(_psp_jvp, symbolic_zeros=True)


def _sum_over_events(
    at: Float[Array, "batch neurons"],
    times: Float[Array, "batch events"],
    currents: Float[Array, "batch events neurons"],
    taus: Taus,
) -> Float[Array, "batch neurons"]:
    """The voltage that arrivals have left at a time of each neuron."""
    at, times = at[:, :, None], times[:, None]
    there = (times <= at) & jnp.isfinite(times)
    gap = jnp.where(there, at - jnp.where(there, times, 0.0), 0.0)
    mem, syn = (x if x.ndim == 0 else x[..., None] for x in (taus.mem, taus.syn))
    left = _psp(gap, mem, syn)  # nothing at a gap of zero
    return jnp.sum(left * jnp.moveaxis(currents, 2, 1), axis=2)


def _without_resets(
    at: Float[Array, "batch neurons"], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """From the state at `t0` and the arrivals in `times`."""
    taus = _taus(problem)
    start = voltage(problem.v, problem.i, at - problem.t0, taus)
    currents = problem.rows[problem.index]
    return start + _sum_over_events(at, problem.times, currents, taus)


def _falls(
    at: Float[Array, " batch"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch neurons"]:
    """How far the own spikes have lowered V; each concerns one neuron only."""
    batch, num = problem.v.shape
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]

    def of_source(x: Array) -> Array:
        return jnp.broadcast_to(x, (batch, num))[sample, run.sources]

    # A neuron above threshold at t0 falls from there, all others from the threshold.
    top, v = of_source(problem.v_threshold), of_source(problem.v)
    top = jnp.where(run.times <= problem.t0, jnp.maximum(v, top), top)
    fall, tau = top - of_source(problem.v_reset), of_source(problem.tau_mem)
    there = (run.times <= at[:, None]) & jnp.isfinite(run.times)
    times = jnp.where(there, run.times, 0.0)
    gap = jnp.where(there, at[:, None] - times, 0.0)
    left = jnp.where(there, fall * jnp.exp(-gap / tau), 0.0)
    return jnp.zeros_like(problem.v).at[sample, run.sources].add(left)


def _voltages_at(
    at: Float[Array, " batch"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch neurons"]:
    every = jnp.broadcast_to(at[:, None], problem.v.shape)
    total = _without_resets(every, problem)
    if problem.v_threshold is None:
        return total
    total -= _falls(at, problem, run)
    if problem.recurrent is not None:
        back = run.times + problem.recurrent_delay[run.sources]
        currents = problem.recurrent[run.sources]
        total += _sum_over_events(every, back, currents, _taus(problem))
    return total


def voltages_at(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch times neurons"]:
    """V at given times of `[t0, t1]`; at a spike that of just after it.

    One time after the other, also in the reverse pass: what all events have left at all
    times would not fit into memory.
    """
    one = jax.checkpoint(lambda at: _voltages_at(at, problem, run))
    return jnp.moveaxis(lax.map(one, at.T), 0, 1)


def _segment_of_maximum(
    problem: LayerProblem,
) -> tuple[Float[Array, "batch neurons"], Int[Array, "batch neurons"]]:
    """When the voltage of each neuron is largest, and the arrival at that time: its place
    in `times`, or their number if the maximum is at another time. Each segment has one
    stationary point at most, and there u = I."""
    taus, shape = _taus(problem), problem.v.shape
    t1 = jnp.full((1, shape[0]), problem.t1)
    ends = jnp.minimum(jnp.concatenate([problem.times.T, t1]), t1)
    starts = jnp.concatenate([jnp.full_like(t1, problem.t0), ends[:-1]])
    there = jnp.pad(problem.times.T <= problem.t1, ((0, 1), (0, 0)))
    index = jnp.pad(problem.index.T, ((0, 1), (0, 0)))
    index = jnp.where(there, index, problem.rows.shape[0])
    rows = jnp.pad(problem.rows, ((0, 1), (0, 0)))
    steps = Steps.of((ends - starts)[:, :, None], wide(taus))

    def segment(state, xs):
        step, index = xs
        new = propagate(state, step, taus.bias).receive(rows[index])
        return new, (state, new.v)

    first = Flow(problem.v, problem.i)
    _, (states, v_end) = lax.scan(segment, first, (steps, index))
    # Of full shape, so that what follows is one long loop and not many short ones.
    full = [jnp.broadcast_to(x[:, :, None], v_end.shape) for x in (starts, ends)]
    always = problem.t0 <= problem.t1
    starts, ends = compute_once(full, always)
    i, u = states.i, states.v - wide(taus.bias)
    flat = stationary_point(states.v, i, wide(taus))
    rises = (i > u) & (flat < ends - starts)  # and then falls
    h = jnp.where(rises, flat, 0.0)
    top = wide(taus.bias) + i * jnp.exp(-h / wide(taus.syn))
    when = jnp.where(rises, starts + h, ends)
    v, when = compute_once((jnp.where(rises, top, v_end), when), always)
    best = jnp.max(v, axis=0)
    place = jnp.arange(v.shape[0], dtype=jnp.int32)[:, None, None]
    place = jnp.min(jnp.where(v == best[None], place, v.shape[0] - 1), axis=0)
    pick = lambda x: jnp.take_along_axis(x, place[None], axis=0)[0]
    at_start = problem.v >= best
    when = jnp.where(at_start, problem.t0, pick(when))
    none = at_start | pick(rises) | (place == v.shape[0] - 1)
    return when, jnp.where(none, problem.times.shape[1], place)


def max_voltages(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """The largest voltage of each neuron, which must not spike.

    Where V' is zero its derivative needs none of the time of the maximum. But V may also
    be largest where inhibition arrives, and then that time is the time of an arrival."""
    when, arrival = _segment_of_maximum(lax.stop_gradient(problem))
    times = jnp.take_along_axis(problem.times, arrival, axis=1, mode="clip")
    moves = (arrival < problem.times.shape[1]) & (times <= problem.t1)
    when = jnp.where(moves, times, lax.stop_gradient(when))
    return _without_resets(when, problem)
