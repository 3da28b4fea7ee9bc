"""The arrivals of a layer, made ready to be taken window by window."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._problem import LayerProblem
from ._window import Neurons, Window


def neurons_of(problem: LayerProblem) -> Neurons:
    return Neurons.of(
        problem.tau_mem,
        problem.tau_syn,
        problem.bias,
        problem.v_threshold,
        problem.v_reset,
    )


def is_small(problem: LayerProblem) -> bool:
    """Whether a layer is so small, as output layers are, that all its neurons are solved
    together. Of more of them only few spike at a time."""
    pairs, num = problem.v.size, problem.v.shape[1]
    return pairs <= (512 if num <= 16 else 128)


def window_size(problem: LayerProblem, length: int) -> int:
    """Arrivals per window: all of them, `length` at most, where they are few; else 16, or
    32 in a small layer, where the number of steps counts more than what is done in each."""
    return min(length + 1, 32 if is_small(problem) else 16)


def all_rows(problem: LayerProblem) -> Float[Array, "more neurons"]:
    """The rows, one of zeros for places without arrival, and those of own spikes: copy by
    copy, one for each neuron."""
    rows = jnp.pad(problem.rows, ((0, 1), (0, 0)))
    if not is_recurrent(problem):
        return rows
    return jnp.concatenate([rows, problem.recurrent.reshape(-1, rows.shape[1])])


def tile_size(problem: LayerProblem) -> int:
    """Neurons that are solved together: all in a small layer, else few of them."""
    pairs = problem.v.size
    if is_small(problem):
        return -(-pairs // 32) * 32
    return max(min(352, pairs // 2), min(2048, pairs // 24))


def is_recurrent(problem: LayerProblem) -> bool:
    return problem.recurrent is not None and problem.v_threshold is not None


class AbstractLists(eqx.Module):
    """The arrivals up to t1, with rows that are shared or currents of each neuron."""

    t0: eqx.AbstractVar[Float[Array, ""]]
    rows: eqx.AbstractVar[Float[Array, "more neurons"] | None]  # see `all_rows`
    no_row: eqx.AbstractVar[int]  # the place of the row of zeros
    first: eqx.AbstractVar[Int[Array, "batch lists"]]  # positions of the first arrivals
    last: eqx.AbstractVar[Int[Array, "batch lists"]]  # behind the last ones
    size: eqx.AbstractVar[int]  # of a window
    length: eqx.AbstractVar[int]  # at most so many arrivals in a lane
    places: eqx.AbstractVar[int]  # of cotangents of times
    steady: eqx.AbstractVar[bool]  # windows are the same for all, and have numbers

    @property
    @abc.abstractmethod
    def num_windows(self) -> Int[Array, ""]:
        """How many full ones it takes to use up all arrivals and to reach t1."""

    @abc.abstractmethod
    def nth(self, n: Int[Array, ""]) -> Window:
        """The `n`-th window, if lists are `steady`."""

    @abc.abstractmethod
    def behind(
        self, position: Int[Array, "batch lists"], start: Float[Array, " batch"]
    ) -> Window:
        """The window that starts in each list at a position."""

    @abc.abstractmethod
    def taken(self, window: Window) -> Int[Array, "batch lists"]:
        """How many arrivals of each list are there in a window."""


class Lists(AbstractLists):
    """Lists as they are, filled up to whole windows; what is after t1 is cut to it and
    adds nothing, so that a window without arrivals ends at t1."""

    t0: Float[Array, ""]
    ends: Float[Array, "places batch lanes"]
    index: Int[Array, "places batch"] | None
    rows: Float[Array, "more neurons"] | None
    currents: Float[Array, "places batch neurons"] | None
    first: Int[Array, "batch lanes"]
    last: Int[Array, "batch lanes"]
    no_row: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    steady: bool = eqx.field(static=True)

    @classmethod
    def of(cls, problem: LayerProblem) -> "Lists":
        events, steady = problem.times.shape[0], not is_recurrent(problem)
        size = window_size(problem, events)
        # One place more than there are events at least, and a window's room behind the
        # last one where windows start anywhere.
        more = size - events % size if steady else size
        fill = ((0, more), (0, 0), (0, 0))
        there = problem.times <= problem.t1
        ends = jnp.where(there, problem.times, problem.t1)
        ends = jnp.pad(ends, fill, constant_values=problem.t1)
        index = rows = currents = None
        no_row = problem.rows.shape[0]
        if problem.own_lists:
            currents = jnp.pad(jnp.where(there, problem.received, 0.0), fill)
        else:
            rows = all_rows(problem)
            index = jnp.where(there, problem.index, no_row)[:, :, 0]
            index = jnp.pad(index, fill[:2], constant_values=no_row)
        last = jnp.sum(there, axis=0, dtype=jnp.int32)
        first = jnp.zeros_like(last)
        return cls(  # pyright: ignore[reportCallIssue]
            problem.t0,
            ends,
            index,
            rows,
            currents,
            first,
            last,
            no_row,
            size,
            events,
            steady,
        )

    @property
    def places(self) -> int:
        return self.ends.shape[0]

    @property
    def num_windows(self) -> Int[Array, ""]:
        return jnp.max(self.last) // self.size + 1

    def _window(self, start: Array, at: Array, pick: Callable) -> Window:
        index = None if self.index is None else pick(self.index[:, :, None])[:, :, 0]
        currents = None if self.currents is None else pick(self.currents)
        there = at < self.last[None]
        place = None if self.steady else at
        return Window(start, pick(self.ends), there, index, currents, place)

    def nth(self, n: Int[Array, ""]) -> Window:
        first = n * self.size
        at = first + jnp.arange(self.size, dtype=jnp.int32)
        before = self.ends[jnp.maximum(first - 1, 0)]
        start = jnp.where(n == 0, self.t0, before)

        def pick(x):
            return lax.dynamic_slice_in_dim(x, first, self.size)

        return self._window(start, at[:, None, None], pick)

    def behind(
        self, position: Int[Array, "batch lanes"], start: Float[Array, " batch"]
    ) -> Window:
        at = position[None] + jnp.arange(self.size, dtype=jnp.int32)[:, None, None]

        def pick(x):
            return jnp.take_along_axis(x, at, axis=0, mode="promise_in_bounds")

        start = jnp.broadcast_to(start[:, None], self.last.shape)
        return self._window(start, at, pick)

    def taken(self, window: Window) -> Int[Array, "batch lanes"]:
        return jnp.sum(window.given, axis=0, dtype=jnp.int32)
