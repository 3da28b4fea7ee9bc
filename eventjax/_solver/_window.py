"""One window of the exact solver: advance all neurons through a few arrivals at once,
screen for those that could spike, and solve only these exactly."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._neuron._lif_flow import (
    first_crossing,
    Flow,
    propagate,
    psp_peak,
    Steps,
    Taus,
    upper_bound,
)
from ._work_queue import places, put, Queue, work_off


class Window(eqx.Module):
    """The arrivals of a window, `arrivals` of them for each sample: segment `j` ends at
    `ends[j]`, and then row `index[j]` is added to the currents. Arrivals come first in
    all shapes, so that what is next to each other in memory is worked on together."""

    start: Float[Array, " batch"]
    ends: Float[Array, "arrivals batch"]
    index: Int[Array, "arrivals batch"]  # a place without arrival has the row of zeros


class Neurons(eqx.Module):
    """Parameters of a population, each of shape `[]`, `[1, n]` or `[batch, n]`."""

    taus: Taus
    peak: Array  # largest voltage after one unit of current
    v_threshold: Array | None
    v_reset: Array | None

    @classmethod
    def of(cls, tau_mem, tau_syn, bias, v_threshold, v_reset) -> "Neurons":
        taus = Taus(tau_mem, tau_syn, bias)
        return cls(taus, psp_peak(tau_mem, tau_syn), v_threshold, v_reset)

    def at(self, pair: Int[Array, " tile"], num: int) -> "Neurons":
        """Parameters of single neurons; `pair` counts through [batch, neurons]."""

        def pick(x):
            if x.ndim == 0:
                return x
            return x[0, pair % num] if x.shape[0] == 1 else x.reshape(-1)[pair]

        return jax.tree.map(pick, self)


class Emitted(eqx.Module):
    """Spikes of one window, in the order in which they were found. Entries from `count`
    on are meaningless."""

    pair: Int[Array, " spikes"]
    nth: Int[Array, " spikes"]  # how many spikes of this neuron came before
    time: Float[Array, " spikes"]
    segment: Int[Array, " spikes"]  # arrivals of the window before it
    before: Flow  # the state just before it, [spikes]
    count: Int[Array, ""]

    @classmethod
    def empty(cls, size: int, state: Flow) -> "Emitted":
        ints = jnp.zeros(size, jnp.int32)
        floats = jax.tree.map(lambda x: jnp.zeros(size, x.dtype), state)
        return cls(ints, ints, floats.v, ints, floats, jnp.zeros((), jnp.int32))


def window_steps(window: Window, taus: Taus, by_tau: bool = False) -> Steps:
    """What each segment does, shape `[arrivals, batch, 1 or neurons]`."""
    starts = jnp.concatenate([window.start[None], window.ends[:-1]], axis=0)
    wide = jax.tree.map(lambda x: x if x.ndim == 0 else x[None], taus)
    return Steps.of((window.ends - starts)[:, :, None], wide, by_tau)


def advance(
    state: Flow,
    window: Window,
    steps: Steps,
    rows: Float[Array, "rows neurons"],
    neurons: Neurons,
) -> tuple[Flow, Bool[Array, "batch neurons"]]:
    """The state after the window as if no neuron spiked, and which neurons may."""
    may_spike = jnp.zeros(state.v.shape, bool)
    for j in range(window.ends.shape[0]):
        step = jax.tree.map(lambda x: x[j], steps)
        new = propagate(state, step, neurons.taus.bias)
        if neurons.v_threshold is not None:
            bound = upper_bound(state, step, neurons.taus, neurons.peak)
            may_spike |= jnp.maximum(bound, new.v) >= neurons.v_threshold
        state = new.receive(rows[window.index[j]])
    return state, may_spike


class _Place(eqx.Module):
    """Where a neuron stands within a window."""

    state: Flow
    time: Array
    segment: Int[Array, "*shape"]

    def take(self, pair: Array) -> "_Place":
        return jax.tree.map(lambda x: x[pair], self)

    def write(self, pair: Array, mask: Array, values: "_Place") -> "_Place":
        return jax.tree.map(lambda x, y: put(x, pair, mask, y), self, values)


def _select(mask: Array, one, two):
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


class _View(eqx.Module):
    """What single neurons see of a window."""

    ends: Float[Array, "arrivals tile"]
    currents: Float[Array, "arrivals tile"]
    steps: Steps
    neurons: Neurons


def view_steps(steps: Steps, pair: Int[Array, " tile"], num: int) -> Steps:
    """Of `window_steps`, those of single neurons, shape `[arrivals, tile]`."""

    def pick(x):
        at = pair if x.shape[2] == num else pair // num
        return x.reshape(x.shape[0], -1).at[:, at].get(mode="promise_in_bounds")

    return jax.tree.map(pick, steps)


def _view(
    pair: Int[Array, " tile"],
    window: Window,
    steps: Steps,
    rows: Array,
    neurons: Neurons,
) -> _View:
    num = rows.shape[1]
    sample, neuron = pair // num, pair % num
    # One flat index: a gather by two of them is many times slower on CPU.
    at = window.index[:, sample] * num + neuron[None]
    currents = rows.reshape(-1).at[at].get(mode="promise_in_bounds")

    steps = view_steps(steps, pair, num)
    return _View(window.ends[:, sample], currents, steps, neurons.at(pair, num))


def _take(x: Float[Array, "arrivals tile"], at: Int[Array, " tile"]) -> Array:
    return jnp.take_along_axis(x, at[None], axis=0, mode="clip")[0]


def _walk(place: _Place, view: _View) -> tuple[_Place, Bool[Array, " tile"], Flow]:
    """Go on to the first segment in which a neuron could spike. Returns the place there,
    whether there is one, and the state after the window if it does not spike again."""
    size, neurons = view.ends.shape[0], view.neurons
    at = place.segment

    def segment(j, on, step, current, carry):
        state, stop, stop_at = carry
        new = propagate(state, step, neurons.taus.bias)
        bound = upper_bound(state, step, neurons.taus, neurons.peak)
        hit = jnp.maximum(bound, new.v) >= neurons.v_threshold
        hit &= on & (stop_at == size)
        state, stop = (
            _select(on, new.receive(current), state),
            _select(hit, state, stop),
        )
        return state, stop, jnp.where(hit, j, stop_at)

    # What is left of the segment it stands in, then whole ones.
    on = at < size
    left = jnp.where(on, _take(view.ends, at) - place.time, 0.0)
    step = Steps.of(left, neurons.taus, place.state.v_by_mem is not None)
    carry = place.state, place.state, jnp.full_like(at, size)
    carry = segment(at, on, step, _take(view.currents, at), carry)

    # A loop, not unrolled: XLA would otherwise gather the view anew for each use.
    def whole(j, carry):
        step = jax.tree.map(lambda x: x[j], view.steps)
        return segment(j, at < j, step, view.currents[j], carry)

    one = jnp.ones((), at.dtype)
    state, stop, stop_at = lax.fori_loop(one, size * one, whole, carry)
    time = jnp.where(stop_at > at, _take(view.ends, stop_at - 1), place.time)
    return _Place(stop, time, stop_at), stop_at < size, state


def _solve(place: _Place, view: _View) -> tuple[Array, Array, Flow, _Place]:
    """Look for a crossing in the segment a neuron stands in. Returns whether it spikes,
    when, the state just before, and where it stands then. In segment -1 it is new, and
    spikes only if it is above threshold already."""
    state, neurons = place.state, view.neurons
    new = place.segment < 0
    at = jnp.maximum(place.segment, 0)
    end = _take(view.ends, at)
    dt = jnp.where(new, 0.0, end - place.time)
    found, h = first_crossing(state.v, state.i, dt, neurons.taus, neurons.v_threshold)
    by_tau = state.v_by_mem is not None
    steps = Steps.of(jnp.where(found, h, dt), neurons.taus, by_tau)
    before = propagate(state, steps, neurons.taus.bias)
    stop = jnp.where(new, place.time, end)
    time = jnp.where(found, jnp.minimum(place.time + h, stop), stop)
    current = jnp.where(new, 0.0, _take(view.currents, at))
    after = _select(found, before.reset(neurons.v_reset), before.receive(current))
    segment = jnp.where(found | new, at, at + 1)
    return found, time, before, _Place(after, time, segment)


def state_after(
    time: Array,
    segment: Array,
    before: Flow,
    pair: Array,
    window: Window,
    steps: Steps,
    rows: Float[Array, "rows neurons"],
    neurons: Neurons,
) -> Flow:
    """The state at the end of the window of neurons whose last spike is given."""
    view = _view(pair, window, steps, rows, neurons)
    place = _Place(before.reset(view.neurons.v_reset), time, segment)
    return _walk(place, view)[2]


def solve_spikes(
    state: Flow,
    may_spike: Bool[Array, "batch neurons"],
    window: Window,
    steps: Steps,
    rows: Float[Array, "rows neurons"],
    neurons: Neurons,
    room: int,
    tile: int,
) -> tuple[Emitted, Int[Array, "batch neurons"], Flow, Bool[Array, "batch neurons"]]:
    """All spikes of the window, found exactly.

    Returns the spikes, their number for each neuron, and for those neurons the state
    after the window and that it is to be used. A sample with more than `room` spikes is
    given up: what it then holds is no use, only that there are too many.
    """
    batch, num = state.v.shape

    def look(pair):
        return _view(pair, window, steps, rows, neurons)

    def visit(pair, real, carry):
        stands, after, count, in_sample, emitted = carry
        view = look(pair)
        place = stands.take(pair)
        segment = jnp.maximum(place.segment, 0)
        found, time, before, place = _solve(place, view)
        found &= real
        at, new = places(found)
        at += emitted.count
        nth = count[pair]

        def add(array, values):
            return put(array, at, found, values)

        emitted = Emitted(
            add(emitted.pair, pair),
            add(emitted.nth, nth),
            add(emitted.time, time),
            add(emitted.segment, segment),
            jax.tree.map(add, emitted.before, before),
            emitted.count + new,
        )
        count = put(count, pair, found, nth + 1)
        in_sample = in_sample.at[pair // num].add(found.astype(jnp.int32))
        place, again, end = _walk(place, view)
        again &= in_sample[pair // num] <= room
        stands = stands.write(pair, real, place)
        after = jax.tree.map(lambda x, y: put(x, pair, real & ~again, y), after, end)
        return (stands, after, count, in_sample, emitted), again

    flat = jax.tree.map(lambda x: x.reshape(-1), state)
    new = jnp.full(batch * num, -1, jnp.int32)
    stands = _Place(flat, jnp.repeat(window.start, num), new)
    count = jnp.zeros(batch * num, jnp.int32)
    emitted = Emitted.empty(batch * (room + num), state)
    in_sample = jnp.zeros(batch, jnp.int32)
    carry = (stands, flat, count, in_sample, emitted)
    _, after, count, _, emitted = work_off(
        Queue.of(may_spike.reshape(-1), tile), tile, visit, carry
    )

    def shape(x):
        return x.reshape(batch, num)

    return emitted, shape(count), jax.tree.map(shape, after), shape(count > 0)
