"""When spikes arrive at a layer, and which are still on their way at the end."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._connection import AbstractConnection, DelayLine
from ._connection._sort import ranks, reorder
from ._network import Layer
from ._solution import LayerState
from ._solver._problem import Streams
from ._spikes import sort_events, Spikes


class Arrivals(eqx.Module):
    """All that arrives at a layer, in lists sorted by time: one for each sample, or, where
    delays are those of single synapses, one for each of its neurons (lanes)."""

    times: Float[Array, "events batch lanes"]  # ms, +inf where empty
    # Of the rows; those of the recurrent connection are behind all others
    index: Int[Array, "events batch lanes"]
    streams: Streams | None = None


def weights(connection: AbstractConnection, dtype: Any) -> Float[Array, "rows out"]:
    """All rows of a connection."""
    index = jnp.arange(connection.copies * connection.in_size, dtype=jnp.int32)
    return connection.rows(index).astype(dtype)


def row_delays(
    connection: AbstractConnection, dtype: Any
) -> Float[Array, "rows lanes"]:
    """The delay of each row in ms, at each neuron or at all."""
    delays = connection.delays()
    delays = jnp.asarray(0.0 if delays is None else delays, dtype)
    if delays.ndim == 2:
        return delays
    rows = connection.copies * connection.in_size
    return jnp.broadcast_to(delays, (rows,))[:, None]


def _arrivals(connection: AbstractConnection, spikes: Spikes) -> Arrivals:
    """Of each copy of each spike, not sorted."""
    copies = connection.copies
    first = jnp.arange(copies, dtype=jnp.int32) * connection.in_size
    index = first[:, None, None] + spikes.sources.T[None]
    index = index.reshape(-1, index.shape[2])
    delays = row_delays(connection, spikes.times.dtype)[index]
    times = jnp.tile(spikes.times.T, (copies, 1))[:, :, None] + delays
    return Arrivals(times, jnp.broadcast_to(index[:, :, None], times.shape))


def _still_to_come(arrivals: Arrivals, t0: Array) -> Arrivals:
    """Without what had arrived by `t0`: a spike may have reached some neurons only."""
    times = jnp.where(arrivals.times > t0, arrivals.times, jnp.inf)
    return Arrivals(times, arrivals.index)


def _merge(parts: list[Arrivals]) -> Arrivals:
    lanes = max(x.times.shape[2] for x in parts)

    def join(get):
        wide = [jnp.broadcast_to(x, (*x.shape[:2], lanes)) for x in map(get, parts)]
        return jnp.concatenate(wide)

    times, index = join(lambda x: x.times), join(lambda x: x.index)
    rank = ranks(times)
    return Arrivals(reorder(times, rank), reorder(index, rank))


def layer_arrivals(
    layer: Layer, spikes: Spikes, state: LayerState, t0: Array
) -> Arrivals:
    """All that arrives from before, and own spikes that were in flight at `t0`."""
    connection, recurrent = layer.connection, layer.recurrent
    own = None
    if recurrent is not None and state.returning is not None:
        own = _still_to_come(_arrivals(recurrent, state.returning), t0)
        index = own.index + connection.copies * connection.in_size
        own = Arrivals(own.times, index)
    if isinstance(connection, DelayLine) and connection.is_plain:
        return _in_streams(connection, spikes, state.arriving, own, t0)
    parts = [_arrivals(connection, spikes)]
    if state.arriving is not None:
        before = _arrivals(connection, state.arriving)
        parts.insert(0, _still_to_come(before, t0))
    if own is not None:
        parts.append(own)
    delays = connection.delays()
    in_order = connection.copies == 1 and (delays is None or jnp.ndim(delays) == 0)
    return parts[0] if in_order and len(parts) == 1 else _merge(parts)


def _in_streams(
    connection: DelayLine,
    spikes: Spikes,
    before: Spikes | None,
    own: Arrivals | None,
    t0: Array,
) -> Arrivals:
    """One stream for each lag of the spikes, and one for own spikes if there are any."""
    dtype, copies = spikes.times.dtype, len(connection.lags)
    lag = jnp.asarray(connection.lags, dtype)
    start = jnp.zeros((spikes.times.shape[0], copies), jnp.int32)
    if before is not None:
        # They were sent before all others, and those that have arrived before those that
        # have not.
        arrived = before.times[:, None] + lag[None, :, None] <= t0
        start = jnp.sum(arrived, axis=2, dtype=jnp.int32)
        spikes = before.merge(spikes)
    stop = jnp.full(copies, spikes.capacity, jnp.int32)
    shift = jnp.arange(copies, dtype=jnp.int32) * connection.in_size
    times, index = spikes.times.T[:, :, None], spikes.sources.T[:, :, None]
    if own is not None:
        own = _merge([own])
        times = jnp.concatenate([times, own.times])
        index = jnp.concatenate([index, own.index])
        start = jnp.pad(start, ((0, 0), (0, 1)), constant_values=spikes.capacity)
        stop = jnp.pad(stop, (0, 1), constant_values=times.shape[0])
        lag, shift = jnp.pad(lag, (0, 1)), jnp.pad(shift, (0, 1))
    return Arrivals(times, index, Streams(start, stop, lag, shift))


def in_flight(
    connection: AbstractConnection,
    spikes: Spikes,
    before: Spikes | None,
    t1: Array,
    room: int,
) -> tuple[Spikes, Bool[Array, " batch"]]:
    """Spikes that arrive somewhere after `t1`, with the times at which they were sent, in
    at most `room` places, and whether they do not fit. `before` were in flight at the
    start."""
    if before is not None:
        spikes = before.merge(spikes)
    delays = row_delays(connection, spikes.times.dtype)
    longest = jnp.max(delays.reshape(connection.copies, connection.in_size, -1), (0, 2))
    late = spikes.times + longest[spikes.sources] > t1
    # Counted here, so that who asks for no final state need not sort.
    count = jnp.sum(late & jnp.isfinite(spikes.times), axis=1, dtype=jnp.int32)
    times, sources = sort_events(jnp.where(late, spikes.times, jnp.inf), spikes.sources)
    there = jnp.isfinite(times)
    return Spikes(times[:, :room], jnp.where(there, sources, 0)[:, :room]), count > room
