"""The exact solver's loop over windows, and what it keeps for the reverse pass."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow
from ._problem import LayerProblem, LayerRun
from ._rows import Rows
from ._sort import sorted_places
from ._spiking import Drop, Emitted, solve_spikes, state_after
from ._window import advance, Free, Neurons, Window
from ._work_queue import put


class Log(eqx.Module):
    """One line for each window: `H` is where it ended."""

    start: Float[Array, "*windows batch"]
    end: Float[Array, "*windows batch"]
    position: Int[Array, "*windows batch"]  # arrivals before the window
    num_spikes: Int[Array, "*windows batch"]  # spikes before the window
    returned: Int[
        Array, "*windows batch"
    ]  # spike whose own row arrived at its end, or -1


class SpikeRecord(eqx.Module):
    """A spike, and what its jump needs. Empty places are at time +inf."""

    time: Float[Array, "*shape"]
    source: Int[Array, "*shape"]
    segment: Int[Array, "*shape"]  # arrivals of its window before it
    previous: Int[Array, "*shape"]  # place of the neuron's spike before, or -1
    # The state just before
    i: Float[Array, "*shape"]
    v_by_mem: Float[Array, "*shape"] | None
    v_by_syn: Float[Array, "*shape"] | None


class Trace(eqx.Module):
    """All that the reverse pass needs. It grows with spikes and windows, not with time."""

    log: Log
    num_windows: Int[Array, ""]
    spikes: Rows  # of SpikeRecord, [batch * capacity]; a neuron's own in sequence
    last: Int[Array, "batch neurons"]  # place of each neuron's last spike, or -1
    final: Flow
    order: Int[Array, "batch capacity"]  # place in the sorted list of each spike


class _Carry(eqx.Module):
    # Where each sample stands
    time: Float[Array, " batch"]
    position: Int[Array, " batch"]
    state: Flow
    # Spikes so far
    num_spikes: Int[Array, " batch"]
    spikes: Rows
    last: Int[Array, "batch neurons"]
    # Arrivals of the layer's own spikes that are still to come, by place of the spike
    pending: Float[Array, "batch capacity"] | None
    # Book-keeping
    log: Log
    step: Int[Array, ""]


def with_zero_row(rows: Float[Array, "rows neurons"]) -> Float[Array, "more neurons"]:
    """The rows and one of zeros, for places without arrival."""
    return jnp.pad(rows, ((0, 1), (0, 0)))


def neurons_of(problem: LayerProblem) -> Neurons:
    return Neurons.of(
        problem.tau_mem,
        problem.tau_syn,
        problem.bias,
        problem.v_threshold,
        problem.v_reset,
    )


def make_window(problem: LayerProblem, start: Array, position: Array, size: int):
    """The next `size` arrivals of each sample. Those after t1 are cut to it and have no
    row, so that a window without arrivals ends at t1."""
    at = position[:, None] + jnp.arange(size, dtype=position.dtype)[None]
    events = problem.times.shape[1]
    there = at < events
    at = jnp.minimum(at, events - 1)
    times = jnp.take_along_axis(problem.times, at, axis=1)
    index = jnp.take_along_axis(problem.index, at, axis=1)
    there &= times <= problem.t1
    ends = jnp.where(there, times, problem.t1)
    index = jnp.where(there, index, problem.rows.shape[0])
    return Window(start, ends.T, index.T), there.T


def window_size(problem: LayerProblem) -> int:
    """Arrivals per window: all of them where there are few; else 16, or 32 in a small
    layer, where the number of steps counts more than what is done in each."""
    size = 16 if problem.v.size > 1024 else 32
    return min(problem.times.shape[1] + 1, size)


def tile_size(problem: LayerProblem) -> int:
    """Neurons that are solved together: an eighth, but few tiles where there are few."""
    pairs = problem.v.size
    return min(-(-pairs // 32) * 32, max(512, min(2048, pairs // 8)))


def max_windows(problem: LayerProblem, capacity: int) -> int:
    """A bound: a window uses up its arrivals, or ends where a spike is or arrives."""
    events = problem.times.shape[1]
    windows = -(-(events + 1) // window_size(problem))
    return windows if problem.recurrent is None else windows + 2 * capacity + 2


def _start(problem: LayerProblem, capacity: int, by_tau: bool) -> _Carry:
    batch, num = problem.v.shape
    dtype = problem.v.dtype
    zero = jnp.zeros_like(problem.v) if by_tau else None
    state = Flow(problem.v, problem.i, zero, zero, zero)
    shape = batch, capacity
    places = batch * capacity
    ints, floats = jnp.zeros(places, jnp.int32), jnp.zeros(places, dtype)
    by_mem = floats if by_tau else None
    spikes = Rows.of(
        SpikeRecord(floats + jnp.inf, ints, ints, ints, floats, by_mem, by_mem)
    )
    windows = max_windows(problem, capacity), batch
    log_ints, log_floats = jnp.zeros(windows, jnp.int32), jnp.zeros(windows, dtype)
    per_sample = jnp.zeros(batch, jnp.int32)
    return _Carry(
        jnp.full(batch, problem.t0, dtype),
        per_sample,
        state,
        per_sample,
        spikes,
        jnp.full((batch, num), -1, jnp.int32),
        None if problem.recurrent is None else jnp.full(shape, jnp.inf, dtype),
        Log(log_floats, log_floats, log_ints, log_ints, log_ints - 1),
        jnp.zeros((), jnp.int32),
    )


def _exclusive_sums(x: Int[Array, "batch neurons"]) -> Int[Array, "batch neurons"]:
    """Cumulative sums along the rows, by doubling; faster than `jnp.cumsum` on CPU."""
    total, reach = x, 1
    while reach < x.shape[1]:
        total += jnp.pad(total[:, :-reach], ((0, 0), (reach, 0)))
        reach *= 2
    return total - x


def cut(window: Window, there: Array, limit: Array, no_row: int) -> Window:
    """The window up to `limit`, one time for each sample."""
    kept = there & (window.ends <= limit[None])
    ends = jnp.minimum(window.ends, limit[None])
    return Window(window.start, ends, jnp.where(kept, window.index, no_row))


def _over_tiles(emitted: Emitted, tile: int, body, init):
    """Fold `body(real, pair, spike, carry)` over the spikes."""

    def step(k, carry):
        at = k * tile
        pair, spike = emitted.rows.slice(at, tile)
        real = at + jnp.arange(tile, dtype=jnp.int32) < emitted.count
        return body(real, pair, spike, carry)

    return lax.fori_loop(0, -(-emitted.count // tile), step, init)


def _record(
    carry: _Carry,
    emitted: Emitted,
    count: Array,
    tile: int,
    until: Array | None = None,
    delay: Array | None = None,
) -> _Carry:
    """Write the spikes of a window (those not after `until`) behind those before, a
    neuron's own in sequence. `count` is their number for each neuron."""
    batch, num = count.shape
    capacity = carry.spikes.floats.shape[0] // batch
    offset = carry.num_spikes[:, None] + _exclusive_sums(count)
    places = Rows.of((offset.reshape(-1), carry.last.reshape(-1)))

    def write(real, pair, spike, arrays):
        record, pending = arrays
        offset, last = places.take(pair)
        sample, source = pair // num, pair % num
        place = offset + spike.nth
        real &= place < capacity
        if until is not None:
            real &= spike.time <= until[sample]
        flat = sample * capacity + place
        previous = jnp.where(spike.nth > 0, place - 1, last)
        before = spike.i, spike.v_by_mem, spike.v_by_syn
        new = SpikeRecord(spike.time, source, spike.segment, previous, *before)
        record = record.put(flat, real, new)
        if pending is not None:
            arrival = spike.time + delay[source]
            pending = put(pending.reshape(-1), flat, real, arrival)
            pending = pending.reshape(batch, capacity)
        return record, pending

    record, pending = _over_tiles(emitted, tile, write, (carry.spikes, carry.pending))
    new_last = jnp.where(count > 0, offset + count - 1, carry.last)
    # A sample whose spikes do not fit is given up; its places must stay in range.
    new_last = jnp.minimum(new_last, capacity - 1)
    num_spikes = carry.num_spikes + jnp.sum(count, axis=1, dtype=jnp.int32)
    return eqx.tree_at(
        lambda c: (c.spikes, c.pending, c.last, c.num_spikes),
        carry,
        (record, pending, new_last, num_spikes),
        is_leaf=lambda x: x is None,
    )


