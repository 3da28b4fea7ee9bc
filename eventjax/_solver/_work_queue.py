"""A queue of indices, worked off in tiles of fixed size.

XLA wants fixed shapes, but only few neurons spike at a time. Those that may are compacted
into a queue; each step takes a tile of it, and what is not finished goes to its end.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
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


class Queue(eqx.Module):
    """A ring of indices, worked off in rounds: what is pushed during one belongs to the
    next, so that what is popped together is always in the order of the first round."""

    ring: Int[Array, " ring"]
    head: Int[Array, ""]
    stop: Int[Array, ""]  # end of the round
    tail: Int[Array, ""]

    @classmethod
    def of(cls, mask: Bool[Array, " size"], tile: int) -> "Queue":
        """The places of the true entries, in order."""
        place, count = places(mask)
        index = jnp.arange(mask.shape[0], dtype=jnp.int32)
        ring = jnp.zeros(mask.shape[0] + tile, jnp.int32)
        return cls(put(ring, place, mask, index), jnp.zeros_like(count), count, count)

    def pop(self, tile: int) -> tuple[Array, Array, "Queue"]:
        """The next indices, which of them are real, and the queue without them."""
        at = self.head + jnp.arange(tile, dtype=jnp.int32)
        real = at < self.stop
        index = self.ring[at % self.ring.shape[0]]
        head = jnp.minimum(self.head + tile, self.stop)
        return index, real, Queue(self.ring, head, self.stop, self.tail)

    def push(self, index: Array, mask: Array) -> "Queue":
        """Append the masked indices."""
        place, count = places(mask)
        ring = put(self.ring, (self.tail + place) % self.ring.shape[0], mask, index)
        tail = self.tail + count
        stop = jnp.where(self.head == self.stop, tail, self.stop)
        return Queue(ring, self.head, stop, tail)


def work_off(
    queue: Queue,
    tile: int,
    body: Callable[[Array, Array, Any], tuple[Any, Array, Array]],
    carry: Any,
) -> Any:
    """Call `carry, again, index = body(index, real, carry)` on tiles until the queue is
    empty; those with `again` are queued once more, as the index returned. Tiles are small
    from when on there are only few in a round."""
    few = min(tile, FEW)

    def step(state, tile):
        queue, carry = state
        index, real, queue = queue.pop(tile)
        carry, again, index = body(index, real, carry)
        return queue.push(index, again & real), carry

    def many(state):
        queue = state[0]
        return jnp.maximum(queue.stop - queue.head, queue.tail - queue.stop) > few

    def busy(state):
        return state[0].head < state[0].tail

    state = lax.while_loop(many, lambda x: step(x, tile), (queue, carry))
    return lax.while_loop(busy, lambda x: step(x, few), state)[1]


def rounds(
    active: Bool[Array, " n"],
    body: Callable[[Array, Any], tuple[Array, Any]],
    carry: Any,
) -> Any:
    """Call `active, carry = body(active, carry)` as long as anything is active."""
    step = lambda x: body(*x)
    return lax.while_loop(lambda x: jnp.any(x[0]), step, (active, carry))[1]
