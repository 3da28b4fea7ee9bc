"""The spikes of a run, recorded as the windows emit them, and the log of the windows."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow
from ._problem import LayerProblem
from ._rows import Rows
from ._spiking import Emitted
from ._work_queue import put


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


class Record(eqx.Module):
    """All spikes so far."""

    num_spikes: Int[Array, " batch"]
    spikes: Rows  # of SpikeRecord, [batch * capacity]; a neuron's own in sequence
    last: Int[Array, "batch neurons"]  # place of each neuron's last spike, or -1
    # Arrivals of the layer's own spikes that are still to come: place of the spike times
    # their number for each, plus which of these
    pending: Float[Array, "batch returns"] | None

    @classmethod
    def empty(cls, problem: LayerProblem, capacity: int, by_tau: bool) -> "Record":
        batch, num = problem.v.shape
        places, dtype = batch * capacity, problem.v.dtype
        ints, floats = jnp.zeros(places, jnp.int32), jnp.zeros(places, dtype)
        by = floats if by_tau else None
        spike = SpikeRecord(floats + jnp.inf, ints, ints, ints, floats, by, by)
        pending = None
        if problem.recurrent is not None:
            returns = capacity * problem.recurrent.shape[0]
            pending = jnp.full((batch, returns), jnp.inf, dtype)
        return cls(
            jnp.zeros(batch, jnp.int32),
            Rows.of(spike),
            jnp.full((batch, num), -1, jnp.int32),
            pending,
        )

    @property
    def capacity(self) -> int:
        return self.spikes.floats.shape[0] // self.num_spikes.shape[0]


class Log(eqx.Module):
    """One line for each window. Where windows have numbers they need no more for
    themselves, and only with recurrence do they end before their last arrival."""

    num_spikes: Int[Array, "*windows batch"]  # spikes before the window
    start: Float[Array, "*windows batch"] | None
    end: Float[Array, "*windows batch"] | None
    taken: Int[Array, "*windows batch lists"] | None  # arrivals of the window
    # Which of the pending arrivals came at its end, or -1
    returned: Int[Array, "*windows batch"] | None

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
    last: Int[Array, "batch neurons"]
    final: Flow
    position: Int[Array, "batch lists"] | None  # behind the last arrivals
    order: Int[Array, "batch capacity"]  # place in the sorted list of each spike


def _exclusive_sums(x: Int[Array, "batch neurons"]) -> Int[Array, "batch neurons"]:
    """Cumulative sums along the rows, by doubling; faster than `jnp.cumsum` on CPU."""
    total, reach = x, 1
    while reach < x.shape[1]:
        total += jnp.pad(total[:, :-reach], ((0, 0), (reach, 0)))
        reach *= 2
    return total - x


def over_tiles(emitted: Emitted, tile: int, body: Callable, init: Any) -> Any:
    """Fold `body(real, pair, spike, carry)` over the spikes."""

    def step(k, carry):
        at = k * tile
        pair, spike = emitted.rows.slice(at, tile)
        real = at + jnp.arange(tile, dtype=jnp.int32) < emitted.count
        return body(real, pair, spike, carry)

    return lax.fori_loop(0, -(-emitted.count // tile), step, init)


def add_spikes(
    record: Record,
    emitted: Emitted,
    count: Int[Array, "batch neurons"],
    tile: int,
    until: Float[Array, " batch"] | None = None,
    delay: Float[Array, "copies neurons"] | None = None,
) -> Record:
    """Write the spikes of a window (those not after `until`) behind those before, a
    neuron's own in sequence. `count` is their number for each neuron, `delay` that of the
    recurrent connection."""
    batch, num = count.shape
    capacity = record.capacity
    offset = record.num_spikes[:, None] + _exclusive_sums(count)
    places = Rows.of((offset.reshape(-1), record.last.reshape(-1)))

    def write(real, pair, spike, arrays):
        spikes, pending = arrays
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
        spikes = spikes.put(flat, real, new)
        if pending is not None:
            arrivals = (spike.time[None] + delay[:, source]).T
            pending = put(pending, flat, real, arrivals)
        return spikes, pending

    pending = record.pending
    if pending is not None:
        pending = pending.reshape(batch * capacity, -1)
    arrays = record.spikes, pending
    spikes, pending = over_tiles(emitted, tile, write, arrays)
    if pending is not None:
        pending = pending.reshape(batch, -1)
    last = jnp.where(count > 0, offset + count - 1, record.last)
    # A sample whose spikes do not fit is given up; its places must stay in range.
    last = jnp.minimum(last, capacity - 1)
    num_spikes = record.num_spikes + jnp.sum(count, axis=1, dtype=jnp.int32)
    return Record(num_spikes, spikes, last, pending)
