r"""The equations of Eventprop, window by window, as plain functions.

Written with ordinary cotangents, $\bar V = \partial L / \partial V(t)$ and likewise for
$I$ (in the paper's symbols $\bar V = -\tau_m \lambda_V$, $\bar I = -\tau_s \lambda_I$).
Backwards over a time $h$ without own spikes

$$\bar V \leftarrow \bar V e^{-h/\tau_m}, \qquad
\bar I \leftarrow \bar I e^{-h/\tau_s} + \bar V \kappa(h),$$

an arrival at $t$ with weights $w$ reads $\partial L/\partial w = \bar I$ and
$\partial L/\partial t = \sum_m w_m (\bar I_m/\tau_s - \bar V_m/\tau_m)$, and a spike of the
neuron itself, with $\bar t$ the cotangent of its time, makes the jump

$$\bar V^- = \frac{\bar V^+ (I + b - V_{reset}) - \tau_m \bar t}{I + b - \theta}.$$

The only sequential part is each neuron's own chain of jumps; what a jump changes at the
arrivals before it is added afterwards, because everything between jumps is linear.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Steps, Taus
from .._solver._chunked import (
    cut,
    make_window,
    neurons_of,
    tile_size,
    Trace,
    window_size,
    with_zero_row,
)
from .._solver._problem import LayerProblem
from .._solver._window import Neurons, view_steps, Window, window_steps
from .._solver._work_queue import put, Queue, work_off


class Cotangents(eqx.Module):
    """Of a layer's outputs: spike times (sorted list) and the state at t1."""

    times: Float[Array, "batch capacity"]
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]


class _Sums(eqx.Module):
    """Gradients of the neurons' parameters, for each sample and neuron (flattened)."""

    bias: Array
    v_threshold: Array
    v_reset: Array
    tau_mem: Array
    tau_syn: Array


class _Adjoint(eqx.Module):
    # Cotangents of the state where each sample stands
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]
    # Each neuron's last spike that has not been passed yet
    last: Int[Array, "batch neurons"]
    # Cotangents of spike times, by place in the record
    spike_time: Float[Array, "batch capacity"]
    # Gradients
    rows: Float[Array, "more neurons"]
    recurrent: Float[Array, "neurons neurons"] | None
    delay: Float[Array, " neurons"] | None
    times: Float[Array, "batch more_events"]
    sums: _Sums


class _Reads(eqx.Module):
    """Cotangents of the state just after each arrival of a window, and at its start."""

    v: Float[Array, "arrivals pairs"]
    i: Float[Array, "arrivals pairs"]
    v_start: Float[Array, " pairs"]
    i_start: Float[Array, " pairs"]


def _back(v: Array, i: Array, steps: Steps) -> tuple[Array, Array]:
    """Cotangents before a time without own spikes."""
    return v * steps.mem, i * steps.syn + v * steps.gain


def _time_cotangent(row: Array, v: Array, i: Array, taus: Taus) -> Array:
    """Of an arrival that adds `row`, summed over the neurons (last axis)."""
    return jnp.sum(row * (i / taus.syn - v / taus.mem), axis=-1)


def _read_without_spikes(v: Array, i: Array, last: Steps, steps: Steps) -> _Reads:
    """`last` leads from the last arrival to the end of the window."""
    reads_v, reads_i = [], []
    v, i = _back(v, i, last)
    for j in reversed(range(steps.mem.shape[0])):
        reads_v.append(v)
        reads_i.append(i)
        v, i = _back(v, i, jax.tree.map(lambda x: x[j], steps))

    def stack(reads):
        return jnp.stack(reads[::-1]).reshape(len(reads), -1)

    return _Reads(stack(reads_v), stack(reads_i), v.reshape(-1), i.reshape(-1))


def _change_of_reads(
    delta: Float[Array, " tile"],
    first: Steps,
    steps: Steps,
    segment: Int[Array, " tile"],
) -> tuple[Array, Array, Array, Array]:
    """What a change of the voltage's cotangent in a segment does to the reads at the
    arrivals before it and at the window's start. `first` leads to the segment's start."""

    def arrival(carry, xs):
        v, i = carry
        j, step = xs
        on = segment > j  # arrival j came before
        before = _back(v, i, step)
        carry = tuple(jnp.where(on, x, y) for x, y in zip(before, (v, i)))
        return carry, (jnp.where(on, v, 0.0), jnp.where(on, i, 0.0))

    start = _back(delta, jnp.zeros_like(delta), first)
    each = jnp.arange(steps.mem.shape[0], dtype=jnp.int32), steps
    (v, i), (reads_v, reads_i) = lax.scan(arrival, start, each, reverse=True)
    return reads_v, reads_i, v, i


def smallest_slope(height: Array, max_jump: float) -> Array:
    """The slope tau_mem V' at which a jump multiplies the cotangent by `max_jump`."""
    return height / (max_jump - 1)


