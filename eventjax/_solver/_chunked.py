"""The exact solver's loops over windows, and what they keep for the reverse pass."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow
from ._lists import AbstractLists, is_recurrent, neurons_of, tile_size
from ._problem import LayerProblem, LayerRun
from ._record import add_spikes, Log, over_tiles, Record, Trace
from ._rows import Rows
from ._sort import sorted_places
from ._spiking import Drop, solve_spikes, state_after
from ._stream_lists import lists_of
from ._window import advance, Free, Neurons


class _Carry(eqx.Module):
    # Where the neurons stand
    state: Flow
    # Where the samples stand, if each has windows of its own
    time: Float[Array, " batch"] | None
    position: Int[Array, "batch lists"] | None
    # What has happened
    record: Record
    log: Log
    step: Int[Array, ""]


class _Given(eqx.Module):
    """What does not change."""

    problem: LayerProblem
    lists: AbstractLists
    neurons: Neurons
    tile: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)


def _max_windows(given: _Given) -> int:
    """A bound: a window uses up its arrivals, or ends where a spike is or arrives."""
    lanes = given.problem.times.shape[2]
    windows = given.lists.length // given.lists.size + 1
    if not is_recurrent(given.problem):
        return windows
    # With lists for each neuron a window ends where the first of them is used up. In
    # theory that may be so for each by itself.
    windows *= min(lanes, 8)
    copies = given.problem.recurrent.shape[0]
    return windows + (1 + copies) * given.capacity + 2


def _start(given: _Given, by_tau: bool) -> _Carry:
    problem, lists = given.problem, given.lists
    zero = jnp.zeros_like(problem.v) if by_tau else None
    state = Flow(problem.v, problem.i, zero, zero, zero)
    record = Record.empty(problem, given.capacity, by_tau)
    time = position = None
    if not lists.steady:
        time = jnp.full(problem.v.shape[0], problem.t0, problem.v.dtype)
        position = lists.first
    back = time if is_recurrent(problem) else None
    log = Log.empty(_max_windows(given), _line(record, time, back, position, back))
    return _Carry(state, time, position, record, log, jnp.zeros((), jnp.int32))


def _line(record: Record, start, end, taken, returned) -> Log:
    small = lambda x, dtype: None if x is None else x.astype(dtype)
    returned = small(returned, jnp.int32)
    return Log(record.num_spikes, start, end, small(taken, jnp.int8), returned)


def _give_up(free: Free, record: Record) -> Free:
    """Samples whose spikes do not fit are not looked at any more."""
    fits = jnp.repeat(record.num_spikes <= record.capacity, record.last.shape[1])
    first = jnp.where(fits, free.first, free.states.v.shape[0] - 1)
    return eqx.tree_at(lambda f: f.first, free, first)


def _end(free: Free, shape: tuple[int, int]) -> Flow:
    """The state at the window's end without spikes."""
    return jax.tree.map(lambda x: x[-1].reshape(shape), free.states)


def _feed_forward_step(carry: _Carry, given: _Given) -> _Carry:
    """A window of as many arrivals as it holds."""
    lists, record, tile = given.lists, carry.record, given.tile
    time, position, taken = carry.time, carry.position, None
    if lists.steady:
        window = lists.nth(carry.step)
    else:
        window = lists.behind(position, time)
        taken = lists.taken(window)
        time, position = window.ends[-1, :, 0], position + taken
    log = carry.log.write(carry.step, _line(record, carry.time, None, taken, None))
    free = advance(carry.state, window, lists.rows, given.neurons)
    if given.neurons.v_threshold is None:
        state = _end(free, carry.state.v.shape)
    else:
        free = _give_up(free, record)
        emitted, count, state = solve_spikes(
            free, window, given.neurons, given.capacity, tile
        )
        record = add_spikes(record, emitted, count, tile)
    return _Carry(state, time, position, record, log, carry.step + 1)


