"""A layer's own spikes on their way back to it, and how they join the other arrivals of a
window."""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._lists import AbstractLists
from ._problem import LayerProblem
from ._rows import Rows
from ._tiles import put
from ._window import Window


class Upcoming(eqx.Module):
    """The next own spikes that arrive, in order, `+inf` where there is none."""

    time: Float[Array, "next batch"]
    # Copy times the number of neurons, plus the neuron
    stream: Int[Array, "next batch"]
    spike: Int[Array, "next batch"]  # place in the record
    limit: Float[Array, " batch"]  # from when on others may arrive, too


class Returns(eqx.Module):
    """Each copy of each neuron's spikes is a stream, of which the oldest spike that has not
    arrived is known, and for each spike the neuron's next one."""

    time: Float[
        Array, "batch streams"
    ]  # when the oldest arrives, +inf if there is none
    spike: Int[Array, "batch streams"]  # its place in the record, or -1
    next: Int[Array, " places"]  # place of the neuron's next spike, or -1
    last: Int[Array, " pairs"]  # place of each neuron's last spike, or -1
    # All that have arrived, in order: place in the record times the number of copies, plus
    # the copy
    passed: Int[Array, "batch returns"]
    num_passed: Int[Array, " batch"]

    @classmethod
    def empty(cls, problem: LayerProblem, capacity: int, places: int) -> "Returns":
        batch, num = problem.v.shape
        copies = problem.recurrent.shape[0]
        shape = batch, copies * num
        none = lambda *shape: jnp.full(shape, -1, jnp.int32)
        return cls(
            jnp.full(shape, jnp.inf, problem.v.dtype),
            none(*shape),
            none(places),
            none(batch * num),
            none(batch, copies * capacity),
            jnp.zeros(batch, jnp.int32),
        )

    def upcoming(self, size: int, spikes: Rows, delay: Array) -> Upcoming:
        """The next `size` arrivals, of different streams."""
        time, stream = lax.top_k(-self.time, size)
        stream = stream.astype(jnp.int32)
        spike = jnp.take_along_axis(self.spike, stream, axis=1)
        following = self.next[jnp.maximum(spike, 0)]
        after = spikes.take(jnp.maximum(following, 0)).time + delay.reshape(-1)[stream]
        after = jnp.where((spike >= 0) & (following >= 0), after, jnp.inf)
        return Upcoming(-time.T, stream.T, spike.T, jnp.min(after, axis=1))

    def pop(
        self,
        upcoming: Upcoming,
        count: Int[Array, " batch"],
        spikes: Rows,
        delay: Float[Array, "copies neurons"],
    ) -> "Returns":
        """Without the first `count` of the upcoming ones."""
        copies, num = delay.shape
        size, batch = upcoming.time.shape
        nth = jnp.arange(size, dtype=jnp.int32)[:, None]
        sample = jnp.broadcast_to(
            jnp.arange(batch, dtype=jnp.int32)[None], (size, batch)
        )
        gone = nth < count[None]
        following = self.next[jnp.maximum(upcoming.spike, 0)]
        there = following >= 0
        time = spikes.take(jnp.maximum(following, 0)).time
        time += delay.reshape(-1)[upcoming.stream]
        time = jnp.where(there, time, jnp.inf)
        stream = jnp.where(gone, upcoming.stream, copies * num)
        place = jnp.where(gone, self.num_passed[None] + nth, self.passed.shape[1])
        which = upcoming.spike * copies + upcoming.stream // num

        def write(into, at, x):
            return into.at[sample, at].set(x, mode="drop", unique_indices=True)

        return Returns(
            write(self.time, stream, time),
            write(self.spike, stream, following),
            self.next,
            self.last,
            write(self.passed, place, which),
            self.num_passed + count,
        )

    def add(
        self,
        time: Float[Array, " tile"],
        pair: Int[Array, " tile"],
        place: Int[Array, " tile"],
        mask: Bool[Array, " tile"],
        delay: Float[Array, "copies neurons"],
    ) -> "Returns":
        """Spikes of different neurons; `place` is that in the record."""
        copies, num = delay.shape
        sample, neuron = pair // num, pair % num
        before = self.last[pair]
        follows = put(self.next, before, mask & (before >= 0), place)
        last = put(self.last, pair, mask, place)
        heads, spikes = self.time, self.spike
        for copy in range(copies):
            stream = copy * num + neuron
            first = mask & (spikes[sample, stream] < 0)
            at = jnp.where(first, stream, copies * num)
            arrival = time + delay[copy, neuron]
            heads = heads.at[sample, at].set(arrival, mode="drop", unique_indices=True)
            spikes = spikes.at[sample, at].set(place, mode="drop", unique_indices=True)
        return Returns(heads, spikes, follows, last, self.passed, self.num_passed)

    def back(
        self, count: Int[Array, " batch"], size: int, spikes: Rows, delay: Array
    ) -> tuple[Upcoming, "Returns"]:
        """The last `count` that have arrived, and what it was before they did; only good
        to go further back."""
        copies, num = delay.shape
        start = self.num_passed - count
        nth = jnp.arange(size, dtype=jnp.int32)[:, None]
        at = jnp.minimum(start[None] + nth, self.passed.shape[1] - 1)
        which = jnp.take_along_axis(self.passed, at.T, axis=1).T
        there = nth < count[None]
        which = jnp.where(there, which, 0)
        spike, copy = which // copies, which % copies
        record = spikes.take(spike)
        stream = copy * num + record.pair % num
        time = record.time + delay.reshape(-1)[stream]
        time = jnp.where(there, time, jnp.inf)
        limit = jnp.full(count.shape, jnp.inf, time.dtype)
        upcoming = Upcoming(time, stream, jnp.where(there, spike, -1), limit)
        return upcoming, eqx.tree_at(lambda r: r.num_passed, self, start)


