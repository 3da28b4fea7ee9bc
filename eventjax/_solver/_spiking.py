r"""The spikes of one window, found exactly.

A spike at $t_k$ lowers the voltage by $V - V_{reset}$, and this drop decays with the
membrane; the current goes on as it would. So at the start of each later segment the
voltage is that without spikes less the neuron's drop, and which segment may hold its next
spike is seen from all of them at once.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._neuron._lif_crossing import first_crossing
from .._neuron._lif_flow import Flow, propagate, Steps, Taus, upper_bound
from ._record import Record, SpikeRecord
from ._tiles import compute_once, rounds, work_off
from ._window import advance, Free, Neurons, Tracks, wide, Window, window_steps


class Drop(eqx.Module):
    """How far a neuron's spikes have lowered its voltage, and, where gradients of time
    constants are wanted, by how much the derivatives of `Flow` are lower for it."""

    v: Array
    by_mem: Array | None
    by_syn: Array | None

    @classmethod
    def none(cls, like: Flow) -> "Drop":
        zeros = jnp.zeros_like(like.v)
        by_tau = None if like.v_by_mem is None else zeros
        return cls(zeros, by_tau, by_tau)

    def after(self, dt: Array, taus: Taus) -> "Drop":
        left = jnp.exp(-dt / taus.mem)
        if self.by_mem is None:
            return Drop(self.v * left, None, None)
        by_mem = self.by_mem + self.v * dt / (taus.mem * taus.mem)
        return Drop(self.v * left, by_mem * left, self.by_syn * left)

    def add_spike(self, before: Flow, v_reset: Array) -> "Drop":
        """`before` is the state just before it; the derivatives start anew there."""
        v = self.v + (before.v - v_reset)
        if self.by_mem is None:
            return Drop(v, None, None)
        return Drop(v, self.by_mem + before.v_by_mem, self.by_syn + before.v_by_syn)

    def lower(self, free: Flow) -> Flow:
        v = free.v - self.v
        if self.by_mem is None:
            return Flow(v, free.i)
        by_mem, by_syn = free.v_by_mem - self.by_mem, free.v_by_syn - self.by_syn
        return Flow(v, free.i, by_mem, by_syn, free.i_by_syn)


class Stand(eqx.Module):
    """Where a neuron stands within a window: in the first segment that may hold its next
    spike, or at the window's end, if `segment` is the number of segments."""

    state: Flow
    drop: Drop
    time: Array
    segment: Int[Array, "*shape"]
    nth: Int[Array, "*shape"]  # spikes in the window before


def _at(x: Float[Array, "arrivals tile"], place: Int[Array, " tile"]) -> Array:
    return jnp.take_along_axis(x, place[None], axis=0, mode="clip")[0]


def _start(segment: Int[Array, " tile"], free: Free) -> tuple[Array, Flow]:
    """When a segment starts, and the state there without spikes."""
    state = jax.tree.map(lambda x: _at(x, segment), free.states)
    return _at(free.times, segment), state


def _at_first(free: Free) -> Stand:
    """Where neurons stand that have not spiked yet."""
    first = free.first()
    time, state = _start(first, free)
    return Stand(state, Drop.none(state), time, first, jnp.zeros_like(first))


def _next_segment(
    drop: Drop, end: Array, free: Free, segment: Int[Array, " tile"]
) -> Int[Array, " tile"]:
    """The first segment behind a given one that may hold a spike. `drop` is that at the
    end of the given one, at the time `end`."""
    mem = wide(free.neurons.taus.mem)
    # Without `exp`, from exp(-x) >= (1 - x / 8)^8: it is for screening only.
    powers = jnp.maximum(1 - (free.times - end[None]) / (8 * mem), 0.0)
    for _ in range(3):
        powers *= powers
    return free.first(drop.v[None] * powers, segment)


def _select(mask: Array, one, two):
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


def _solve(
    stand: Stand, free: Free
) -> tuple[Bool[Array, " tile"], Array, Flow, Drop, Stand]:
    """Look for a crossing in the segment a neuron stands in.

    Returns whether it spikes, when, the state just before, the drop just after, and where
    the neuron stands then, in the same segment."""
    state, neurons, taus = stand.state, free.neurons, free.neurons.taus
    threshold, v_reset = neurons.v_threshold, neurons.v_reset
    end = _at(free.times, stand.segment + 1)
    found, h = first_crossing(state.v, state.i, end - stand.time, taus, threshold)
    found &= stand.segment < free.times.shape[0] - 1
    h = jnp.where(found, h, 0.0)
    before = propagate(state, Steps.of(h, taus, state.v_by_mem is not None), taus.bias)
    # At the threshold, or above it if it starts there.
    top = jnp.maximum(state.v, threshold)
    before = eqx.tree_at(lambda s: s.v, before, top)
    drop = stand.drop.after(h, taus).add_spike(before, v_reset)
    time = jnp.minimum(stand.time + h, end)
    after = Stand(before.reset(v_reset), drop, time, stand.segment, stand.nth + 1)
    out = found, time, before, drop, _select(found, after, stand)
    return compute_once(out, stand.segment[0] >= 0)


def _may_spike_again(spiked: Stand, free: Free) -> Bool[Array, " tile"]:
    """Whether neurons that have just spiked might do so once more in the window: from
    `v_reset` on, V rises no faster than the largest current makes it."""
    neurons, taus = free.neurons, free.neurons.taus
    part = (free.times[-1] - spiked.time) / taus.mem
    lift = jnp.maximum(free.largest_current + taus.bias - neurons.v_reset, 0.0)
    return neurons.v_reset + part * lift >= neurons.v_threshold