def _write_log(carry: _Carry, end: Array, returned: Array) -> Log:
    new = Log(carry.time, end, carry.position, carry.num_spikes, returned)
    return jax.tree.map(lambda x, y: x.at[carry.step].set(y), carry.log, new)


class _Sizes(eqx.Module):
    window: int = eqx.field(static=True)
    tile: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)


def _feed_forward_step(
    carry: _Carry, problem: LayerProblem, rows: Array, neurons: Neurons, sizes: _Sizes
) -> _Carry:
    window, _ = make_window(problem, carry.time, carry.position, sizes.window)
    end = window.ends[-1]
    log = _write_log(carry, end, jnp.full_like(carry.position, -1))
    free = advance(carry.state, window, rows, neurons)
    if neurons.v_threshold is None:
        state = _end(free, carry.state.v.shape)
    else:
        free = _give_up(free, carry, sizes)
        emitted, count, state = solve_spikes(
            free, window, neurons, sizes.capacity, sizes.tile
        )
        carry = _record(carry, emitted, count, sizes.tile)
    position = carry.position + sizes.window
    return eqx.tree_at(
        lambda c: (c.time, c.position, c.state, c.log, c.step),
        carry,
        (end, position, state, log, carry.step + 1),
    )


def _end(free: Free, shape: tuple[int, int]) -> Flow:
    """The state at the window's end without spikes."""
    return jax.tree.map(lambda x: x[-1].reshape(shape), free.states)


