"""The spikes of a run in the order in which the windows emit them, and the log of the
windows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._neuron._lif_flow import Flow
from ._problem import LayerProblem
from ._rows import Rows
from ._tiles import places
from ._window import Neurons


class SpikeRecord(eqx.Module):
    """A spike, and what its jump needs."""

    time: Float[Array, "*shape"]
    # The state just before
    i: Float[Array, "*shape"]
    v_by_mem: Float[Array, "*shape"] | None
    v_by_syn: Float[Array, "*shape"] | None
    drop: PyTree | None  # `Drop` just after, where it is wanted
    pair: Int[Array, "*shape"]  # counts through [batch, neurons]
    segment: Int[Array, "*shape"]  # arrivals of its window before it
    nth: Int[Array, "*shape"]  # spikes of this neuron in its window before it
    slot: Int[Array, "*shape"]  # spikes of this sample before it, in no certain order


class Record(eqx.Module):
    """All spikes so far, of all samples together; a neuron's own in sequence."""

    spikes: Rows  # of SpikeRecord, [places]
    count: Int[Array, ""]
    num_spikes: Int[Array, " batch"]
    rounds: Int[Array, ""]  # most spikes of one neuron in this window
    room: int = eqx.field(static=True)
    num: int = eqx.field(static=True)  # neurons

    @classmethod
    def empty(
        cls, problem: LayerProblem, room: int, tile: int, spike: SpikeRecord
    ) -> "Record":
        """For `room` spikes of each sample, of types like this one. A sample is given up
        when it has more; until that is seen each of its neurons may have emitted one."""
        batch, num = problem.v.shape
        zero = jnp.zeros((), jnp.int32)
        rows = Rows.empty(batch * (room + num) + tile, spike)
        return cls(rows, zero, jnp.zeros(batch, jnp.int32), zero, room, num)

    @property
    def given_up(self) -> Bool[Array, " batch"]:
        """Samples whose spikes do not fit."""
        return self.num_spikes > self.room

    def next_window(self) -> "Record":
        """The same before a window."""
        return eqx.tree_at(lambda r: r.rounds, self, jnp.zeros_like(self.rounds))

    def emit(self, spike: SpikeRecord, found: Bool[Array, " tile"]) -> "Record":
        """Spikes of different neurons, which must be in the order of their samples."""
        place, new = places(found)
        batch, ones = self.num_spikes.shape[0], found.astype(jnp.int32)
        if found.shape[0] == batch * self.num:  # all there are
            each = jnp.sum(ones.reshape(batch, -1), axis=1, dtype=jnp.int32)
            before = self.num_spikes - (jnp.cumsum(each) - each)
            before = jnp.repeat(before, self.num)
        else:
            sample = spike.pair // self.num
            each = jnp.zeros(batch, jnp.int32).at[sample].add(ones)
            before = (self.num_spikes - (jnp.cumsum(each) - each))[sample]
        spike = eqx.tree_at(lambda s: s.slot, spike, before + place)
        return Record(
            self.spikes.put(self.count + place, found, spike),
            self.count + new,
            self.num_spikes + each,
            jnp.maximum(self.rounds, jnp.max(ones * (spike.nth + 1))),
            self.room,
            self.num,
        )

    def by_slot(self, capacity: int) -> Float[Array, "batch capacity"]:
        """Times of each sample's spikes, +inf where there is none."""
        spikes, batch = self.spikes.tree(), self.num_spikes.shape[0]
        times = jnp.full((batch, capacity), jnp.inf, spikes.time.dtype)
        return self._put(times, spikes, spikes.slot, spikes.time)

    def _put(
        self, into: Array, spikes: SpikeRecord, place: Array, value: Array
    ) -> Array:
        there = jnp.arange(place.shape[0], dtype=jnp.int32) < self.count
        place = jnp.where(there, place, into.shape[1])
        return into.at[spikes.pair // self.num, place].set(
            value, mode="drop", unique_indices=True
        )

    def in_order(
        self, order: Int[Array, "batch capacity"], neurons: Neurons
    ) -> tuple[Array, Array, Array, Array]:
        """Times, sources and slopes V' of each sample in lists, `order` being the place of
        each slot in them; and that of each spike."""
        spikes, (batch, capacity) = self.spikes.tree(), order.shape
        sample = spikes.pair // self.num
        fits = spikes.slot < capacity
        slot = jnp.minimum(spikes.slot, capacity - 1)
        place = jnp.where(fits, order[sample, slot], capacity)
        times = jnp.full((batch, capacity), jnp.inf, spikes.time.dtype)
        sources = jnp.zeros((batch, capacity), jnp.int32)
        times = self._put(times, spikes, place, spikes.time)
        sources = self._put(sources, spikes, place, spikes.pair % self.num)
        here = neurons.at(spikes.pair, self.num)
        rise = (spikes.i + here.taus.bias - here.v_threshold) / here.taus.mem
        slopes = self._put(jnp.zeros_like(times), spikes, place, rise)
        return times, sources, slopes, place


class Log(eqx.Module):
    """One line for each window. Where windows have numbers they need no more for
    themselves, and only with recurrence do they end before their last arrival."""

    num_spikes: Int[Array, "*windows batch"]  # spikes before the window
    first: Int[Array, "*windows"]  # place in the record of its first spike
    rounds: Int[Array, "*windows"]  # most spikes of one neuron
    start: Float[Array, "*windows batch"] | None
    end: Float[Array, "*windows batch"] | None
    taken: Int[Array, "*windows batch lists"] | None  # arrivals of the window
    returned: Int[Array, "*windows batch"] | None  # and those of own spikes

    @classmethod
    def empty(cls, windows: int, line: "Log") -> "Log":
        """Room for lines like this one."""
        return jax.tree.map(lambda x: jnp.zeros((windows, *x.shape), x.dtype), line)

    def write(self, n: Int[Array, ""], line: "Log") -> "Log":
        return jax.tree.map(lambda x, y: x.at[n].set(y), self, line)


class Trace(eqx.Module):
    """All that the reverse pass needs. It grows with spikes and windows, not with time."""

    log: Log
    num_windows: Int[Array, ""]
    spikes: Rows  # as in `Record`
    count: Int[Array, ""]
    place: Int[Array, " places"]  # in the sorted list of the sample
    final: Flow
    position: Int[Array, "batch lists"] | None  # behind the last arrivals
    returns: Any  # of own spikes, `Returns`, or `None`

    def crossings(self, problem: LayerProblem) -> tuple[Array, Array, Array]:
        """Of each place for a spike: whose, counting through [batch, neurons], the current
        at it, and whether there is one."""
        spikes = self.spikes.tree()
        there = jnp.arange(spikes.time.shape[0], dtype=jnp.int32) < self.count
        return spikes.pair, spikes.i, there
