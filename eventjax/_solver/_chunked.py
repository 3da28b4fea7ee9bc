"""The exact solver's loops over windows, and what they keep for the reverse pass."""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._connection._sort import ranks
from .._neuron._lif_flow import Flow
from ._commit import commit, cut_short, send_back
from ._lists import AbstractLists, is_recurrent, neurons_of, tile_size
from ._problem import LayerProblem, LayerRun
from ._record import Log, Record, Trace
from ._returns import join, num_upcoming, Returns
from ._spiking import blank_spike, solve_spikes
from ._stream_lists import lists_of
from ._window import advance, Neurons, window_steps


class _Carry(eqx.Module):
    # Where the neurons stand
    state: Flow
    # Where the samples stand, if each has windows of its own
    time: Float[Array, " batch"] | None
    position: Int[Array, "batch lists"] | None
    # What has happened
    record: Record
    returns: Returns | None
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
    return windows + _max_short(given) + (1 + copies) * given.capacity + 2


def _max_short(given: _Given) -> int:
    """How many of the first windows with recurrence may end at the shortest delay, before
    their last arrival. No longer one would be more than four times as long."""
    if given.problem.own_lists:
        return 0
    return 4 * (given.lists.length // given.lists.size + 1)


def _start(given: _Given, by_tau: bool) -> _Carry:
    problem, lists, capacity = given.problem, given.lists, given.capacity
    zero = jnp.zeros_like(problem.v) if by_tau else None
    state = Flow(problem.v, problem.i, zero, zero, zero)
    recurrent = is_recurrent(problem)
    spike = blank_spike(state, keep_drop=recurrent)
    # With recurrence some of a window's spikes may be taken back.
    room = 2 * capacity if recurrent else capacity
    record = Record.empty(problem, room, given.tile, spike)
    time = position = returns = back = None
    if not lists.steady:
        time = jnp.full(problem.v.shape[0], problem.t0, problem.v.dtype)
        position = lists.first
    if recurrent:
        places = record.spikes.ints.shape[0]
        returns, back = Returns.empty(problem, capacity, places), record.num_spikes
    line = _line(record, time, time if recurrent else None, position, back)
    log = Log.empty(_max_windows(given), line)
    zero = jnp.zeros((), jnp.int32)
    return _Carry(state, time, position, record, returns, log, zero)


def _line(record: Record, start, end, taken, returned) -> Log:
    small = lambda x: None if x is None else x.astype(jnp.int8)
    return Log(
        record.num_spikes,
        record.count,
        record.rounds,
        start,
        end,
        small(taken),
        small(returned),
    )


def _feed_forward_step(carry: _Carry, given: _Given) -> _Carry:
    """A window of as many arrivals as it holds."""
    lists, neurons, tile = given.lists, given.neurons, given.tile
    time, position, taken = carry.time, carry.position, None
    if lists.steady:
        window = lists.nth(carry.step)
    else:
        window = lists.behind(position, time)
        taken = lists.taken(window)
        time, position = window.ends[-1, :, 0], position + taken
    before = carry.record.next_window()
    if neurons.v_threshold is None:
        steps = window_steps(window, neurons.taus, carry.state.v_by_mem is not None)
        state, _ = advance(carry.state, window, steps, lists.rows, neurons)
        record = before
    else:
        state, record = solve_spikes(
            carry.state, window, lists.rows, neurons, before, tile
        )
    line = _line(before, carry.time, None, taken, None)
    line = eqx.tree_at(lambda x: x.rounds, line, record.rounds)
    log = carry.log.write(carry.step, line)
    return _Carry(state, time, position, record, None, log, carry.step + 1)


def _recurrent_step(carry: _Carry, given: _Given) -> _Carry:
    """As without recurrence, with the layer's own spikes among the arrivals. All spikes of
    the window are solved as if none of them came back; where one does so within it the
    window ends there, and what was found behind is taken back."""
    problem, lists, neurons, tile = (
        given.problem,
        given.lists,
        given.neurons,
        given.tile,
    )
    before, delay = carry.record.next_window(), problem.recurrent_delay
    window = lists.behind(carry.position, carry.time)
    size = num_upcoming(problem, lists)
    upcoming = carry.returns.upcoming(size, before.spikes, delay)
    limit = jnp.full_like(carry.time, problem.t1)
    shortest = jnp.where(carry.step < _max_short(given), jnp.min(delay), 0.0)
    window = join(window, upcoming, problem, limit, shortest)
    state, record = solve_spikes(
        carry.state, window, lists.rows, neurons, before, tile, keep_drops=True
    )
    end, is_cut = cut_short(window, before, record, delay, tile)
    record, state, window = commit(
        carry.state, state, window, end, is_cut, lists, neurons, before, record, tile
    )
    returns = send_back(carry.returns, before, record, delay, tile)
    taken, returned = lists.taken(window), window.num_returned
    returns = returns.pop(upcoming, returned, record.spikes, delay)
    line = _line(before, carry.time, end, taken, returned)
    line = eqx.tree_at(lambda x: x.rounds, line, record.rounds)
    log = carry.log.write(carry.step, line)
    position = carry.position + taken
    return _Carry(state, end, position, record, returns, log, carry.step + 1)


def _feed_forward(given: _Given, by_tau: bool) -> _Carry:
    def body(_, carry):
        return _feed_forward_step(carry, given)

    return lax.fori_loop(0, given.lists.num_windows, body, _start(given, by_tau))


def _recurrent(given: _Given, by_tau: bool) -> _Carry:
    t1, last = given.problem.t1, given.lists.last
    carry = _start(given, by_tau)
    bound = carry.log.num_spikes.shape[0]

    def unfinished(carry: _Carry) -> Bool[Array, " batch"]:
        left = (carry.time < t1) | jnp.any(carry.position < last, axis=1)
        left |= jnp.min(carry.returns.time, axis=1) <= t1
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
    # Spikes are out of order within a window only.
    order = ranks(record.by_slot(capacity).T[:, :, None])[:, :, 0].T
    if given.neurons.v_threshold is None:
        times, place = record.by_slot(capacity), record.spikes.tree().slot
        sources, slopes = jnp.zeros_like(order), None
    else:
        times, sources, slopes, place = record.in_order(order, given.neurons)
    trace = Trace(
        carry.log,
        carry.step,
        record.spikes,
        record.count,
        place,
        state,
        carry.position,
        carry.returns,
    )
    run = LayerRun(times, sources, record.num_spikes, state.v, state.i, slopes=slopes)
    return run, trace