def _recurrent_step(carry: _Carry, given: _Given) -> _Carry:
    """As without recurrence, but nothing is settled beyond the time at which a spike of
    the layer first arrives back at it; there the window ends, and the row is added."""
    problem, neurons, tile, record = (
        given.problem,
        given.neurons,
        given.tile,
        carry.record,
    )
    (batch, num), no_row = record.last.shape, problem.rows.shape[0]
    delay = problem.recurrent_delay
    window = given.lists.behind(carry.position, carry.time)
    returning = jnp.argmin(record.pending, axis=1).astype(jnp.int32)
    arrival = jnp.take_along_axis(record.pending, returning[:, None], axis=1)[:, 0]
    limit = jnp.minimum(jnp.min(window.ends[-1], axis=1), arrival)

    # All spikes up to there, as if none of them came back.
    window = window.cut(limit, no_row)
    free = _give_up(advance(carry.state, window, given.lists.rows, neurons), record)
    emitted, _, _ = solve_spikes(
        free, window, neurons, given.capacity, tile, keep_drop=True
    )

    # Those up to the first return are right.
    shortest = jnp.min(delay, axis=0)

    def earliest(real, pair, spike, first):
        time = jnp.where(real, spike.time + shortest[pair % num], jnp.inf)
        return first.at[pair // num].min(time)

    end = over_tiles(emitted, tile, earliest, limit)

    def accept(real, pair, spike, count):
        real &= spike.time <= end[pair // num]
        return count.at[pair].add(real.astype(jnp.int32))

    count = jnp.zeros(batch * num, jnp.int32)
    count = over_tiles(emitted, tile, accept, count)
    window = window.cut(end, no_row)
    free = advance(carry.state, window, given.lists.rows, neurons)

    def last_spikes(real, pair, spike, last):
        real &= spike.nth == count[pair] - 1
        return last.put(pair, real, (spike.time, spike.drop))

    zeros = jnp.zeros_like(carry.state.v).reshape(-1)
    by_tau = None if carry.state.v_by_mem is None else zeros
    nothing = jnp.repeat(end, num), Drop(zeros, by_tau, by_tau)
    last = over_tiles(emitted, tile, last_spikes, Rows.of(nothing))
    time, drop = jax.tree.map(lambda x: x.reshape(batch, num), last.tree())
    state = _end(free, (batch, num))
    state = state_after(state, time, drop, end[:, None], neurons.taus)

    returns = (arrival <= end) & (arrival <= problem.t1)
    sample = jnp.arange(batch, dtype=jnp.int32)
    spike, copy = returning // delay.shape[0], returning % delay.shape[0]
    source = record.spikes.take(sample * given.capacity + spike).source
    back = problem.recurrent[copy, source]
    state = state.receive(jnp.where(returns[:, None], back, 0.0))
    place = jnp.where(returns, returning, record.pending.shape[1])
    pending = record.pending.at[sample, place].set(jnp.inf, mode="drop")
    taken = given.lists.taken(window)
    returned = jnp.where(returns, returning, -1)
    line = _line(record, carry.time, end, taken, returned)
    record = eqx.tree_at(lambda r: r.pending, record, pending)
    record = add_spikes(record, emitted, count.reshape(batch, num), tile, end, delay)
    log = carry.log.write(carry.step, line)
    return _Carry(state, end, carry.position + taken, record, log, carry.step + 1)


def _sort_spikes(
    carry: Record, before: Int[Array, "windows batch"]
) -> tuple[Array, Array, Array]:
    """Sorted times and sources, and the place of each recorded spike in them; `before`
    as for `sorted_places`."""
    spikes = carry.spikes.tree()
    batch = carry.num_spikes.shape[0]
    time, source = (x.reshape(batch, -1) for x in (spikes.time, spikes.source))
    order = sorted_places(time, carry.num_spikes, before)

    first = jnp.arange(batch, dtype=jnp.int32)[:, None] * time.shape[1]
    place = (first + order).reshape(-1)

    def move(x):
        flat = x.reshape(-1)
        return flat.at[place].set(flat, unique_indices=True).reshape(x.shape)

    return move(time), move(source), order


def _feed_forward(given: _Given, by_tau: bool) -> _Carry:
    def body(_, carry):
        return _feed_forward_step(carry, given)

    return lax.fori_loop(0, given.lists.num_windows, body, _start(given, by_tau))


def _recurrent(given: _Given, by_tau: bool) -> _Carry:
    t1, last = given.problem.t1, given.lists.last
    carry = _start(given, by_tau)
    bound = carry.log.num_spikes.shape[0]

    def unfinished(carry: _Carry):
        left = (carry.time < t1) | jnp.any(carry.position < last, axis=1)
        left |= jnp.min(carry.record.pending, axis=1) <= t1
        return left & (carry.record.num_spikes <= given.capacity)

    def busy(carry: _Carry):
        return jnp.any(unfinished(carry)) & (carry.step < bound)

    carry = lax.while_loop(busy, lambda carry: _recurrent_step(carry, given), carry)
    # A sample for which there were too few windows is given up: a larger capacity means
    # more of them.
    short = jnp.where(unfinished(carry), given.capacity + 1, 0)
    num_spikes = jnp.maximum(carry.record.num_spikes, short)
    return eqx.tree_at(lambda c: c.record.num_spikes, carry, num_spikes)


def solve(
    problem: LayerProblem, capacity: int, by_tau: bool = False
) -> tuple[LayerRun, Trace]:
    """Run a layer exactly. `by_tau` also keeps what gradients of the time constants
    need."""
    given = _Given(
        problem,
        lists_of(problem),
        neurons_of(problem),
        tile_size(problem),
        capacity,
    )
    run = _recurrent if is_recurrent(problem) else _feed_forward
    carry = run(given, by_tau)
    record, state = carry.record, carry.state
    # With lists of their own neurons are not in the same window at the same time.
    before = carry.log.num_spikes
    before = jnp.zeros_like(before) if problem.own_lists else before
    times, sources, order = _sort_spikes(record, before)
    trace = Trace(
        carry.log,
        carry.step,
        record.spikes,
        record.last,
        state,
        carry.position,
        order,
    )
    run = LayerRun(times, sources, record.num_spikes, state.v, state.i)
    return run, trace
