"""Voltages at any time from known events: explicit sums, differentiable by themselves.

Where the events are known the voltage is a sum over them, so gradients reach event times,
weights and parameters by plain automatic differentiation, and spike times pass them on.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int

from .._neuron._lif_crossing import stationary_point
from .._neuron._lif_flow import Flow, propagate, psp, Steps, Taus, voltage
from ._problem import LayerProblem, LayerRun, without_streams
from ._window import wide
from ._work_queue import compute_once


def _taus(problem: LayerProblem) -> Taus:
    return Taus(problem.tau_mem, problem.tau_syn, problem.bias)


@jax.custom_jvp
def _psp(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """`psp` in a form that takes a third of the time. Its derivatives are given below:
    where the time constants are equal it has none by itself."""
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


class _Events(eqx.Module):
    """Arrivals, for all neurons of a sample or (as many lanes) for each of its own."""

    times: Float[Array, "events batch lanes"]
    currents: Float[Array, "events batch neurons"]

    @classmethod
    def of(cls, problem: LayerProblem) -> "_Events":
        return cls(problem.times, problem.received)

    @classmethod
    def returning(cls, problem: LayerProblem, run: LayerRun) -> "_Events":
        """The layer's own spikes, back at it."""
        batch, neurons = problem.v.shape
        back = run.times.T[None] + problem.recurrent_delay[:, run.sources.T]
        received = problem.recurrent[:, run.sources.T]
        return cls(back.reshape(-1, batch, 1), received.reshape(-1, batch, neurons))

    def voltage(
        self, at: Float[Array, "batch neurons"], taus: Taus
    ) -> Float[Array, "batch neurons"]:
        """What they have left at a time of each neuron."""
        # Last come the events: one long loop, of which XLA on CPU makes vectors.
        last = lambda x: jnp.moveaxis(x, 0, 2)
        at, times = at[:, :, None], last(self.times)
        there = (times <= at) & jnp.isfinite(times)
        gap = jnp.where(there, at - jnp.where(there, times, 0.0), 0.0)
        mem, syn = (x if x.ndim == 0 else x[..., None] for x in (taus.mem, taus.syn))
        left = _psp(gap, mem, syn)  # nothing at a gap of zero
        return jnp.sum(left * last(self.currents), axis=2)


def _without_resets(
    at: Float[Array, "batch neurons"], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """From the state at `t0` and the arrivals in `times`."""
    taus = _taus(problem)
    start = voltage(problem.v, problem.i, at - problem.t0, taus)
    return start + _Events.of(problem).voltage(at, taus)


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
        total += _Events.returning(problem, run).voltage(every, _taus(problem))
    return total


def voltages_at(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun
) -> Float[Array, "batch times neurons"]:
    """V at given times of `[t0, t1]`; at a spike that of just after it.

    One time after the other, also in the reverse pass: what all events have left at all
    times would not fit into memory.
    """
    problem = without_streams(problem)
    one = jax.checkpoint(lambda at: _voltages_at(at, problem, run))
    return jnp.moveaxis(lax.map(one, at.T), 0, 1)


def _maximum(
    problem: LayerProblem,
) -> tuple[Float[Array, "batch neurons"], Int[Array, "batch neurons"]]:
    """When the voltage of each neuron is largest, and which arrival is then: its place,
    or -1 for none.

    It is largest at an end of a segment between two arrivals or at a stationary point, of
    which each segment has one at most. There u = I."""
    taus, events = _taus(problem), _Events.of(problem)
    there = events.times <= problem.t1
    bounds = jnp.where(there, events.times, problem.t1)
    # The segment before the first arrival, those behind each, and one of no length at t1.
    starts = jnp.pad(bounds, ((1, 1), (0, 0), (0, 0)), constant_values=problem.t1)
    starts = starts.at[0].set(problem.t0)
    lengths = jnp.diff(starts, axis=0, append=starts[-1:])
    currents = jnp.where(there, events.currents, 0.0)
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


def max_voltages(problem: LayerProblem) -> Float[Array, "batch neurons"]:
    """The largest voltage of each neuron, which must not spike.

    Where V' is zero its derivative needs none of the time of the maximum. But V may also
    be largest where inhibition arrives, and then that time is the time of an arrival."""
    problem = without_streams(problem)
    when, arrival = _maximum(lax.stop_gradient(problem))
    times = _Events.of(problem).times
    times = jnp.broadcast_to(times, (times.shape[0], *when.shape))
    at = jnp.maximum(arrival, 0)[None]
    moving = jnp.take_along_axis(times, at, axis=0, mode="promise_in_bounds")[0]
    when = jnp.where(arrival >= 0, moving, lax.stop_gradient(when))
    return _without_resets(when, problem)
