r"""The spikes of one window, found exactly.

A spike at $t_k$ lowers the voltage by $V - V_{reset}$, and this drop decays with the
membrane; the current goes on as it would. So at the start of each later segment the
voltage is that without spikes less the neuron's drop, and which segment may hold its next
spike is seen from all of them at once.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._neuron._lif_crossing import first_crossing
from .._neuron._lif_flow import Flow, propagate, Steps, Taus, upper_bound
from ._rows import Rows
from ._window import Free, Neurons, wide, Window
from ._work_queue import compute_once, places, Queue, rounds, work_off


class Drop(eqx.Module):
    """How far a neuron's spikes have lowered its voltage, and, where gradients of time
    constants are wanted, by how much the derivatives of `Flow` are lower for it."""

    v: Array
    by_mem: Array | None
    by_syn: Array | None

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


class Spike(eqx.Module):
    """One spike each of some neurons."""

    time: Array
    segment: Int[Array, "*shape"]  # arrivals of the window before it
    nth: Int[Array, "*shape"]  # spikes of this neuron in the window before it
    i: Array  # just before it, and so the next two
    v_by_mem: Array | None
    v_by_syn: Array | None
    drop: Drop | None  # just after it, where it is wanted


class Emitted(eqx.Module):
    """Spikes of one window, in the order in which they were found. Entries from `count`
    on are meaningless."""

    rows: Rows  # of (pair, Spike)
    count: Int[Array, ""]

    def add(self, pair: Array, found: Array, spike: Spike) -> "Emitted":
        at, new = places(found)
        rows = self.rows.put(at + self.count, found, (pair, spike))
        return Emitted(rows, self.count + new)


class _View(eqx.Module):
    """What single neurons see of a window."""

    times: Float[Array, "bounds tile"]
    free: Flow  # [bounds, tile]
    neurons: Neurons


def _at(x: Float[Array, "arrivals tile"], place: Int[Array, " tile"]) -> Array:
    return jnp.take_along_axis(x, place[None], axis=0, mode="clip")[0]


def _start(segment: Int[Array, " tile"], view: _View) -> tuple[Array, Flow]:
    """When a segment starts, and the state there without spikes."""
    free = jax.tree.map(lambda x: _at(x, segment), view.free)
    return _at(view.times, segment), free


def _next_segment(
    drop: Drop, end: Array, view: _View, segment: Int[Array, " tile"]
) -> Int[Array, " tile"]:
    """The first segment behind a given one that may hold a spike. `drop` is that at the
    end of the given one, at the time `end`."""
    neurons, taus = view.neurons, view.neurons.taus
    times, free, size = view.times, view.free, view.times.shape[0] - 1
    # Without `exp`, from exp(-x) >= (1 - x / 8)^8: it is for screening only.
    powers = jnp.maximum(1 - (times - end[None]) / (8 * wide(taus.mem)), 0.0)
    for _ in range(3):
        powers *= powers
    v = free.v - drop.v[None] * powers
    part = jnp.diff(times, axis=0) / wide(taus.mem)
    first = jnp.full_like(segment, size)
    for j in reversed(range(1, size)):
        bound = upper_bound(v[j], free.i[j], part[j], taus, neurons.peak)
        may_spike = jnp.maximum(bound, v[j + 1]) >= neurons.v_threshold
        first = jnp.where(may_spike & (segment < j), j, first)
    return first


def _select(mask: Array, one, two):
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


def _solve(
    stand: Stand, view: _View
) -> tuple[Bool[Array, " tile"], Array, Flow, Drop, Stand]:
    """Look for a crossing in the segment a neuron stands in, and for where to look next.

    Returns whether it spikes, when, the state just before, the drop just after, and
    where the neuron stands then."""
    state, neurons, taus = stand.state, view.neurons, view.neurons.taus
    threshold, v_reset = neurons.v_threshold, neurons.v_reset
    end = _at(view.times, stand.segment + 1)
    dt = end - stand.time
    found, h = first_crossing(state.v, state.i, dt, taus, threshold)
    h = jnp.where(found, h, 0.0)
    before = propagate(state, Steps.of(h, taus, state.v_by_mem is not None), taus.bias)
    # At the threshold, or above it if it starts there.
    top = jnp.maximum(state.v, threshold)
    before = eqx.tree_at(lambda s: s.v, before, top)
    drop = stand.drop.after(h, taus).add_spike(before, v_reset)
    time = jnp.minimum(stand.time + h, end)
    after = Stand(before.reset(v_reset), drop, time, stand.segment)

    # It may spike once more in this segment; else in a later one; else at none.
    on = _select(found, after, stand)
    at_end = on.drop.after(end - on.time, taus)
    part = (end - time) / taus.mem
    bound = upper_bound(after.state.v, before.i, part, taus, neurons.peak)
    v_end = _at(view.free.v, stand.segment + 1) - at_end.v
    again = found & (jnp.maximum(bound, v_end) >= threshold)
    segment = _next_segment(at_end, end, view, stand.segment)
    always = stand.segment[0] >= 0
    segment, again = compute_once((segment, again), always)
    start, free = _start(segment, view)
    later = on.drop.after(start - on.time, taus)
    onward = Stand(later.lower(free), later, start, segment)
    out = found, time, before, drop, _select(again, after, onward)
    return compute_once(out, always)


def solve_spikes(
    free: Free,
    window: Window,
    neurons: Neurons,
    room: int,
    tile: int,
    keep_drop: bool = False,
) -> tuple[Emitted, Int[Array, "batch neurons"], Flow]:
    """All spikes of the window, found exactly.

    Returns the spikes, their number for each neuron, and the state of all neurons at the
    window's end. A sample with more than `room` spikes is given up: what it then holds is
    no use, only that there are too many. With `keep_drop` the spikes hold what
    `state_after` needs.
    """
    batch, pairs = window.start.shape[0], free.first.shape[0]
    num, size = pairs // batch, window.ends.shape[0]
    everyone = jnp.arange(pairs, dtype=jnp.int32)
    bounds = jnp.broadcast_to(window.times, (size + 1, batch, num))
    whole = _View(
        bounds.reshape(size + 1, pairs), free.states, neurons.at(everyone, num)
    )
    time, state = _start(free.first, whole)
    zeros = jnp.zeros_like(state.v)
    by_tau = None if state.v_by_mem is None else zeros
    stand = Stand(state, Drop(zeros, by_tau, by_tau), time, free.first)

    def solve(stand, nth, view):
        found, time, before, drop, new = _solve(stand, view)
        by_tau = before.v_by_mem, before.v_by_syn
        kept = drop if keep_drop else None
        return found, Spike(time, stand.segment, nth, before.i, *by_tau, kept), new

    def spread(mask, pair, in_sample):
        """More may come, if the sample has not been given up."""
        return mask & (in_sample[pair // num] <= room)

    # Few neurons: all of them in each round. Many: those that may spike, tile by tile.
    nth, in_sample = jnp.zeros_like(everyone), jnp.zeros(batch, jnp.int32)
    spike = jax.eval_shape(solve, stand, nth, whole)[1]
    rows = Rows.empty(-(-batch * (room + num) // tile) * tile, (everyone, spike))
    emitted = Emitted(rows, jnp.zeros((), jnp.int32))
    if pairs <= tile:

        def one_round(active, carry):
            stand, nth, in_sample, emitted = carry
            found, spike, new = solve(stand, nth, whole)
            found &= active
            emitted = emitted.add(everyone, found, spike)
            ones = found.astype(jnp.int32)
            in_sample += jnp.sum(ones.reshape(batch, num), axis=1, dtype=jnp.int32)
            stand = _select(active, new, stand)
            more = spread(stand.segment < size, everyone, in_sample)
            return more, (stand, nth + ones, in_sample, emitted)

        carry = (stand, nth, in_sample, emitted)
        carry = rounds(free.first < size, one_round, carry)
        stand, nth, _, emitted = carry
    else:
        lanes = window.start.shape[1]
        times = window.times.reshape(size + 1, batch * lanes).T

        def visit(pair, real, carry):
            stands, in_sample, emitted = carry
            pick = lambda x: x.at[:, pair].get(mode="promise_in_bounds")
            lane = pair // (num // lanes)
            seen = times.at[lane].get(mode="promise_in_bounds").T
            view = _View(seen, jax.tree.map(pick, free.states), neurons.at(pair, num))
            stand, nth = stands.take(pair)
            found, spike, stand = solve(stand, nth, view)
            found &= real
            emitted = emitted.add(pair, found, spike)
            ones = found.astype(jnp.int32)
            in_sample = in_sample.at[pair // num].add(ones)
            stands = stands.put(pair, real, (stand, nth + ones))
            more = spread(stand.segment < size, pair, in_sample)
            return (stands, in_sample, emitted), more

        queue = Queue.of(free.first < size, tile)
        carry = (Rows.of((stand, nth)), in_sample, emitted)
        stands, _, emitted = work_off(queue, tile, visit, carry)
        stand, nth = stands.tree()

    shape = lambda x: x.reshape(batch, num)
    return emitted, shape(nth), jax.tree.map(shape, stand.state)


def state_after(free: Flow, time: Array, drop: Drop, end: Array, taus: Taus) -> Flow:
    """The state at `end` of neurons whose last spike is given; `free` is that there
    without any spike in the window."""
    return drop.after(end - time, taus).lower(free)
