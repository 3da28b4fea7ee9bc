"""The exact solver's loop over windows, and what it keeps for the reverse pass."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow
from ._problem import LayerProblem, LayerRun
from ._window import (
    advance,
    Emitted,
    Neurons,
    solve_spikes,
    state_after,
    Window,
    window_steps,
)
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
    """Spikes in the order in which they were emitted, and what their jumps need."""

    time: Float[Array, "*shape"]
    source: Int[Array, "*shape"]
    segment: Int[Array, "*shape"]
    previous: Int[Array, "*shape"]  # place of the neuron's spike before, or -1
    before: Flow  # state just before


class Trace(eqx.Module):
    """All that the reverse pass needs. It grows with spikes and windows, not with time."""

    log: Log
    num_windows: Int[Array, ""]
    spikes: SpikeRecord
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
    spikes: SpikeRecord
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
    """Arrivals per window: all of them where there are few; else 16, or 8 in a small
    layer, where a neuron spikes several times in a longer window."""
    size = 16 if problem.v.shape[1] > 32 else 8
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
    ints = jnp.zeros(shape, jnp.int32)
    spikes = SpikeRecord(
        jnp.full(shape, jnp.inf, dtype),
        ints,
        ints,
        ints - 1,
        jax.tree.map(lambda x: jnp.zeros(shape, dtype), state),
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


def _merge(mask: Array, one, two):
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


def cut(window: Window, there: Array, limit: Array, no_row: int) -> Window:
    """The window up to `limit`, one time for each sample."""
    kept = there & (window.ends <= limit[None])
    ends = jnp.minimum(window.ends, limit[None])
    return Window(window.start, ends, jnp.where(kept, window.index, no_row))


def _over_tiles(emitted: Emitted, tile: int, body, init):
    """Fold `body(real, pair, nth, time, segment, before, carry)` over the spikes."""

    def step(k, carry):
        at = k * tile + jnp.arange(tile, dtype=jnp.int32)
        fields = emitted.pair, emitted.nth, emitted.time, emitted.segment
        entry = jax.tree.map(
            lambda x: x.at[at].get(mode="clip"), (*fields, emitted.before)
        )
        return body(at < emitted.count, *entry, carry)

    return lax.fori_loop(0, -(-emitted.count // tile), step, init)


def _record(
    carry: _Carry,
    emitted: Emitted,
    count: Array,
    tile: int,
    delay: Array | None = None,
    until: Array | None = None,
) -> _Carry:
    """Write the spikes of a window (those not after `until`) behind those before, a
    neuron's own in sequence. `count` is their number for each neuron."""
    num = count.shape[1]
    capacity = carry.spikes.time.shape[1]
    offset = (carry.num_spikes[:, None] + _exclusive_sums(count)).reshape(-1)
    last = carry.last.reshape(-1)

    def write(real, pair, nth, time, segment, before, arrays):
        record, pending = arrays
        place = offset[pair] + nth
        real &= place < capacity
        if until is not None:
            real &= time <= until[pair // num]
        flat = pair // num * capacity + place
        previous = jnp.where(nth > 0, place - 1, last[pair])
        values = SpikeRecord(time, pair % num, segment, previous, before)

        def add(array, value):
            return put(array.reshape(-1), flat, real, value).reshape(array.shape)

        record = jax.tree.map(add, record, values)
        if pending is not None:
            pending = add(pending, time + delay[pair % num])
        return record, pending

    record, pending = _over_tiles(emitted, tile, write, (carry.spikes, carry.pending))
    new_last = jnp.where(count > 0, offset.reshape(count.shape) + count - 1, carry.last)
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
    by_tau = carry.state.v_by_mem is not None
    steps = window_steps(window, neurons.taus, by_tau)
    state, may_spike = advance(carry.state, window, steps, rows, neurons)
    if neurons.v_threshold is not None:
        may_spike &= (carry.num_spikes <= sizes.capacity)[:, None]
        emitted, count, after, spiked = solve_spikes(
            carry.state,
            may_spike,
            window,
            steps,
            rows,
            neurons,
            sizes.capacity,
            sizes.tile,
        )
        carry = _record(carry, emitted, count, sizes.tile)
        state = _merge(spiked, after, state)
    position = carry.position + sizes.window
    return eqx.tree_at(
        lambda c: (c.time, c.position, c.state, c.log, c.step),
        carry,
        (end, position, state, log, carry.step + 1),
    )


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
    by_tau = carry.state.v_by_mem is not None
    steps = window_steps(window, neurons.taus, by_tau)
    _, may_spike = advance(carry.state, window, steps, rows, neurons)
    may_spike &= (carry.num_spikes <= sizes.capacity)[:, None]
    emitted, _, _, _ = solve_spikes(
        carry.state, may_spike, window, steps, rows, neurons, sizes.capacity, tile
    )

    # Those up to the first return are right.
    def earliest(real, pair, nth, time, segment, before, first):
        time = jnp.where(real, time + delay[pair % num], jnp.inf)
        return first.at[pair // num].min(time)

    end = _over_tiles(emitted, tile, earliest, limit)

    def accept(real, pair, nth, time, segment, before, count):
        real &= time <= end[pair // num]
        return count.at[pair].add(real.astype(jnp.int32))

    count = jnp.zeros(batch * num, jnp.int32)
    count = _over_tiles(emitted, tile, accept, count)
    window = cut(window, there, end, problem.rows.shape[0])
    there &= window.index < problem.rows.shape[0]
    steps = window_steps(window, neurons.taus, by_tau)
    state, _ = advance(carry.state, window, steps, rows, neurons)
    state = jax.tree.map(lambda x: x.reshape(-1), state)

    def finish(real, pair, nth, time, segment, before, state):
        real &= nth == count[pair] - 1
        after = state_after(time, segment, before, pair, window, steps, rows, neurons)
        return jax.tree.map(lambda x, y: put(x, pair, real, y), state, after)

    state = _over_tiles(emitted, tile, finish, state)
    state = jax.tree.map(lambda x: x.reshape(batch, num), state)

    returns = (arrival <= end) & (arrival <= problem.t1)
    back = problem.recurrent[
        jnp.take_along_axis(carry.spikes.source, returning[:, None], axis=1)[:, 0]
    ]
    state = state.receive(jnp.where(returns[:, None], back, 0.0))
    log = _write_log(carry, end, jnp.where(returns, returning, -1))
    place = jnp.where(returns, returning, carry.pending.shape[1])
    pending = carry.pending.at[jnp.arange(batch), place].set(jnp.inf, mode="drop")
    carry = eqx.tree_at(lambda c: c.pending, carry, pending)
    carry = _record(carry, emitted, count.reshape(batch, num), tile, delay, end)
    position = carry.position + jnp.sum(there, axis=0, dtype=jnp.int32)
    return eqx.tree_at(
        lambda c: (c.time, c.position, c.state, c.log, c.step),
        carry,
        (end, position, state, log, carry.step + 1),
    )


def _sort_spikes(carry: _Carry) -> tuple[Array, Array, Array]:
    """Sorted times and sources, and the place of each recorded spike in them."""
    time, source = carry.spikes.time, carry.spikes.source
    capacity = time.shape[1]
    if capacity <= 512:  # counting is several times faster than sorting on CPU
        columns = time.T
        place = jnp.arange(capacity, dtype=jnp.int32)[:, None]

        def count(k, order):
            one = columns[k][None]
            return order + jnp.where(k < place, one <= columns, one < columns).astype(
                jnp.int32
            )

        # Places behind the last spike are +inf and stay where they are.
        used = jnp.minimum(jnp.max(carry.num_spikes), capacity)
        order = lax.fori_loop(0, used, count, jnp.zeros(columns.shape, jnp.int32)).T
        behind = jnp.maximum(place.T - used, 0)
        order = jnp.where(place.T < used, order, used + behind)
    else:
        perm = jnp.argsort(time, axis=1, stable=True).astype(jnp.int32)
        places_ = jnp.broadcast_to(jnp.arange(capacity, dtype=jnp.int32), time.shape)
        order = jnp.put_along_axis(
            jnp.zeros_like(perm), perm, places_, axis=1, inplace=False
        )

    def move(x):
        return jnp.put_along_axis(jnp.zeros_like(x), order, x, axis=1, inplace=False)

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
