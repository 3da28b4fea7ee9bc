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

import dataclasses

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow, Taus
from .._solver._lists import (
    AbstractLists,
    is_recurrent,
    is_small,
    neurons_of,
    tile_size,
)
from .._solver._problem import LayerProblem
from .._solver._record import Log, Trace
from .._solver._returns import join, num_upcoming, Returns, Upcoming
from .._solver._rows import Rows
from .._solver._stream_lists import lists_of
from .._solver._window import Neurons, wide, Window
from ._cotangent import AbstractJumps, AtArrivals, AtStarts, Cotangent
from ._jumps import Passed, Sums, through_spikes


SHORT = 8  # arrivals in a window


class Cotangents(eqx.Module):
    """Of a layer's outputs: spike times (sorted list) and the state at t1."""

    times: Float[Array, "batch capacity"]
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]


class Wanted(eqx.Module):
    """Which gradients are asked for, of those that cost something."""

    times: bool = eqx.field(static=True)  # of what arrives from before
    # Whether the times at which own spikes arrive pass theirs on to these spikes
    spikes: bool = eqx.field(static=True)
    neurons: bool = eqx.field(static=True)  # of any of the neurons' parameters


class _Adjoint(eqx.Module):
    # Cotangents of the state where each sample stands
    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]
    # Arrivals that have not been passed yet
    position: Int[Array, "batch lists"] | None
    returns: Returns | None
    # Gradients
    spike_times: Float[Array, " places"]
    sums: Rows | None  # of Sums
    rows: Float[Array, "more neurons"] | None  # as those of the lists
    recurrent: Float[Array, "streams neurons"] | None  # where the lists have no rows
    delay: Float[Array, " streams"] | None
    times: Float[Array, "events batch lanes"] | None
    currents: Float[Array, "events batch neurons"] | None
    bias: Float[Array, "batch neurons"] | None  # but for what spikes add to it


class _Given(eqx.Module):
    """What does not change."""

    problem: LayerProblem
    lists: AbstractLists
    neurons: Neurons
    trace: Trace
    max_jump: float | None = eqx.field(static=True)
    own_paths: bool = eqx.field(static=True)


def time_cotangents(row: Array, v: Array, i: Array, taus: Taus) -> Array:
    """Of arrivals that add `row`, what each neuron contributes."""
    return row * (i / taus.syn - v / taus.mem)


def _sum_neurons(each: Array) -> Array:
    """By a product with ones: on CPU, XLA sums short rows many times slower."""
    return each @ jnp.ones(each.shape[-1], each.dtype)


def _window_of(
    adjoint: _Adjoint, line: Int[Array, ""], log: Log, given: _Given
) -> tuple[Window, Upcoming | None, _Adjoint]:
    """The window, the own spikes that arrive in it, and the adjoint where it starts."""
    if adjoint.position is None:
        return given.lists.nth(line), None, adjoint
    position = adjoint.position - log.taken.astype(jnp.int32)
    window = given.lists.behind(position, log.start)
    adjoint = eqx.tree_at(lambda a: a.position, adjoint, position)
    if adjoint.returns is None:
        return window, None, adjoint
    problem = given.problem
    size = num_upcoming(problem, given.lists)
    count = log.returned.astype(jnp.int32)
    upcoming, returns = adjoint.returns.back(
        count, size, given.trace.spikes, problem.recurrent_delay
    )
    window = join(window, upcoming, problem, log.end)
    return window, upcoming, eqx.tree_at(lambda a: a.returns, adjoint, returns)


def _read(
    adjoint: _Adjoint,
    line: Int[Array, ""],
    window: Window,
    upcoming: Upcoming | None,
    reads: tuple[Array | None, Array],
    given: _Given,
) -> _Adjoint:
    """Gradients of the window's arrivals, from the cotangents just after each; those of V
    are there if they are needed."""
    reads_v, reads_i = reads
    new = {}

    def write(into, x):
        if given.lists.steady:
            first = line * given.lists.size
            return lax.dynamic_update_slice_in_dim(into, x, first, axis=0)
        # Arrivals behind the window's end come again in the next one.
        _, batch, lanes = window.ends.shape
        at = jnp.where(window.given, window.place, into.shape[0])
        sample = jnp.arange(batch, dtype=jnp.int32)[None, :, None]
        lane = jnp.arange(lanes, dtype=jnp.int32)[None, None]
        return into.at[at, sample, lane].add(x, mode="drop")

    if adjoint.times is not None or upcoming is not None:
        received, taus = window.received(given.lists.rows), wide(given.neurons.taus)
        t_bar = time_cotangents(received, reads_v, reads_i, taus)
        whole = _sum_neurons(t_bar)
        if window.currents is None:
            t_bar = whole[:, :, None]
        if adjoint.times is not None:
            new["times"] = write(adjoint.times, t_bar)
        if upcoming is not None:
            new |= _read_returns(adjoint, window, upcoming, whole, reads_i, given)
    if adjoint.rows is not None:
        new["rows"] = adjoint.rows.at[window.index].add(reads_i)
    if adjoint.currents is not None:
        new["currents"] = write(adjoint.currents, jnp.where(window.given, reads_i, 0.0))
    names = list(new)
    return eqx.tree_at(
        lambda a: [getattr(a, name) for name in names], adjoint, list(new.values())
    )


