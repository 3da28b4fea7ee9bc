"""Some of many, worked off in tiles of fixed size.

XLA wants fixed shapes, but only few neurons spike at a time. Those that may are compacted
into a list, which is worked off tile by tile.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


FEW = 64  # indices in a small tile


def places(mask: Bool[Array, " n"]) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """For each true entry how many true ones come before it, and how many there are.

    An exclusive cumulative sum, by counting bits of 32-bit words: several times faster
    than `jnp.cumsum` on CPU."""
    n = mask.shape[0]
    words = jnp.pad(mask, (0, -n % 32)).reshape(-1, 32)
    lane = jnp.arange(32, dtype=jnp.uint32)
    bits = jnp.sum(words.astype(jnp.uint32) << lane[None], axis=1, dtype=jnp.uint32)
    counts = lax.population_count(bits).astype(jnp.int32)
    ends = jnp.cumsum(counts)
    lower = (jnp.uint32(1) << lane) - jnp.uint32(1)
    before = lax.population_count(bits[:, None] & lower[None]).astype(jnp.int32)
    return ((ends - counts)[:, None] + before).reshape(-1)[:n], ends[-1]


def put(
    array: Array, place: Int[Array, " tile"], mask: Bool[Array, " tile"], values: Array
) -> Array:
    """`array` with the masked values written at distinct places, others left alone."""
    place = jnp.where(mask, place, array.shape[0])
    return array.at[place].set(values, mode="drop", unique_indices=True)


def compute_once(values: Any, always: Bool[Array, ""]) -> Any:
    """`values` as they are. XLA on CPU computes an elementwise value anew in each place
    that uses it; what comes out of a condition it does not. `always` is a condition that
    is always true, but not known to be."""
    zeros = lambda x: jax.tree.map(jnp.zeros_like, x)
    return lax.cond(always, lambda x: x, zeros, values)


def work_off(
    mask: Bool[Array, " n"],
    tile: int,
    body: Callable[[Array, Array, Any], Any],
    carry: Any,
) -> Any:
    """Call `carry = body(index, real, carry)` on the places of the true entries, in order,
    tile by tile; what fills up the last tile is not `real`. Tiles are small where there are
    only few left."""
    few = min(tile, FEW)
    place, count = places(mask)
    index = jnp.arange(mask.shape[0], dtype=jnp.int32)
    todo = put(jnp.zeros(mask.shape[0] + tile, jnp.int32), place, mask, index)

    def step(state, tile):
        head, carry = state
        real = head + jnp.arange(tile, dtype=jnp.int32) < count
        index = lax.dynamic_slice_in_dim(todo, head, tile)
        return head + tile, body(index, real, carry)

    def left(state):
        return count - state[0]

    state = jnp.zeros_like(count), carry
    state = lax.while_loop(lambda x: left(x) > few, lambda x: step(x, tile), state)
    return lax.while_loop(lambda x: left(x) > 0, lambda x: step(x, few), state)[1]


def rounds(
    active: Bool[Array, " n"],
    body: Callable[[Array, Any], tuple[Array, Any]],
    carry: Any,
) -> Any:
    """Call `active, carry = body(active, carry)` as long as anything is active."""
    step = lambda x: body(*x)
    return lax.while_loop(lambda x: jnp.any(x[0]), step, (active, carry))[1]
