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
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Taus
from .._solver._lists import AbstractLists, neurons_of, tile_size
from .._solver._problem import LayerProblem
from .._solver._record import Log, Trace
from .._solver._rows import Rows
from .._solver._stream_lists import lists_of
from .._solver._window import Neurons, wide, Window, window_steps
from .._solver._work_queue import compute_once
from ._jumps import Chains, Sums, through_spikes


class Cotangents(eqx.Module):
    """Of a layer's outputs: spike times (sorted list) and the state at t1."""

    times: Float[Array, "batch capacity"]
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]


class _Adjoint(eqx.Module):
    # Cotangents of the state where each sample stands
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]
    # Arrivals that have not been passed yet
    position: Int[Array, "batch lists"] | None
    # Gradients
    chains: Chains  # those of spikes
    rows: Float[Array, "more neurons"] | None
    recurrent: Float[Array, "copies neurons neurons"] | None
    delay: Float[Array, "copies neurons"] | None
    times: Float[Array, "places batch lanes"]
    currents: Float[Array, "places batch neurons"] | None
    bias: Float[Array, "batch neurons"]  # but for what spikes add to it


class _Given(eqx.Module):
    """What does not change."""

    problem: LayerProblem
    lists: AbstractLists
    neurons: Neurons
    trace: Trace
    max_jump: float | None = eqx.field(static=True)


def _time_cotangents(row: Array, v: Array, i: Array, taus: Taus) -> Array:
    """Of arrivals that add `row`, what each neuron contributes."""
    return row * (i / taus.syn - v / taus.mem)


def _time_cotangent(row: Array, v: Array, i: Array, taus: Taus) -> Array:
    """Of an arrival that adds `row`, summed over the neurons (last axis).

    By a product with ones: on CPU, XLA sums short rows many times slower."""
    each = _time_cotangents(row, v, i, taus)
    return each @ jnp.ones(each.shape[-1], each.dtype)


def _through_return(
    adjoint: _Adjoint, returned: Int[Array, " batch"], given: _Given
) -> _Adjoint:
    """Pass the arrival of an own spike at the end of a window."""
    there = returned >= 0
    copies = given.problem.recurrent.shape[0]
    which = jnp.maximum(returned, 0)
    place, copy = which // copies, which % copies
    sample = jnp.arange(there.shape[0], dtype=jnp.int32)
    spike_time = adjoint.chains.spike_time
    flat = sample * spike_time.shape[1] + place
    source = given.trace.spikes.take(flat).source
    row = given.problem.recurrent[copy, source]
    t_bar = _time_cotangent(row, adjoint.v, adjoint.i, given.neurons.taus)
    t_bar = jnp.where(there, t_bar, 0.0)
    read = jnp.where(there[:, None], adjoint.i, 0.0)
    return eqx.tree_at(
        lambda a: (a.chains.spike_time, a.delay, a.recurrent),
        adjoint,
        (
            spike_time.at[sample, place].add(t_bar),
            adjoint.delay.at[copy, source].add(t_bar),
            adjoint.recurrent.at[copy, source].add(read),
        ),
    )


def _window_of(
    adjoint: _Adjoint, line: Int[Array, ""], log: Log, given: _Given
) -> tuple[Window, _Adjoint]:
    """The window, and the adjoint with the position of its start."""
    if adjoint.position is None:
        return given.lists.nth(line), adjoint
    position = adjoint.position - log.taken.astype(jnp.int32)
    window = given.lists.behind(position, log.start)
    if log.end is not None:
        window = window.cut(log.end, given.problem.rows.shape[0])
    return window, eqx.tree_at(lambda a: a.position, adjoint, position)


def _read(
    adjoint: _Adjoint,
    line: Int[Array, ""],
    window: Window,
    reads: tuple[Array, Array],
    given: _Given,
) -> _Adjoint:
    """Gradients of the window's arrivals, from the cotangents just after each."""
    reads_v, reads_i = reads
    received, taus = window.received(given.lists.rows), wide(given.neurons.taus)
    new_rows, new_currents = adjoint.rows, adjoint.currents
    if window.currents is None:
        t_bar = _time_cotangent(received, reads_v, reads_i, taus)[:, :, None]
        new_rows = new_rows.at[window.index].add(reads_i)
    else:
        t_bar = _time_cotangents(received, reads_v, reads_i, taus)

    def write(into, x):
        if given.lists.steady:
            first = line * given.lists.size
            return lax.dynamic_update_slice_in_dim(into, x, first, axis=0)
        # Arrivals behind the window's end come again in the next one.
        _, batch, lanes = window.ends.shape
        at = jnp.where(window.there, window.place, into.shape[0])
        sample = jnp.arange(batch, dtype=jnp.int32)[None, :, None]
        lane = jnp.arange(lanes, dtype=jnp.int32)[None, None]
        return into.at[at, sample, lane].add(x, mode="drop")

    if new_currents is not None:
        new_currents = write(new_currents, jnp.where(window.there, reads_i, 0.0))
    return eqx.tree_at(
        lambda a: (a.rows, a.times, a.currents),
        adjoint,
        (new_rows, write(adjoint.times, t_bar), new_currents),
        is_leaf=lambda x: x is None,
    )