def _jump(v, slope, height, t_bar, tau_mem, max_jump):
    """The jump of the voltage's cotangent at a spike. `slope` is tau_mem V' before it,
    `height` is v_threshold - v_reset."""
    if max_jump is not None:
        slope = jnp.maximum(slope, smallest_slope(height, max_jump))
    return (v * (slope + height) - tau_mem * t_bar) / slope


def _through_spikes(
    adjoint: _Adjoint,
    reads: _Reads,
    window: Window,
    steps: Steps,
    end: Array,
    first_place: Array,
    trace: Trace,
    neurons: Neurons,
    max_jump: float | None,
    tile: int,
) -> tuple[_Adjoint, _Reads]:
    """Pass the window's spikes, the last of each neuron first."""
    batch, num = adjoint.v.shape
    capacity = adjoint.spike_time.shape[1]
    record = jax.tree.map(lambda x: x.reshape(-1), trace.spikes)
    t_bars = adjoint.spike_time.reshape(-1)

    def visit(pair, real, carry):
        v, i, time, last, reads, sums = carry
        sample, here = pair // num, neurons.at(pair, num)
        taus = here.taus
        place = last[pair]
        spike = jax.tree.map(lambda x: x[sample * capacity + place], record)
        t_bar = t_bars[sample * capacity + place]
        since = jnp.where(real, time[pair] - spike.time, 0.0)
        v_after, i_at = _back(v[pair], i[pair], Steps.of(since, taus))
        height = here.v_threshold - here.v_reset
        slope = spike.before.i + taus.bias - here.v_threshold
        v_before = _jump(v_after, slope, height, t_bar, taus.mem, max_jump)
        v_before, v_after = (jnp.where(real, x, 0.0) for x in (v_before, v_after))
        delta = v_before - v_after

        segment = jnp.where(real, spike.segment, 0)
        begin = window.ends[jnp.maximum(segment - 1, 0), sample]
        begin = jnp.where(segment > 0, begin, window.start[sample])
        first = Steps.of(jnp.where(real, spike.time - begin, 0.0), taus)
        at_v, at_i, start_v, start_i = _change_of_reads(
            delta, first, view_steps(steps, pair, num), segment
        )
        reads = _Reads(
            reads.v.at[:, pair].add(at_v),
            reads.i.at[:, pair].add(at_i),
            reads.v_start.at[pair].add(start_v),
            reads.i_start.at[pair].add(start_i),
        )
        by_mem, by_syn = spike.before.v_by_mem, spike.before.v_by_syn
        sums = _Sums(
            sums.bias.at[pair].add(delta),
            sums.v_threshold.at[pair].add(-v_before),
            sums.v_reset.at[pair].add(v_after),
            sums.tau_mem
            if by_mem is None
            else sums.tau_mem.at[pair].add(v_before * by_mem),
            sums.tau_syn
            if by_syn is None
            else sums.tau_syn.at[pair].add(v_before * by_syn),
        )
        v, i = put(v, pair, real, v_before), put(i, pair, real, i_at)
        time, last = (
            put(time, pair, real, spike.time),
            put(last, pair, real, spike.previous),
        )
        return (v, i, time, last, reads, sums), spike.previous >= first_place[sample]

    here = (adjoint.last >= first_place[:, None]).reshape(-1)
    carry = (
        adjoint.v.reshape(-1),
        adjoint.i.reshape(-1),
        jnp.repeat(end, num),
        adjoint.last.reshape(-1),
        reads,
        adjoint.sums,
    )
    _, _, _, last, reads, sums = work_off(Queue.of(here, tile), tile, visit, carry)
    adjoint = eqx.tree_at(
        lambda a: (a.last, a.sums), adjoint, (last.reshape(batch, num), sums)
    )
    return adjoint, reads


def _through_return(
    adjoint: _Adjoint, returned: Array, problem: LayerProblem, trace: Trace, taus: Taus
) -> _Adjoint:
    """Pass the arrival of an own spike at the end of a window."""
    there = returned >= 0
    place = jnp.maximum(returned, 0)[:, None]
    source = jnp.take_along_axis(trace.spikes.source, place, axis=1)[:, 0]
    row = problem.recurrent[source]
    t_bar = _time_cotangent(row, adjoint.v, adjoint.i, taus)
    t_bar = jnp.where(there, t_bar, 0.0)
    sample = jnp.arange(there.shape[0])
    read = jnp.where(there[:, None], adjoint.i, 0.0)
    return eqx.tree_at(
        lambda a: (a.spike_time, a.delay, a.recurrent),
        adjoint,
        (
            adjoint.spike_time.at[sample, place[:, 0]].add(t_bar),
            adjoint.delay.at[source].add(t_bar),
            adjoint.recurrent.at[source].add(read),
        ),
    )