def num_upcoming(problem: LayerProblem, lists: AbstractLists) -> int:
    """How many own spikes may arrive in one window."""
    return 1 if problem.own_lists else min(lists.size, problem.recurrent_delay.size)


def join(
    given: Window,
    upcoming: Upcoming,
    problem: LayerProblem,
    limit: Float[Array, " batch"],
    shortest: Float[Array, ""] | None = None,
) -> Window:
    """A window with the arrivals of own spikes, too, up to `limit` at most.

    `shortest` is the shortest delay. What is emitted in the window arrives after that at
    the earliest, so nothing of it arrives in a window that is not longer. If a window
    would not be much longer it ends there; else it is to be seen when the window is
    solved."""
    limit = jnp.minimum(jnp.minimum(limit, upcoming.limit), problem.t1)
    if problem.own_lists:
        return _append(given, upcoming, problem, limit)
    return _merge(given, upcoming, problem, limit, shortest)


def _merge(given, upcoming, problem, limit, shortest) -> Window:
    size, lane = given.ends.shape[0], lambda x: x[:, :, None]
    there = given.there[:, :, 0]
    time = jnp.where(there, given.ends[:, :, 0], jnp.inf)
    own_time = jnp.where(upcoming.time <= problem.t1, upcoming.time, jnp.inf)
    earlier = (own_time[None] < time[:, None]).astype(jnp.int32)  # [given, own, batch]
    count = own_time.shape[0]
    nth = jnp.arange(size, dtype=jnp.int32)[:, None]
    own_nth = jnp.arange(count, dtype=jnp.int32)[:, None]
    rank = nth + jnp.sum(earlier, axis=1, dtype=jnp.int32)
    own_rank = own_nth + jnp.sum(1 - earlier, axis=0, dtype=jnp.int32)
    # Who comes where, by comparison: no sort, no scatter.
    rank = jnp.concatenate([rank, own_rank])
    candidate = jnp.arange(size + count, dtype=jnp.int32)[None, :, None]
    order = jnp.where(rank[None] == nth[:, None], candidate, 0)
    order = jnp.sum(order, axis=1, dtype=jnp.int32)

    def pick(x, own):
        both = jnp.concatenate([x, jnp.broadcast_to(own, own_time.shape)])
        return jnp.take_along_axis(both, order, axis=0, mode="promise_in_bounds")

    ends = pick(time, own_time)
    limit = jnp.minimum(limit, ends[-1])
    if shortest is not None:
        start = given.start[:, 0]
        soon = start + shortest
        near = limit - start <= 4 * shortest
        limit = jnp.where(near, jnp.minimum(limit, soon), limit)
    there = ends <= limit[None]
    no_row, none = problem.rows.shape[0], jnp.full_like(time, -1, jnp.int32)
    index = pick(given.index, upcoming.stream + no_row + 1)
    index = jnp.where(there, index, no_row)
    place = pick(given.place[:, :, 0], none[:1])
    stream = None if given.stream is None else pick(given.stream, none[:1])
    ends = jnp.minimum(ends, limit[None])
    own = jnp.where(there, pick(none, own_nth), -1)
    return Window(
        given.start, lane(ends), lane(there), index, None, lane(place), stream, own
    )


def _append(given, upcoming, problem, limit) -> Window:
    """Where each neuron has a list of its own: one own spike arrives, at the end."""
    limit = jnp.minimum(limit, jnp.min(given.ends[-1], axis=1))
    limit = jnp.minimum(limit, upcoming.time[0])
    arrives = upcoming.time[0] <= limit
    given = given.cut(limit, problem.rows.shape[0])
    rows = problem.recurrent.reshape(-1, problem.v.shape[1])
    row = jnp.where(arrives[:, None], rows[upcoming.stream[0]], 0.0)
    full = lambda x: jnp.broadcast_to(x[:, None], given.ends.shape[1:])
    behind = lambda x, y: jnp.concatenate([x, y[None]])
    own = jnp.full(given.ends.shape[:2], -1, jnp.int32)
    return Window(
        given.start,
        behind(given.ends, full(limit)),
        behind(given.there, full(arrives)),
        None,
        behind(given.currents, row),
        behind(given.place, jnp.zeros_like(given.place[0])),
        None,
        behind(own, jnp.where(arrives, 0, -1).astype(jnp.int32)),
    )