def _through_window(adjoint: _Adjoint, line: Int[Array, ""], given: _Given) -> _Adjoint:
    log = jax.tree.map(lambda x: x[line], given.trace.log)
    if log.returned is not None:
        adjoint = _through_return(adjoint, log.returned, given)
    window, adjoint = _window_of(adjoint, line, log, given)
    added = None
    if given.neurons.v_threshold is not None:
        chains, added = through_spikes(
            adjoint.v,
            adjoint.chains,
            window,
            log.num_spikes,
            given.trace.spikes,
            given.neurons,
            given.max_jump,
            tile_size(given.problem),
        )
        adjoint = eqx.tree_at(lambda a: a.chains, adjoint, chains)

    # The cotangents just after each arrival, and at the window's start.
    steps = window_steps(window, given.neurons.taus)
    if given.problem.own_lists:
        steps = compute_once(steps, line >= 0)
    reads_v, reads_i = [], []
    v, i = adjoint.v, adjoint.i
    for j in reversed(range(window.ends.shape[0])):
        reads_v.append(v)
        reads_i.append(i)
        v, i = v * steps.mem[j], i * steps.syn[j] + v * steps.gain[j]
        if added is not None:
            v, i = v + added[0][j], i + added[1][j]
    reads = jnp.stack(reads_v[::-1]), jnp.stack(reads_i[::-1])
    adjoint = _read(adjoint, line, window, reads, given)
    bias = adjoint.bias + (adjoint.v - v)
    return eqx.tree_at(lambda a: (a.v, a.i, a.bias), adjoint, (v, i, bias))


def _start(given: _Given, bars: Cotangents) -> _Adjoint:
    problem, trace, lists = given.problem, given.trace, given.lists
    zeros = jnp.zeros_like(bars.v).reshape(-1)
    by_mem = by_syn = zeros
    if trace.final.v_by_mem is not None:
        by_mem = (bars.v * trace.final.v_by_mem).reshape(-1)
        by_syn = bars.v * trace.final.v_by_syn + bars.i * trace.final.i_by_syn
        by_syn = by_syn.reshape(-1)
    chains = Chains(
        trace.last,
        jnp.take_along_axis(bars.times, trace.order, axis=1),
        Rows.of(Sums(zeros, zeros, by_mem, by_syn)),
    )
    like = lambda x: None if x is None else jnp.zeros_like(x)
    blank = jnp.zeros((lists.places, *problem.times.shape[1:]), bars.v.dtype)
    return _Adjoint(
        bars.v,
        bars.i,
        trace.position,
        chains,
        like(lists.rows),
        like(problem.recurrent),
        like(problem.recurrent_delay),
        blank,
        blank if problem.own_lists else None,
        like(bars.v),
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
    given = _Given(
        problem,
        lists_of(problem),
        neurons_of(problem),
        trace,
        max_jump,
    )

    def body(state):
        line, adjoint = state
        return line - 1, _through_window(adjoint, line, given)

    start = trace.num_windows - 1, _start(given, bars)
    _, adjoint = lax.while_loop(lambda state: state[0] >= 0, body, start)
    sums, shape = adjoint.chains.sums.tree(), problem.v.shape
    events = problem.times.shape[0]
    if problem.own_lists:
        neuron = jnp.arange(shape[1], dtype=jnp.int32)
        here = problem.index, neuron[None, None]
        rows = jnp.zeros_like(problem.rows).at[here].add(adjoint.currents[:events])
    else:
        rows = adjoint.rows[:-1]
    bias = adjoint.bias + (sums.before - sums.after).reshape(shape)
    each = {
        "rows": rows,
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
        "times": adjoint.times[:events],
        "index": None,
        "streams": None,
    }
    return eqx.tree_at(
        lambda p: [getattr(p, name) for name in each],
        problem,
        list(each.values()),
        is_leaf=lambda x: x is None,
    )