def _read_returns(
    adjoint: _Adjoint,
    window: Window,
    upcoming: Upcoming,
    t_bar: Array,
    reads_i: Array,
    given: _Given,
) -> dict[str, Array]:
    """Gradients of own spikes that arrive."""
    there, which = window.own >= 0, jnp.maximum(window.own, 0)

    def pick(x, into):
        return jnp.where(there, jnp.take_along_axis(x, which, axis=0), into.shape[0])

    stream = pick(upcoming.stream, adjoint.delay)
    new = {"delay": adjoint.delay.at[stream].add(t_bar, mode="drop")}
    if given.own_paths:
        spike = pick(upcoming.spike, adjoint.spike_times)
        new["spike_times"] = adjoint.spike_times.at[spike].add(t_bar, mode="drop")
    if adjoint.recurrent is not None:
        # They arrive at the window's end only.
        new["recurrent"] = adjoint.recurrent.at[stream[-1]].add(
            reads_i[-1], mode="drop"
        )
    return new


def _no_jumps(
    adjoint: _Adjoint, window: Window, reads_v: bool, given: _Given
) -> AbstractJumps:
    """In small layers, and in short windows, neurons spike often enough for one way."""
    end = adjoint.v, adjoint.i, window, given.neurons.taus
    if is_small(given.problem) or window.ends.shape[0] <= SHORT:
        return AtStarts.none(*end)
    return AtArrivals.none(*end, reads_v)


def _through_window(adjoint: _Adjoint, line: Int[Array, ""], given: _Given) -> _Adjoint:
    trace, neurons = given.trace, given.neurons
    log = jax.tree.map(lambda x: x[line], trace.log)
    window, upcoming, adjoint = _window_of(adjoint, line, log, given)
    reads_v = adjoint.times is not None or upcoming is not None
    if neurons.v_threshold is None:
        cotangent = Cotangent.without_spikes(
            adjoint.v, adjoint.i, window, neurons.taus, reads_v
        )
    else:
        following = jnp.minimum(line + 1, trace.log.first.shape[0] - 1)
        is_last = line + 1 == trace.num_windows
        last = jnp.where(is_last, trace.count, trace.log.first[following])
        sums, jumps = through_spikes(
            adjoint.v,
            _no_jumps(adjoint, window, reads_v, given),
            adjoint.spike_times,
            adjoint.sums,
            window,
            Passed(log.first, last, log.rounds),
            trace.spikes,
            neurons,
            given.max_jump,
            tile_size(given.problem),
        )
        cotangent = jumps.cotangent()
        adjoint = eqx.tree_at(
            lambda a: a.sums, adjoint, sums, is_leaf=lambda x: x is None
        )
    v, i, *reads = cotangent.v, cotangent.i, cotangent.reads_v, cotangent.reads_i
    adjoint = _read(adjoint, line, window, upcoming, tuple(reads), given)
    if adjoint.bias is not None:
        bias = adjoint.bias + (adjoint.v - v)
        adjoint = eqx.tree_at(lambda a: a.bias, adjoint, bias)
    return eqx.tree_at(lambda a: (a.v, a.i), adjoint, (v, i))


def first_sums(bars: Cotangents, final: Flow) -> Sums:
    """With what the state at t1 means for the time constants."""
    zeros = by_mem = by_syn = jnp.zeros_like(bars.v)
    if final.v_by_mem is not None:
        by_mem = bars.v * final.v_by_mem
        by_syn = bars.v * final.v_by_syn + bars.i * final.i_by_syn
    return Sums(zeros, zeros, by_mem, by_syn)