def _give_up(free: Free, carry: _Carry, sizes: _Sizes) -> Free:
    """Samples whose spikes do not fit are not looked at any more."""
    fits = jnp.repeat(carry.num_spikes <= sizes.capacity, carry.last.shape[1])
    first = jnp.where(fits, free.first, free.states.v.shape[0] - 1)
    return eqx.tree_at(lambda f: f.first, free, first)


def _recurrent_step(
    carry: _Carry, problem: LayerProblem, rows: Array, neurons: Neurons, sizes: _Sizes
) -> _Carry:
    """As without recurrence, but nothing is settled beyond the time at which a spike of
    the layer first arrives back at it; there the window ends, and the row is added."""
    batch, num = carry.last.shape
    delay, tile = problem.recurrent_delay, sizes.tile
    window, there = make_window(problem, carry.time, carry.position, sizes.window)
    returning = jnp.argmin(carry.pending, axis=1).astype(jnp.int32)
    arrival = jnp.take_along_axis(carry.pending, returning[:, None], axis=1)[:, 0]
    limit = jnp.minimum(window.ends[-1], arrival)

    # All spikes up to there, as if none of them came back.
    window = cut(window, there, limit, problem.rows.shape[0])
    there &= window.index < problem.rows.shape[0]
    free = _give_up(advance(carry.state, window, rows, neurons), carry, sizes)
    emitted, _, _ = solve_spikes(
        free, window, neurons, sizes.capacity, tile, keep_drop=True
    )

    # Those up to the first return are right.
    def earliest(real, pair, spike, first):
        time = jnp.where(real, spike.time + delay[pair % num], jnp.inf)
        return first.at[pair // num].min(time)

    end = _over_tiles(emitted, tile, earliest, limit)

    def accept(real, pair, spike, count):
        real &= spike.time <= end[pair // num]
        return count.at[pair].add(real.astype(jnp.int32))

    count = jnp.zeros(batch * num, jnp.int32)
    count = _over_tiles(emitted, tile, accept, count)
    window = cut(window, there, end, problem.rows.shape[0])
    there &= window.index < problem.rows.shape[0]
    free = advance(carry.state, window, rows, neurons)

    def last_spikes(real, pair, spike, last):
        real &= spike.nth == count[pair] - 1
        return last.put(pair, real, (spike.time, spike.drop))

    zeros = jnp.zeros_like(carry.state.v).reshape(-1)
    by_tau = None if carry.state.v_by_mem is None else zeros
    nothing = jnp.repeat(end, num), Drop(zeros, by_tau, by_tau)
    last = _over_tiles(emitted, tile, last_spikes, Rows.of(nothing))
    time, drop = jax.tree.map(lambda x: x.reshape(batch, num), last.tree())
    state = _end(free, (batch, num))
    state = state_after(state, time, drop, end[:, None], neurons.taus)

    returns = (arrival <= end) & (arrival <= problem.t1)
    sample = jnp.arange(batch, dtype=jnp.int32)
    source = carry.spikes.take(sample * carry.pending.shape[1] + returning).source
    back = problem.recurrent[source]
    state = state.receive(jnp.where(returns[:, None], back, 0.0))
    log = _write_log(carry, end, jnp.where(returns, returning, -1))
    place = jnp.where(returns, returning, carry.pending.shape[1])
    pending = carry.pending.at[sample, place].set(jnp.inf, mode="drop")
    carry = eqx.tree_at(lambda c: c.pending, carry, pending)
    carry = _record(carry, emitted, count.reshape(batch, num), tile, end, delay)
    position = carry.position + jnp.sum(there, axis=0, dtype=jnp.int32)
    return eqx.tree_at(
        lambda c: (c.time, c.position, c.state, c.log, c.step),
        carry,
        (end, position, state, log, carry.step + 1),
    )


def _sort_spikes(carry: _Carry) -> tuple[Array, Array, Array]:
    """Sorted times and sources, and the place of each recorded spike in them."""
    spikes = carry.spikes.tree()
    batch = carry.num_spikes.shape[0]
    time, source = (x.reshape(batch, -1) for x in (spikes.time, spikes.source))
    order = sorted_places(time, carry.num_spikes, carry.log.num_spikes)

    first = jnp.arange(batch, dtype=jnp.int32)[:, None] * time.shape[1]
    place = (first + order).reshape(-1)

    def move(x):
        flat = x.reshape(-1)
        return flat.at[place].set(flat, unique_indices=True).reshape(x.shape)

    return move(time), move(source), order


def solve(
    problem: LayerProblem, capacity: int, by_tau: bool = False
) -> tuple[LayerRun, Trace]:
    """Run a layer exactly. `by_tau` also keeps what gradients of the time constants
    need."""
    neurons = neurons_of(problem)
    rows = with_zero_row(problem.rows)
    sizes = _Sizes(window_size(problem), tile_size(problem), capacity)
    recurrent = problem.recurrent is not None and problem.v_threshold is not None
    step = _recurrent_step if recurrent else _feed_forward_step
    arrivals = jnp.sum(problem.times <= problem.t1, axis=1, dtype=jnp.int32)

    def busy(carry: _Carry):
        left = (carry.time < problem.t1) | (carry.position < arrivals)
        if recurrent:
            left |= jnp.min(carry.pending, axis=1) <= problem.t1
            left &= carry.num_spikes <= capacity
        return jnp.any(left) & (carry.step < carry.log.start.shape[0])

    def body(carry: _Carry):
        return step(carry, problem, rows, neurons, sizes)

    carry = lax.while_loop(busy, body, _start(problem, capacity, by_tau))
    times, sources, order = _sort_spikes(carry)
    run = LayerRun(times, sources, carry.num_spikes, carry.state.v, carry.state.i)
    trace = Trace(carry.log, carry.step, carry.spikes, carry.last, carry.state, order)
    return run, trace
