"""What every way of solving a LIF layer is given, and what it gives back."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._connection._sort import ranks, reorder


class Streams(eqx.Module):
    """Several ways to read one list of events: in each, those of the places from `start`
    to `stop` arrive `lag` ms later, and their rows are `shift` further on."""

    start: Int[Array, "batch streams"]
    stop: Int[Array, " streams"]
    lag: Float[Array, " streams"]
    shift: Int[Array, " streams"]

    def __len__(self) -> int:
        return self.lag.shape[0]


class LayerProblem(eqx.Module):
    """A layer of LIF neurons and all that arrives at it, in arrays of one float type.

    Neuron parameters have shape `[]` (the same for all), `[1, neurons]` or
    `[batch, neurons]`. `recurrent` and `recurrent_delay` are both `None` or both there.

    Arrivals are in lists sorted by time. Either a sample has one list (one *lane*), and an
    arrival of row `k` adds `rows[k]` to the currents; or each neuron has a list (a lane) of
    its own, and in that of neuron `n` it adds `rows[k, n]` to its current only. With
    `streams` (one lane only) an event arrives once in each of them that it is part of;
    then what is ascending are the times of each.
    """

    rows: Float[Array, "rows neurons"]
    # A spike of n comes back as copies c, `recurrent_delay[c, n]` ms later (>= 0), and adds
    # `recurrent[c, n]`.
    recurrent: Float[Array, "copies neurons neurons"] | None
    recurrent_delay: Float[Array, "copies neurons"] | None
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array | None  # None: these neurons never spike
    v_reset: Array | None
    bias: Array
    v: Float[Array, "batch neurons"]  # state at t0
    i: Float[Array, "batch neurons"]
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, "events batch lanes"]  # ascending, +inf where empty
    index: Int[Array, "events batch lanes"]  # the row of each arrival
    streams: Streams | None = None

    @property
    def own_lists(self) -> bool:
        """Whether each neuron has a list of its own."""
        return self.times.shape[2] > 1

    @property
    def received(self) -> Float[Array, "events batch neurons"]:
        """What each arrival adds to the current of each neuron in whose list it is."""
        if not self.own_lists:
            return self.rows[self.index[:, :, 0]]
        neuron = jnp.arange(self.rows.shape[1], dtype=jnp.int32)
        return self.rows[self.index, neuron[None, None]]


def spread_out(
    times: Float[Array, "events batch 1"],
    index: Int[Array, "events batch 1"],
    streams: Streams,
) -> tuple[Array, Array]:
    """Times and index of all that arrives in streams, in one list, not sorted."""
    place = jnp.arange(times.shape[0], dtype=jnp.int32)[None, :, None]
    there = (place >= streams.start.T[:, None]) & (place < streams.stop[:, None, None])
    arrival = times[:, :, 0][None] + streams.lag[:, None, None]
    index = index[:, :, 0][None] + streams.shift[:, None, None]
    flat = lambda x: x.reshape(-1, times.shape[1])[:, :, None]
    return flat(jnp.where(there, arrival, jnp.inf)), flat(index)


def unroll(
    times: Float[Array, "events batch 1"],
    index: Int[Array, "events batch 1"],
    streams: Streams,
) -> tuple[Array, Array]:
    """Times and index of all that arrives in streams, in one list, sorted."""
    arrival, index = spread_out(times, index, streams)
    rank = ranks(arrival)
    return reorder(arrival, rank), reorder(index, rank)


def without_streams(problem: LayerProblem, in_order: bool = True) -> LayerProblem:
    """The same problem with a longer list instead, sorted if it is to be `in_order`."""
    if problem.streams is None:
        return problem
    change = unroll if in_order else spread_out
    times, index = change(problem.times, problem.index, problem.streams)
    return eqx.tree_at(
        lambda p: (p.times, p.index, p.streams), problem, (times, index, None)
    )


def one_list(
    rows: Float[Array, "rows neurons"],
    times: Float[Array, "events batch lanes"],
    index: Int[Array, "events batch lanes"],
    streams: Streams | None,
) -> tuple[Array, Array, Array]:
    """Rows, times and index of the same arrivals in one list for each sample, shape
    `[all, batch]`, for whoever takes one event at a time: each arrival at a single neuron
    becomes one with a row of its own."""
    if streams is not None:
        times, index = unroll(times, index, streams)
    _, batch, lanes = times.shape
    if lanes == 1:
        return rows, times[:, :, 0], index[:, :, 0]
    neuron = jnp.arange(lanes, dtype=jnp.int32)
    index = index * lanes + neuron[None, None]
    # Row k * neurons + n is that of source k at neuron n, zero elsewhere.
    rows = rows[:, :, None] * jnp.eye(lanes, dtype=rows.dtype)[None]
    flat = lambda x: jnp.moveaxis(x, 2, 1).reshape(-1, batch, 1)
    times, index = flat(times), flat(index)
    rank = ranks(times)
    times, index = reorder(times, rank), reorder(index, rank)
    return rows.reshape(-1, lanes), times[:, :, 0], index[:, :, 0]


class LayerRun(eqx.Module):
    """What the neurons did. Spikes of `(t0, t1]` sorted by time within each sample, empty
    places `+inf` and source 0. If `num_spikes` exceeds the capacity the lists hold some
    of the spikes only, and the run is to be thrown away."""

    times: Float[Array, "batch capacity"]
    sources: Int[Array, "batch capacity"]
    num_spikes: Int[Array, " batch"]
    v: Float[Array, "batch neurons"]  # state at t1
    i: Float[Array, "batch neurons"]
    num_clipped: Int[Array, " batch"] | None = None  # spikes whose jump is bounded
    # V' just before each spike, per ms; without gradient, 0 in empty places
    slopes: Float[Array, "batch capacity"] | None = None
