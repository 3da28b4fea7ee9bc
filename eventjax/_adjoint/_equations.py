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

from .._neuron._lif_flow import psp, Taus
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
from .._solver._rows import Rows
from .._solver._window import Neurons, wide, Window, window_steps
from .._solver._work_queue import Queue, rounds, work_off


class Cotangents(eqx.Module):
    """Of a layer's outputs: spike times (sorted list) and the state at t1."""

    times: Float[Array, "batch capacity"]
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]


class _Sums(eqx.Module):
    """Over the spikes of each sample and neuron, what parameters' gradients are made of:
    the voltage's cotangent before and after, and times its derivatives."""

    before: Array
    after: Array
    by_mem: Array
    by_syn: Array


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
    bias: Float[Array, "batch neurons"]  # but for what spikes add to it
    sums: Rows  # of _Sums


def _time_cotangent(row: Array, v: Array, i: Array, taus: Taus) -> Array:
    """Of an arrival that adds `row`, summed over the neurons (last axis).

    By a product with ones: on CPU, XLA sums short rows many times slower."""
    each = row * (i / taus.syn - v / taus.mem)
    return each @ jnp.ones(each.shape[-1], each.dtype)


def smallest_slope(height: Array, max_jump: float) -> Array:
    """The slope tau_mem V' at which a jump multiplies the cotangent by `max_jump`."""
    return height / (max_jump - 1)


def credible_slope(i: Array, neurons: Neurons) -> Array:
    """tau_mem V' at a spike, where I is `i`, but no less than what can be told apart.

    Below a largest voltage that is D above the threshold the slope there is
    sqrt(2 D |tau_mem^2 V''|). D is known to rounding only, so a smaller slope than that of
    one unit of rounding is noise, of either sign; its inverse must not reach a gradient.
    """
    taus, threshold = neurons.taus, neurons.v_threshold
    size = jnp.maximum(jnp.abs(threshold), jnp.abs(threshold - taus.bias))
    bend = jnp.abs(i) * taus.mem / taus.syn
    smallest = jnp.sqrt(2 * float(jnp.finfo(i.dtype).eps) * size * bend)
    return jnp.maximum(i + taus.bias - threshold, smallest)


def _jump(v, slope, height, t_bar, tau_mem, max_jump):
    """The jump of the voltage's cotangent at a spike. `slope` is tau_mem V' before it,
    `height` is v_threshold - v_reset."""
    if max_jump is not None:
        slope = jnp.maximum(slope, smallest_slope(height, max_jump))
    return (v * (slope + height) - tau_mem * t_bar) / slope


class _Link(eqx.Module):
    """Where a neuron stands in its chain of jumps."""

    v: Array  # the voltage's cotangent just before the spike that was passed last
    time: Array  # of that spike
    last: Int[Array, "*shape"]  # place of the next spike to be passed


def _through_spikes(
    adjoint: _Adjoint,
    window: Window,
    first_place: Array,
    trace: Trace,
    neurons: Neurons,
    max_jump: float | None,
    tile: int,
) -> tuple[_Adjoint, tuple[Array, Array]]:
    """Pass the window's spikes, the last of each neuron first. Also returns what the
    jumps in each segment add to the cotangents of V and I at its start."""
    batch, num = adjoint.v.shape
    pairs, capacity = batch * num, adjoint.spike_time.shape[1]
    starts = window.times[:-1].reshape(-1)
    t_bars = adjoint.spike_time.reshape(-1)

    def jump(pair, real, link, sums, added):
        sample, here = pair // num, neurons.at(pair, num)
        taus = here.taus
        place = sample * capacity + jnp.maximum(link.last, 0)
        spike, t_bar = trace.spikes.take(place), t_bars[place]
        since = jnp.where(real, link.time - spike.time, 0.0)
        v_after = link.v * jnp.exp(-since / taus.mem)
        height = here.v_threshold - here.v_reset
        slope = credible_slope(spike.i, here)
        v_before = _jump(v_after, slope, height, t_bar, taus.mem, max_jump)
        by_mem, by_syn = sums.by_mem, sums.by_syn
        if spike.v_by_mem is not None:
            by_mem += v_before * spike.v_by_mem
            by_syn += v_before * spike.v_by_syn
        sums = _Sums(sums.before + v_before, sums.after + v_after, by_mem, by_syn)

        h = jnp.where(real, spike.time - starts[spike.segment * batch + sample], 0.0)
        change = v_before - v_after
        mem, gain = jnp.exp(-h / taus.mem), psp(h, taus.mem, taus.syn)
        at = jnp.where(real, spike.segment * pairs + pair, starts.shape[0] * num)
        add = lambda x, y: x.at[at].add(y, mode="drop", unique_indices=True)
        added = add(added[0], change * mem), add(added[1], change * gain)
        link = _Link(v_before, spike.time, spike.previous)
        return link, sums, added, spike.previous >= first_place[sample]

    here = (adjoint.last >= first_place[:, None]).reshape(-1)
    end = jnp.repeat(window.ends[-1], num)
    link = _Link(adjoint.v.reshape(-1), end, adjoint.last.reshape(-1))
    added = (jnp.zeros(starts.shape[0] * num, adjoint.v.dtype),) * 2
    if pairs <= tile:  # as in `solve_spikes`
        everyone = jnp.arange(pairs, dtype=jnp.int32)

        def one_round(active, carry):
            link, sums, added = carry
            *new, added, more = jump(everyone, active, link, sums, added)
            select = lambda x, y: jnp.where(active, x, y)
            link, sums = jax.tree.map(select, tuple(new), (link, sums))
            return active & more, (link, sums, added)

        carry = link, adjoint.sums.tree(), added
        link, sums, added = rounds(here, one_round, carry)
        last, sums = link.last, Rows.of(sums)
    else:

        def visit(pair, real, carry):
            links, sums, added = carry
            old = links.take(pair), sums.take(pair)
            link, new, added, more = jump(pair, real, *old, added)
            links, sums = links.put(pair, real, link), sums.put(pair, real, new)
            return (links, sums, added), more

        carry = Rows.of(link), adjoint.sums, added
        links, sums, added = work_off(Queue.of(here, tile), tile, visit, carry)
        last = links.tree().last
    adjoint = eqx.tree_at(
        lambda a: (a.last, a.sums), adjoint, (last.reshape(batch, num), sums)
    )
    return adjoint, tuple(x.reshape(-1, batch, num) for x in added)