def _start(given: _Given, bars: Cotangents, wanted: Wanted) -> _Adjoint:
    problem, trace, lists = given.problem, given.trace, given.lists
    sums = bias = None
    if wanted.neurons:
        bias = jnp.zeros_like(bars.v)
        first = first_sums(bars, trace.final)
        sums = Rows.of(jax.tree.map(lambda x: x.reshape(-1), first))
    like = lambda x: None if x is None else jnp.zeros_like(x)
    blank = jnp.zeros((lists.places, *problem.times.shape[1:]), bars.v.dtype)
    delay = recurrent = None
    if is_recurrent(problem):
        num = problem.v.shape[1]
        delay = jnp.zeros(problem.recurrent_delay.size, bars.v.dtype)
        if lists.rows is None:
            recurrent = jnp.zeros((delay.size, num), bars.v.dtype)
    return _Adjoint(
        bars.v,
        bars.i,
        trace.position,
        trace.returns,
        _of_spikes(bars.times, given),
        sums,
        like(lists.rows),
        recurrent,
        delay,
        blank if wanted.times else None,
        blank if problem.own_lists else None,
        bias,
    )


def _of_spikes(times: Float[Array, "batch capacity"], given: _Given) -> Array:
    """Cotangents of the sorted times, as the spikes are in the record."""
    trace, capacity = given.trace, times.shape[1]
    places = jnp.arange(trace.place.shape[0], dtype=jnp.int32)
    there = (places < trace.count) & (trace.place < capacity)
    sample = trace.spikes.tree().pair // given.problem.v.shape[1]
    found = times[sample, jnp.where(there, trace.place, 0)]
    return jnp.where(there, found, 0.0)


def _like(parameter: Array | None, total: Array, shape: tuple[int, ...]):
    """Sum gradients of each sample and neuron to the shape of the parameter."""
    if parameter is None:
        return None
    total = total.reshape(shape)
    if parameter.ndim == 0:
        return jnp.sum(total)
    return jnp.sum(total, axis=0, keepdims=True) if parameter.shape[0] == 1 else total


def of_neurons(
    sums: Sums | None, bias: Array | None, problem: LayerProblem
) -> dict[str, Array | None]:
    """Gradients of the neurons' parameters; `bias` is that of the bias but for what
    spikes add to it."""
    names = "tau_mem", "tau_syn", "v_threshold", "v_reset", "bias"
    if sums is None:
        return dict.fromkeys(names)
    shape = problem.v.shape
    bias = bias + (sums.before - sums.after).reshape(shape)
    totals = sums.by_mem, sums.by_syn, -sums.before, sums.after, bias
    return {
        name: _like(getattr(problem, name), total, shape)
        for name, total in zip(names, totals)
    }


def in_problem(problem: LayerProblem, each: dict[str, Array | None]) -> LayerProblem:
    """Gradients by the name of the field, those that are not named being `None`."""
    names = [field.name for field in dataclasses.fields(problem)]
    return eqx.tree_at(
        lambda p: [getattr(p, name) for name in names],
        problem,
        [each.get(name) for name in names],
        is_leaf=lambda x: x is None,
    )


def _of_rows(adjoint: _Adjoint, given: _Given) -> dict[str, Array | None]:
    """Gradients of what arrivals add, and of how long they take."""
    problem, lists = given.problem, given.lists
    shape = None if adjoint.delay is None else problem.recurrent.shape
    delay = None if shape is None else adjoint.delay.reshape(shape[:2])
    recurrent, events = adjoint.recurrent, problem.times.shape[0]
    if lists.rows is None:
        neuron = jnp.arange(problem.v.shape[1], dtype=jnp.int32)
        here = problem.index, neuron[None, None]
        rows = jnp.zeros_like(problem.rows).at[here].add(adjoint.currents[:events])
    else:
        rows, recurrent = adjoint.rows[: lists.no_row], adjoint.rows[lists.no_row + 1 :]
    recurrent = None if shape is None else recurrent.reshape(shape)
    return {"rows": rows, "recurrent": recurrent, "recurrent_delay": delay}


def backward(
    problem: LayerProblem,
    trace: Trace,
    bars: Cotangents,
    max_jump: float | None,
    wanted: Wanted,
) -> LayerProblem:
    """The gradient with respect to each field of the problem (`t0`, `t1` and `index` have
    none, and those that are not wanted). That of the time constants is right only if the
    trace was made for it."""
    given = _Given(
        problem,
        lists_of(problem),
        neurons_of(problem),
        trace,
        max_jump,
        wanted.spikes,
    )

    def body(state):
        line, adjoint = state
        return line - 1, _through_window(adjoint, line, given)

    start = trace.num_windows - 1, _start(given, bars, wanted)
    _, adjoint = lax.while_loop(lambda state: state[0] >= 0, body, start)
    times, sums = adjoint.times, adjoint.sums
    each = {
        **_of_rows(adjoint, given),
        **of_neurons(None if sums is None else sums.tree(), adjoint.bias, problem),
        "v": adjoint.v,
        "i": adjoint.i,
        "times": None if times is None else times[: problem.times.shape[0]],
    }
    return in_problem(problem, each)
