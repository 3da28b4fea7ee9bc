"""One window of the exact solver: advance all neurons through a few arrivals at once, as
if none of them spiked, and screen for those that could."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._neuron._lif_flow import Flow, propagate, psp_peak, Steps, Taus, upper_bound
from ._tiles import compute_once


UNROLL = 4  # segments that are worked on in one step where all states are kept


class Window(eqx.Module):
    """The arrivals of a window, `arrivals` of them in each list: segment `j` ends at
    `ends[j]`, and then row `index[j]`, or `currents[j]`, is added to the currents.
    Arrivals come first in all shapes, so that what is next to each other in memory is
    worked on together. There is one lane for each sample, or for each of its neurons."""

    start: Float[Array, "batch lanes"]
    ends: Float[Array, "arrivals batch lanes"]
    there: Bool[Array, "arrivals batch lanes"]  # if not, zeros are added
    index: Int[Array, "arrivals batch"] | None
    currents: Float[Array, "arrivals batch neurons"] | None
    # Where the arrivals are in the problem's list, and in which of its streams
    place: Int[Array, "arrivals batch lanes"] | None = None
    stream: Int[Array, "arrivals batch"] | None = None
    # Which of the next own spikes on their way back arrives, or -1
    own: Int[Array, "arrivals batch"] | None = None

    @property
    def times(self) -> Float[Array, "bounds batch lanes"]:
        """Where the segments start, and where the last one ends."""
        return jnp.concatenate([self.start[None], self.ends])

    @property
    def lengths(self) -> Float[Array, "arrivals batch lanes"]:
        """How long each segment is."""
        return jnp.diff(self.times, axis=0)

    def received(self, rows: Float[Array, "more neurons"] | None) -> Any:
        """What each arrival adds, shape `[arrivals, batch, neurons]`. `rows` are those of
        `Lists`."""
        return self.currents if rows is None else rows[self.index]

    def cut(self, limit: Float[Array, " batch"], no_row: int) -> "Window":
        """The window up to `limit`. `no_row` is the place of the row of zeros."""
        limit = limit[None, :, None]
        there = self.there & (self.ends <= limit)
        ends, index, currents = jnp.minimum(self.ends, limit), self.index, self.currents
        if index is not None:
            index = jnp.where(there[:, :, 0], index, no_row)
        if currents is not None:
            currents = jnp.where(there, currents, 0.0)
        where = self.place, self.stream, self.own
        return Window(self.start, ends, there, index, currents, *where)

    @property
    def given(self) -> Bool[Array, "arrivals batch lanes"]:
        """Which arrivals are there that are not those of own spikes."""
        return (
            self.there if self.own is None else self.there & (self.own < 0)[:, :, None]
        )

    @property
    def num_returned(self) -> Int[Array, " batch"]:
        """How many own spikes arrive."""
        back = self.there[:, :, 0] & (self.own >= 0)
        return jnp.sum(back, axis=0, dtype=jnp.int32)


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


def wide(parameters: PyTree[Array]) -> PyTree[Array]:
    """Parameters with an axis for segments in front."""
    return jax.tree.map(lambda x: x if x.ndim == 0 else x[None], parameters)


def window_steps(window: Window, taus: Taus, by_tau: bool = False) -> Steps:
    """What each segment does, shape `[arrivals, batch, 1 or neurons]`."""
    steps = Steps.of(window.lengths, wide(taus), by_tau)
    if steps.mem.shape[2] == 1:
        return steps
    return compute_once(steps, window.start[0, 0] <= window.ends[-1, 0, 0])


def advance(
    state: Flow,
    window: Window,
    steps: Steps,
    rows: Float[Array, "more neurons"] | None,
    neurons: Neurons,
) -> tuple[Flow, Bool[Array, "batch neurons"] | None]:
    """The state at the window's end without spikes, and which neurons may spike in it.

    Unrolled: XLA makes one loop over the neurons of it, which reads each row once. What
    is between the arrivals is not kept."""
    taus, threshold = neurons.taus, neurons.v_threshold
    received = window.received(rows)
    part = jnp.minimum(window.lengths / wide(taus.mem), 1.0)
    peak = jnp.minimum(part, wide(neurons.peak))
    top = state.v
    for j in range(window.ends.shape[0]):
        if threshold is not None:
            bound = upper_bound(state.v, state.i, part[j], peak[j], taus)
            top = jnp.maximum(top, bound)
        step = jax.tree.map(lambda x: x[j], steps)
        state = propagate(state, step, taus.bias).receive(received[j])
    if threshold is None:
        return state, None
    may_spike = jnp.maximum(top, state.v) >= threshold
    always = window.start[0, 0] <= window.ends[-1, 0, 0]
    return state, compute_once(may_spike, always)


class Free(eqx.Module):
    """How single neurons go through a window if they do not spike."""

    times: Float[Array, "bounds tile"]
    states: Flow  # at the start of each segment and at the end, [bounds, tile]
    i_ends: Float[Array, "arrivals tile"]  # currents just before the arrivals
    neurons: Neurons

    @property
    def largest_current(self) -> Float[Array, " tile"]:
        """A bound: negative currents rise between arrivals, to 0 at most."""
        return jnp.maximum(jnp.max(self.states.i, axis=0), 0.0)

    def first(
        self,
        drop: Float[Array, "bounds tile"] | None = None,
        behind: Int[Array, " tile"] | None = None,
    ) -> Int[Array, " tile"]:
        """The first segment, or the first behind a given one, in which a neuron may spike
        if its voltages are lower by `drop`; else the number of segments."""
        v = self.states.v
        v = v if drop is None else v - drop
        part = jnp.diff(self.times, axis=0) / wide(self.neurons.taus.mem)
        count, first = part.shape[0], jnp.full(v.shape[1:], v.shape[0] - 1, jnp.int32)
        for j in reversed(range(count)):
            may_spike = self._may_spike(v[j], v[j + 1], j, part[j])
            if behind is not None:
                may_spike &= behind < j
            first = jnp.where(may_spike, j, first)
        return first

    def _may_spike(self, v: Array, v_end: Array, j: int, part: Array) -> Array:
        """Whether V may reach the threshold in segment `j`, which is `part` times tau_mem
        long.

        V is largest at one of its ends, unless it falls at the end: then it may have been
        larger before. The slope V' is convex where V'' < 0, which is so all the way if it
        is at the end, as long as I is positive; V is then below what it would be if the
        slope went from its first to its last value along a straight line."""
        neurons, taus = self.neurons, self.neurons.taus
        i, i_end, threshold = self.states.i[j], self.i_ends[j], neurons.v_threshold
        # As far as that can be told: whether it falls, and whether it is high enough, may
        # be a matter of rounding, which the search for the crossing is to decide. Where V
        # rises there is a next segment that decides, too.
        size = jnp.abs(taus.bias) + jnp.abs(threshold)
        eps = float(jnp.finfo(v.dtype).eps) * (size + jnp.abs(v) + jnp.abs(i))
        slack = 16 * eps
        # tau_mem V'
        slope, end_slope = i + taus.bias - v, i_end + taus.bias - v_end
        falls = end_slope <= slack
        near = jnp.minimum(part, 1.0)
        bound = upper_bound(v, i, near, jnp.minimum(near, neurons.peak), taus)
        bends = i_end * (taus.mem / taus.syn) + end_slope > 0
        rise = jnp.maximum(slope, 0.0)
        chord = rise * rise * part / (2 * jnp.maximum(rise - end_slope, slack))
        bound = jnp.where(bends, jnp.minimum(bound, v + chord), bound)
        top = jnp.where(falls, bound, v)
        may_spike = jnp.maximum(top, v) >= threshold - slack
        return may_spike | (v_end >= threshold - 2 * eps)


class Tracks(eqx.Module):
    """What it takes to follow single neurons through a window."""

    window: Window
    start: Flow  # [pairs]
    neurons: Neurons
    rows: Float[Array, "more neurons"] | None
    # For each sample what is the same for all its neurons, if that is so for all steps:
    # times and steps one behind the other
    table: Float[Array, "batch columns"] | None
    num: int = eqx.field(static=True)

    @classmethod
    def of(cls, state: Flow, window: Window, steps: Steps, rows, neurons) -> "Tracks":
        num, table = state.v.shape[1], None
        if steps.mem.shape[2] == 1:
            parts = [window.times, *jax.tree.leaves(steps)]
            table = jnp.concatenate([x[:, :, 0] for x in parts]).T
        flat = jax.tree.map(lambda x: x.reshape(-1), state)
        return cls(window, flat, neurons, rows, table, num)

    def free(self, pair: Int[Array, " tile"]) -> Free:
        """Through the whole window; `pair` counts through [batch, neurons]. If it is as
        many, it is all of them in order."""
        neurons, sample = self.neurons.at(pair, self.num), pair // self.num
        state = jax.tree.map(lambda x: _pick(x, pair), self.start)
        times, steps = self._steps(pair, neurons.taus, state.v_by_mem is not None)
        taus = neurons.taus

        # A loop, not unrolled as a whole: all states in between are kept, and XLA on CPU
        # would compute each of them from the start.
        def segment(state, xs):
            step, current = xs
            new = propagate(state, step, taus.bias)
            return new.receive(current), (state, new.i)

        each = steps, self._currents(pair, sample)
        end, (starts, i_ends) = lax.scan(segment, state, each, unroll=UNROLL)
        states = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), starts, end)
        return Free(times, states, i_ends, neurons)

    def _steps(self, pair: Array, taus: Taus, by_tau: bool) -> tuple[Array, Steps]:
        """When the segments start and end, and what they do."""
        size = self.window.ends.shape[0]
        if self.table is not None:
            columns = self._columns(pair)
            times, rest = columns[: size + 1], columns[size + 1 :]
            parts = rest.reshape(-1, size, pair.shape[0])
            return times, Steps(*parts)
        lanes = self.window.start.shape[1]
        flat = self.window.times.reshape(size + 1, -1).T
        times = _pick(flat, pair // (self.num // lanes)).T
        return times, Steps.of(jnp.diff(times, axis=0), wide(taus), by_tau)

    def _columns(self, pair: Array) -> Float[Array, "columns tile"]:
        """What the table has on the samples of neurons."""
        assert self.table is not None
        if not self._is_everyone(pair):
            return _pick(self.table, pair // self.num).T
        shape = *self.table.T.shape, self.num
        return jnp.broadcast_to(self.table.T[:, :, None], shape).reshape(-1, pair.size)

    def _is_everyone(self, pair: Array) -> bool:
        return pair.shape == self.start.v.shape

    def _currents(self, pair: Array, sample: Array) -> Float[Array, "arrivals tile"]:
        window = self.window
        if self._is_everyone(pair):
            received = window.received(self.rows)
            return received.reshape(received.shape[0], -1)
        if self.rows is None:
            flat = window.currents.reshape(window.ends.shape[0], -1)
            return flat.at[:, pair].get(mode="promise_in_bounds")
        index = _pick(window.index.T, sample).T
        at = self.rows.at[index, (pair % self.num)[None]]
        return at.get(mode="promise_in_bounds")


def _pick(x: Array, place: Int[Array, " tile"]) -> Array:
    return x.at[place].get(mode="promise_in_bounds")