def _move_on(found: Bool[Array, " tile"], on: Stand, free: Free) -> Stand:
    """To where the next spike may be: in the same segment, if one was `found` there; else
    in a later one; else at none."""
    neurons, taus = free.neurons, free.neurons.taus
    end = _at(free.times, on.segment + 1)
    at_end = on.drop.after(end - on.time, taus)
    part = jnp.minimum((end - on.time) / taus.mem, 1.0)
    peak = jnp.minimum(part, neurons.peak)
    bound = upper_bound(on.state.v, on.state.i, part, peak, taus)
    v_end = _at(free.states.v, on.segment + 1) - at_end.v
    again = found & (jnp.maximum(bound, v_end) >= neurons.v_threshold)
    segment = _next_segment(at_end, end, free, on.segment)
    segment, again = compute_once((segment, again), on.segment[0] >= 0)
    start, state = _start(segment, free)
    later = on.drop.after(start - on.time, taus)
    onward = Stand(later.lower(state), later, start, segment, on.nth)
    return _select(again, on, onward)


def _stay(found: Bool[Array, " tile"], on: Stand, free: Free) -> Stand:
    """Where no more spikes are."""
    size = jnp.full_like(on.segment, free.times.shape[0] - 1)
    return Stand(on.state, on.drop, on.time, size, on.nth)


def blank_spike(like: Flow, keep_drop: bool) -> SpikeRecord:
    """For its types."""
    like = jax.tree.map(lambda x: x.reshape(-1), like)
    zeros, count = jnp.zeros_like(like.v), jnp.zeros(like.v.shape, jnp.int32)
    by_tau = None if like.v_by_mem is None else zeros
    drop = Drop.none(like) if keep_drop else None
    return SpikeRecord(zeros, zeros, by_tau, by_tau, drop, *(count,) * 4)


def solve_spikes(
    state: Flow,
    window: Window,
    rows: Float[Array, "more neurons"] | None,
    neurons: Neurons,
    record: Record,
    tile: int,
    keep_drops: bool = False,
) -> tuple[Flow, Record]:
    """All spikes of the window, found exactly.

    Returns the state of all neurons at the window's end, and the record with the spikes
    behind those that are committed. A sample that is given up, see `Record.given_up`, is
    not looked at any more, but for the first spike of each of its neurons if it was not
    given up before: with recurrence spikes that are taken back do not count.
    """
    batch, num = state.v.shape
    pairs, size = batch * num, window.ends.shape[0]
    steps = window_steps(window, neurons.taus, state.v_by_mem is not None)
    tracks, before = Tracks.of(state, window, steps, rows, neurons), record

    def given_up(record, pair):
        if pair.shape[0] == pairs:
            return jnp.repeat(record.given_up, num)
        return record.given_up[pair // num]

    def through(pair, real, record):
        """Of some neurons, in the order of their samples."""
        free = tracks.free(pair)
        stand = _at_first(free)

        def one_round(active, carry):
            stand, record = carry
            found, time, before, drop, new = _solve(stand, free)
            found &= active
            by_tau = before.v_by_mem, before.v_by_syn
            kept = drop if keep_drops else None
            spike = SpikeRecord(
                time, before.i, *by_tau, kept, pair, stand.segment, stand.nth, pair
            )
            record = record.emit(spike, found)
            more = active & (~found | _may_spike_again(new, free))
            new = lax.cond(jnp.any(more), _move_on, _stay, found, new, free)
            stand = _select(active, new, stand)
            active &= (new.segment < size) & (~given_up(record, pair) | (new.nth == 0))
            return active, (stand, record)

        active = real & (stand.segment < size) & ~given_up(before, pair)
        stand, record = rounds(active, one_round, (stand, record))
        time_left = free.times[-1] - stand.time
        left = stand.drop.after(time_left, free.neurons.taus)
        return free, left, stand.nth > 0, record

    # Few neurons: all of them. Many: those that may spike, tile by tile.
    if pairs <= tile:
        everyone = jnp.arange(pairs, dtype=jnp.int32)
        real = jnp.ones(pairs, bool)
        free, left, _, record = through(everyone, real, record)
        end = left.lower(jax.tree.map(lambda x: x[-1], free.states))
    else:
        end, may_spike = advance(state, window, steps, rows, neurons)

        def visit(pair, real, carry):
            end, record = carry
            _, left, any_spike, record = through(pair, real, record)
            return _lower_some(end, left, pair, real & any_spike), record

        end = jax.tree.map(lambda x: x.reshape(-1), end)
        end, record = work_off(may_spike.reshape(-1), tile, visit, (end, record))
    return jax.tree.map(lambda x: x.reshape(batch, num), end), record


def _lower_some(
    state: Flow, drop: Drop, pair: Int[Array, " tile"], mask: Bool[Array, " tile"]
) -> Flow:
    """`Drop.lower` for some neurons."""

    def lower(x, by):
        return x.at[pair].add(jnp.where(mask, -by, 0.0), mode="promise_in_bounds")

    v = lower(state.v, drop.v)
    if drop.by_mem is None:
        return Flow(v, state.i)
    by_mem, by_syn = (
        lower(state.v_by_mem, drop.by_mem),
        lower(state.v_by_syn, drop.by_syn),
    )
    return Flow(v, state.i, by_mem, by_syn, state.i_by_syn)
