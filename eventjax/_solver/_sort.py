"""Spikes of a run in the order of their times.

A run finds its spikes window by window, so that only those of one window can be out of
order. On CPU, counting how many of them come before a spike is several times faster than a
sort; elsewhere a sort is.
"""

import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


ROWS = 64  # spikes that are compared with others together
OTHERS = 16  # how many others, in one step
TOO_WIDE = 2048  # spikes in one window, above which a sort is faster on CPU, too


def sorted_places(
    times: Float[Array, "batch capacity"],
    count: Int[Array, " batch"],
    before: Int[Array, "windows batch"],
) -> Int[Array, "batch capacity"]:
    """The place of each spike in the sorted list of its sample.

    **Arguments:**

    - `times`: ascending from window to window, in any order within one, +inf behind the
        last. Spikes at one time keep their order.
    - `count`: spikes of each sample.
    - `before`: spikes in all windows before a window; zero for windows that were not.
    """
    return lax.platform_dependent(
        times, count, before, cpu=_by_counting, default=lambda t, *_: _by_sorting(t)
    )


def _by_sorting(times: Array) -> Array:
    order = jnp.argsort(times, axis=1, stable=True).astype(jnp.int32)
    places = jnp.broadcast_to(jnp.arange(times.shape[1], dtype=jnp.int32), times.shape)
    return jnp.put_along_axis(
        jnp.zeros_like(order), order, places, axis=1, inplace=False
    )


def _by_counting(times: Array, count: Array, before: Array) -> Array:
    def counted(times):
        return _counted(times, count, before)

    if times.shape[1] <= TOO_WIDE:
        return counted(times)
    upper = jnp.concatenate([before[1:], count[None]])
    widest = jnp.max(jnp.maximum(upper, before) - before)
    return lax.cond(widest <= TOO_WIDE, counted, _by_sorting, times)


def _counted(times: Array, count: Array, before: Array) -> Array:
    batch, capacity = times.shape
    padding = (0, 0), (0, -capacity % ROWS)
    keys = _as_integers(jnp.pad(times, padding, constant_values=jnp.inf)).T
    used = jnp.minimum(jnp.max(count), capacity)
    row = jnp.arange(ROWS, dtype=jnp.int32)[:, None]

    def block(k, places):
        first = k * ROWS
        mine = lax.dynamic_slice_in_dim(keys, first, ROWS)
        # All spikes of the windows that these are in.
        starts = jnp.max(jnp.where(before <= first, before, 0), axis=0)
        stops = jnp.where(before >= first + ROWS, before, count[None])
        stop = jnp.minimum(jnp.max(jnp.min(stops, axis=0)), used)
        start = jnp.min(starts) // OTHERS

        def compare(j, places):
            other = j * OTHERS
            others = lax.dynamic_slice_in_dim(keys, other, OTHERS)
            # One later by one place comes later if it is not earlier by time.
            limit = mine + (first + row >= other + OTHERS).astype(mine.dtype)
            for n in range(OTHERS):
                places += (others[n][None] < limit).astype(jnp.int32)
            return places

        found = jnp.full((ROWS, batch), start * OTHERS, jnp.int32)
        found = lax.fori_loop(start, -(-stop // OTHERS), compare, found)
        return lax.dynamic_update_slice_in_dim(places, found, first, 0)

    places = jnp.zeros(keys.shape, jnp.int32)
    places = lax.fori_loop(0, -(-used // ROWS), block, places)
    # Those at the same time among the others of one step.
    place = jnp.arange(keys.shape[0], dtype=jnp.int32)[:, None]
    for n in range(1, OTHERS):
        same = (place % OTHERS >= n) & (jnp.roll(keys, n, axis=0) == keys)
        places += same.astype(jnp.int32)
    return jnp.where(place < count[None], places, place)[:capacity].T


def _as_integers(x: Array) -> Array:
    """Integers in the same order; what follows a number is one more."""
    kind = jnp.int32 if x.dtype == jnp.float32 else jnp.int64
    bits = lax.bitcast_convert_type(x + 0.0, kind)  # no -0.0
    return jnp.where(bits < 0, bits ^ jnp.iinfo(kind).max, bits)
