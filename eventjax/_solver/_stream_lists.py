"""Lists of which every event arrives several times, merged window by window.

The list is there once, with one position for each stream. A merged and sorted list would be
as many times longer; to make it takes four times as long as to merge twice, once for each
direction.
"""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._lists import AbstractLists, all_rows, Lists, window_size
from ._problem import LayerProblem, Streams
from ._window import Window


class StreamLists(AbstractLists):
    """The next arrivals of all streams of a sample are merged one by one."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, "batch events"]
    index: Int[Array, "batch events"]
    streams: Streams
    rows: Float[Array, "more neurons"]
    last: Int[Array, "batch streams"]
    no_row: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    steady: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, problem: LayerProblem) -> "StreamLists":
        times, streams = problem.times[:, :, 0].T, problem.streams
        place = jnp.arange(times.shape[1], dtype=jnp.int32)[None, None]
        there = times[:, None] + streams.lag[None, :, None] <= problem.t1
        there &= place >= streams.start[:, :, None]
        there &= place < streams.stop[None, :, None]
        count = jnp.sum(there, axis=2, dtype=jnp.int32)
        length = len(streams) * times.shape[1]
        return cls(  # pyright: ignore[reportCallIssue]
            problem.t0,
            problem.t1,
            times,
            problem.index[:, :, 0].T,
            streams,
            all_rows(problem),
            streams.start + count,
            problem.rows.shape[0],
            window_size(problem, length),
            length,
        )

    @property
    def first(self) -> Int[Array, "batch streams"]:
        return self.streams.start

    @property
    def places(self) -> int:
        return self.times.shape[1]

    @property
    def num_windows(self) -> Int[Array, ""]:
        count = jnp.sum(self.last - self.first, axis=1, dtype=jnp.int32)
        return jnp.max(count) // self.size + 1

    def nth(self, n: Int[Array, ""]) -> Window:
        raise NotImplementedError("Streams advance at their own pace: use `behind`.")

    def behind(
        self, position: Int[Array, "batch streams"], start: Float[Array, " batch"]
    ) -> Window:
        streams = jnp.arange(len(self.streams), dtype=jnp.int32)[None]

        def next_arrival(position, _):
            at = jnp.minimum(position, self.places - 1)
            head = jnp.take_along_axis(self.times, at, 1, mode="promise_in_bounds")
            head += self.streams.lag[None]
            head = jnp.where(position < self.last, head, jnp.inf)
            stream = jnp.argmin(head, axis=1).astype(jnp.int32)
            time = jnp.min(head, axis=1)
            moves = (streams == stream[:, None]) & jnp.isfinite(time)[:, None]
            return position + moves.astype(jnp.int32), (position, stream, time)

        _, (positions, stream, time) = lax.scan(
            next_arrival, position, None, length=self.size
        )
        there = jnp.isfinite(time)
        place = jnp.take_along_axis(positions, stream[:, :, None], axis=2)[:, :, 0]
        place = jnp.minimum(place, self.places - 1)
        index = jnp.take_along_axis(self.index, place.T, axis=1).T
        index = jnp.where(there, index + self.streams.shift[stream], self.no_row)
        ends = jnp.where(there, time, self.t1)
        lane = lambda x: x[:, :, None]
        return Window(
            start[:, None], lane(ends), lane(there), index, None, lane(place), stream
        )

    def taken(self, window: Window) -> Int[Array, "batch streams"]:
        streams = jnp.arange(len(self.streams), dtype=jnp.int32)[None, None]
        mine = window.given & (window.stream[:, :, None] == streams)
        return jnp.sum(mine, axis=0, dtype=jnp.int32)


def lists_of(problem: LayerProblem) -> AbstractLists:
    return Lists.of(problem) if problem.streams is None else StreamLists.of(problem)
