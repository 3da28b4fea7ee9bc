"""Sorting many lists at once that are nearly in order, as those of delayed spikes are."""

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


TILE = 128  # lists that are worked on together: they should stay in a fast cache
LONG = 512  # a displacement from which on sorting is faster than counting, on CPU


def _displacement(times: Float[Array, "events batch lanes"]) -> Int[Array, ""]:
    """How many places apart two events can be at most that are not in order; no more than
    `LONG + 1`. All lanes of a sample are taken together."""
    low = lax.cummin(jnp.min(times, axis=2), axis=0, reverse=True)
    high = lax.cummax(jnp.max(times, axis=2), axis=0)
    low = jnp.concatenate([low, jnp.full_like(low, jnp.inf)])

    def disordered(k):
        later = lax.dynamic_slice_in_dim(low, k, len(high))
        return jnp.any(later < high) & (k <= LONG + 1)

    first = jnp.ones((), jnp.int32)
    return lax.while_loop(disordered, lambda k: k + 1, first) - 1


def _by_counting(
    times: Float[Array, "events lists"], displacement: Int[Array, ""]
) -> Int[Array, "events lists"]:
    """Each event moves back by one for each before it that is later, and the reverse. Many
    times faster than XLA's sort on CPU where events are not far from their places."""
    events, lists = times.shape
    place = jnp.arange(events, dtype=jnp.int32)[:, None]

    def of_tile(times):
        fill = jnp.full_like(times, jnp.inf)
        padded = jnp.concatenate([-fill, times, fill])

        def pairs(k, rank):
            later = lax.dynamic_slice_in_dim(padded, events + k, events)
            earlier = lax.dynamic_slice_in_dim(padded, events - k, events)
            back, on = (later < times), (times < earlier)
            return rank + back.astype(jnp.int32) - on.astype(jnp.int32)

        start = jnp.broadcast_to(place, times.shape)
        return lax.fori_loop(1, displacement + 1, pairs, start)

    tile = min(TILE, lists)
    tiles = jnp.pad(times, ((0, 0), (0, -lists % tile))).reshape(events, -1, tile)
    rank = lax.map(of_tile, jnp.moveaxis(tiles, 1, 0))
    return jnp.moveaxis(rank, 0, 1).reshape(events, -1)[:, :lists]


def _by_sorting(times: Float[Array, "events lists"]) -> Int[Array, "events lists"]:
    order = jnp.argsort(times, axis=0, stable=True).astype(jnp.int32)
    places = jnp.arange(len(order), dtype=jnp.int32)[:, None]
    places = jnp.broadcast_to(places, order.shape)
    return jnp.put_along_axis(order, order, places, axis=0, inplace=False)


def _on_cpu(times: Float[Array, "events batch lanes"]) -> Int[Array, "events lists"]:
    flat, displacement = times.reshape(len(times), -1), _displacement(times)
    if len(times) <= LONG:
        return _by_counting(flat, displacement)
    return lax.cond(
        displacement <= LONG,
        lambda: _by_counting(flat, displacement),
        lambda: _by_sorting(flat),
    )


def ranks(
    times: Float[Array, "events batch lanes"],
) -> Int[Array, "events batch lanes"]:
    """The place of each event in its list (along the first axis) sorted by time; ties
    keep their order. No gradient reaches `times`."""
    rank = lax.platform_dependent(
        lax.stop_gradient(times),
        cpu=_on_cpu,
        default=lambda x: _by_sorting(x.reshape(len(x), -1)),
    )
    return rank.reshape(times.shape)


def reorder(x: Array, rank: Int[Array, "events batch lanes"]) -> Array:
    """Lists with every entry at its place. A scatter, so that the reverse pass is a
    gather."""
    size = rank[0].size
    at = rank.reshape(-1, size) * size + jnp.arange(size, dtype=jnp.int32)[None]
    new = jnp.zeros(x.size, x.dtype).at[at.reshape(-1)]
    new = new.set(x.reshape(-1), unique_indices=True, mode="promise_in_bounds")
    return new.reshape(x.shape)
