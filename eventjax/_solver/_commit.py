"""With recurrence: how far the spikes of a window are right, and what follows of those that
are."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._neuron._lif_flow import Flow
from ._lists import AbstractLists
from ._record import Record
from ._returns import Returns
from ._rows import Rows
from ._spiking import Drop
from ._tiles import compute_once, places
from ._window import advance, Neurons, Window, window_steps


def _over_tiles(before: Record, record: Record, tile: int, body, init):
    """Fold `body(there, spike, carry)` over the spikes of a window."""

    def step(k, carry):
        at = before.count + k * tile
        spike = record.spikes.slice(at, tile)
        there = at + jnp.arange(tile, dtype=jnp.int32) < record.count
        return body(there, spike, carry)

    tiles = -(-(record.count - before.count) // tile)
    return lax.fori_loop(0, tiles, step, init)


def cut_short(
    window: Window, before: Record, record: Record, delay: Array, tile: int
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """Until when each sample's spikes are right, and whether that is not the window's end:
    up to the first arrival of one of them, and in a sample that was given up not beyond
    the last spike found of any neuron that spikes."""
    shortest, num = jnp.min(delay, axis=0), record.num

    def first(there, spike, first):
        time = jnp.where(there, spike.time + shortest[spike.pair % num], jnp.inf)
        return first.at[spike.pair // num].min(time)

    last = jnp.min(window.ends[-1], axis=1)
    end = _over_tiles(before, record, tile, first, last)
    end = lax.cond(
        jnp.any(record.given_up),
        lambda end: jnp.minimum(end, _known_until(before, record, tile, end)),
        lambda end: end,
        end,
    )
    return end, end < last


def _known_until(
    before: Record, record: Record, tile: int, like: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Until when all spikes of a window are found in samples that were given up in it."""

    def latest(there, spike, time):
        return time.at[spike.pair].max(jnp.where(there, spike.time, -jnp.inf))

    batch, num = like.shape[0], record.num
    time = jnp.full(batch * num, -jnp.inf, like.dtype)
    time = _over_tiles(before, record, tile, latest, time)
    time = jnp.where(time == -jnp.inf, jnp.inf, time).reshape(batch, num)
    return jnp.where(record.given_up, jnp.min(time, axis=1), jnp.inf)


def _state_at(
    start: Flow,
    window: Window,
    end: Float[Array, " batch"],
    rows: Array | None,
    neurons: Neurons,
    before: Record,
    record: Record,
    tile: int,
) -> Flow:
    """The state at the end of a shorter window, from each neuron's last spike in it."""
    batch, num = start.v.shape
    by_tau = start.v_by_mem is not None
    steps = window_steps(window, neurons.taus, by_tau)
    state, _ = advance(start, window, steps, rows, neurons)

    def right(there, spike):
        return there & (spike.time <= end[spike.pair // num])

    def count_up(there, spike, count):
        return count.at[spike.pair].add(right(there, spike).astype(jnp.int32))

    count = jnp.zeros(batch * num, jnp.int32)
    count = _over_tiles(before, record, tile, count_up, count)

    def last_of_all(there, spike, last):
        real = right(there, spike) & (spike.nth == count[spike.pair] - 1)
        return last.put(spike.pair, real, (spike.time, spike.drop))

    flat = jax.tree.map(lambda x: x.reshape(-1), start)
    last = Rows.of((jnp.repeat(end, num), Drop.none(flat)))
    last = _over_tiles(before, record, tile, last_of_all, last)
    time, drop = jax.tree.map(lambda x: x.reshape(batch, num), last.tree())
    return drop.after(end[:, None] - time, neurons.taus).lower(state)


def commit(
    start: Flow,
    state: Flow,
    window: Window,
    end: Float[Array, " batch"],
    is_cut: Bool[Array, " batch"],
    lists: AbstractLists,
    neurons: Neurons,
    before: Record,
    record: Record,
    tile: int,
) -> tuple[Record, Flow, Window]:
    """Keep the spikes up to `end`. `start` and `state` are those at the start and the end
    of the whole window."""
    cut, shorter = jnp.any(is_cut), window.cut(end, lists.no_row)
    state = lax.cond(
        cut,
        lambda state: _state_at(
            start, shorter, end, lists.rows, neurons, before, record, tile
        ),
        lambda state: state,
        state,
    )
    num, batch = record.num, end.shape[0]

    def step(k, carry):
        spikes, count, num_spikes = carry
        at = before.count + k * tile
        # Or else the record would be copied: it may not be read and written at once.
        spike = compute_once(spikes.slice(at, tile), k >= 0)
        sample = spike.pair // num
        there = at + jnp.arange(tile, dtype=jnp.int32) < record.count
        there &= spike.time <= end[sample]
        place, new = places(there)
        slot = num_spikes[sample] + _rank(jnp.where(there, sample, batch))
        spike = eqx.tree_at(lambda s: s.slot, spike, slot)
        spikes = spikes.put(count + place, there, spike)
        num_spikes = num_spikes.at[sample].add(there.astype(jnp.int32))
        return spikes, count + new, num_spikes

    # So that the record stays where it is: a loop without steps instead of a condition, and
    # one that is known to come after the state, which is made from the record.
    after_state = (state.v[0, 0] > jnp.inf).astype(jnp.int32)
    tiles = jnp.where(cut, -(-(record.count - before.count) // tile), 0) + after_state
    carry = record.spikes, before.count, before.num_spikes
    spikes, count, num_spikes = lax.fori_loop(0, tiles, step, carry)
    num_spikes = jnp.where(cut, num_spikes, record.num_spikes)
    count = jnp.where(cut, count, record.count)
    return (
        Record(spikes, count, num_spikes, record.rounds, record.room, num),
        state,
        shorter,
    )


def send_back(
    returns: Returns, before: Record, record: Record, delay: Array, tile: int
) -> Returns:
    """With the spikes of a window on their way back."""

    tiles = -(-(record.count - before.count) // tile)

    def step(nth, k, returns):
        at = before.count + k * tile
        spike = record.spikes.slice(at, tile)
        place = at + jnp.arange(tile, dtype=jnp.int32)
        there = (place < record.count) & (spike.nth == nth)
        return returns.add(spike.time, spike.pair, place, there, delay)

    def one_round(nth, returns):  # a neuron's own one after the other
        return lax.fori_loop(0, tiles, lambda k, x: step(nth, k, x), returns)

    return lax.fori_loop(0, record.rounds, one_round, returns)


def _rank(sample: Int[Array, " tile"]) -> Int[Array, " tile"]:
    """How many of the same sample come before each."""
    order = jnp.argsort(sample, stable=True).astype(jnp.int32)
    ordered = sample[order]
    first = jnp.searchsorted(ordered, ordered, side="left").astype(jnp.int32)
    rank = jnp.arange(sample.shape[0], dtype=jnp.int32) - first
    return jnp.zeros_like(rank).at[order].set(rank, unique_indices=True)