def _through_window(
    adjoint: _Adjoint,
    line: Int[Array, ""],
    problem: LayerProblem,
    rows: Array,
    trace: Trace,
    neurons: Neurons,
    max_jump: float | None,
) -> _Adjoint:
    batch, num = adjoint.v.shape
    log = jax.tree.map(lambda x: x[line], trace.log)
    size, taus = window_size(problem), neurons.taus
    if adjoint.recurrent is not None:
        adjoint = _through_return(adjoint, log.returned, problem, trace, taus)
    window, there = make_window(problem, log.start, log.position, size)
    window = cut(window, there, log.end, problem.rows.shape[0])
    steps = window_steps(window, taus)
    last = Steps.of((log.end - window.ends[-1])[:, None], taus)
    reads = _read_without_spikes(adjoint.v, adjoint.i, last, steps)
    v_end = adjoint.v
    if neurons.v_threshold is not None:
        adjoint, reads = _through_spikes(
            adjoint,
            reads,
            window,
            steps,
            log.end,
            log.num_spikes,
            trace,
            neurons,
            max_jump,
            tile_size(problem),
        )

    reads_v, reads_i = (x.reshape(size, batch, num) for x in (reads.v, reads.i))
    wide = jax.tree.map(lambda x: x if x.ndim == 0 else x[None], taus)
    t_bar = _time_cotangent(rows[window.index], reads_v, reads_i, wide)
    at = log.position[None] + jnp.arange(size, dtype=jnp.int32)[:, None]
    # Arrivals behind the window's end come again in the next one.
    at = jnp.where(window.index < problem.rows.shape[0], at, adjoint.times.shape[1])
    sample = jnp.arange(batch)[None]
    v_start = reads.v_start.reshape(batch, num)
    bias = adjoint.sums.bias + (v_end - v_start).reshape(-1)
    return eqx.tree_at(
        lambda a: (a.v, a.i, a.rows, a.times, a.sums.bias),
        adjoint,
        (
            v_start,
            reads.i_start.reshape(batch, num),
            adjoint.rows.at[window.index].add(reads_i),
            adjoint.times.at[sample, at].set(t_bar, mode="drop"),
            bias,
        ),
    )


def _start(problem: LayerProblem, trace: Trace, bars: Cotangents) -> _Adjoint:
    zeros = jnp.zeros_like(bars.v).reshape(-1)
    by_mem = by_syn = zeros
    if trace.final.v_by_mem is not None:
        by_mem = (bars.v * trace.final.v_by_mem).reshape(-1)
        by_syn = bars.v * trace.final.v_by_syn + bars.i * trace.final.i_by_syn
        by_syn = by_syn.reshape(-1)
    recurrent = problem.recurrent is not None
    return _Adjoint(
        bars.v,
        bars.i,
        trace.last,
        jnp.take_along_axis(bars.times, trace.order, axis=1),
        jnp.zeros_like(with_zero_row(problem.rows)),
        jnp.zeros_like(problem.recurrent) if recurrent else None,
        jnp.zeros_like(problem.recurrent_delay) if recurrent else None,
        jnp.zeros_like(problem.times),
        _Sums(zeros, zeros, zeros, by_mem, by_syn),
    )


def _like(parameter: Array | None, total: Array, shape: tuple[int, ...]):
    """Sum gradients of each sample and neuron to the shape of the parameter."""
    if parameter is None:
        return None
    total = total.reshape(shape)
    if parameter.ndim == 0:
        return jnp.sum(total)
    return jnp.sum(total, axis=0, keepdims=True) if parameter.shape[0] == 1 else total


def backward(
    problem: LayerProblem, trace: Trace, bars: Cotangents, max_jump: float | None
) -> LayerProblem:
    """The gradient with respect to each field of the problem (`t0`, `t1` and `index` have
    none). That of the time constants is right only if the trace was made for it."""
    neurons = neurons_of(problem)
    rows = with_zero_row(problem.rows)

    def body(state):
        line, adjoint = state
        adjoint = _through_window(
            adjoint, line, problem, rows, trace, neurons, max_jump
        )
        return line - 1, adjoint

    start = trace.num_windows - 1, _start(problem, trace, bars)
    _, adjoint = lax.while_loop(lambda state: state[0] >= 0, body, start)
    sums, shape = adjoint.sums, problem.v.shape
    each = {
        "rows": adjoint.rows[:-1],
        "recurrent": adjoint.recurrent,
        "recurrent_delay": adjoint.delay,
        "tau_mem": _like(problem.tau_mem, sums.tau_mem, shape),
        "tau_syn": _like(problem.tau_syn, sums.tau_syn, shape),
        "v_threshold": _like(problem.v_threshold, sums.v_threshold, shape),
        "v_reset": _like(problem.v_reset, sums.v_reset, shape),
        "bias": _like(problem.bias, sums.bias, shape),
        "v": adjoint.v,
        "i": adjoint.i,
        "t0": None,
        "t1": None,
        "times": adjoint.times,
        "index": None,
    }
    return eqx.tree_at(
        lambda p: [getattr(p, name) for name in each],
        problem,
        list(each.values()),
        is_leaf=lambda x: x is None,
    )