def _through_return(
    adjoint: _Adjoint, returned: Array, problem: LayerProblem, trace: Trace, taus: Taus
) -> _Adjoint:
    """Pass the arrival of an own spike at the end of a window."""
    there = returned >= 0
    place = jnp.maximum(returned, 0)[:, None]
    sample = jnp.arange(there.shape[0], dtype=jnp.int32)
    flat = sample * adjoint.spike_time.shape[1] + place[:, 0]
    source = trace.spikes.take(flat).source
    row = problem.recurrent[source]
    t_bar = _time_cotangent(row, adjoint.v, adjoint.i, taus)
    t_bar = jnp.where(there, t_bar, 0.0)
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
    added = None
    if neurons.v_threshold is not None:
        adjoint, added = _through_spikes(
            adjoint,
            window,
            log.num_spikes,
            trace,
            neurons,
            max_jump,
            tile_size(problem),
        )

    # The cotangents just after each arrival, and at the window's start.
    steps = window_steps(window, taus)
    reads_v, reads_i = [], []
    v, i = adjoint.v, adjoint.i
    for j in reversed(range(size)):
        reads_v.append(v)
        reads_i.append(i)
        v, i = v * steps.mem[j], i * steps.syn[j] + v * steps.gain[j]
        if added is not None:
            v, i = v + added[0][j], i + added[1][j]
    reads_v, reads_i = jnp.stack(reads_v[::-1]), jnp.stack(reads_i[::-1])

    t_bar = _time_cotangent(rows[window.index], reads_v, reads_i, wide(taus))
    at = log.position[None] + jnp.arange(size, dtype=jnp.int32)[:, None]
    # Arrivals behind the window's end come again in the next one.
    at = jnp.where(window.index < problem.rows.shape[0], at, adjoint.times.shape[1])
    sample = jnp.arange(batch)[None]
    return eqx.tree_at(
        lambda a: (a.v, a.i, a.rows, a.times, a.bias),
        adjoint,
        (
            v,
            i,
            adjoint.rows.at[window.index].add(reads_i),
            adjoint.times.at[sample, at].set(t_bar, mode="drop"),
            adjoint.bias + (adjoint.v - v),
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
        jnp.zeros_like(bars.v),
        Rows.of(_Sums(zeros, zeros, by_mem, by_syn)),
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
    sums, shape = adjoint.sums.tree(), problem.v.shape
    bias = adjoint.bias + (sums.before - sums.after).reshape(shape)
    each = {
        "rows": adjoint.rows[:-1],
        "recurrent": adjoint.recurrent,
        "recurrent_delay": adjoint.delay,
        "tau_mem": _like(problem.tau_mem, sums.by_mem, shape),
        "tau_syn": _like(problem.tau_syn, sums.by_syn, shape),
        "v_threshold": _like(problem.v_threshold, -sums.before, shape),
        "v_reset": _like(problem.v_reset, sums.after, shape),
        "bias": _like(problem.bias, bias, shape),
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
