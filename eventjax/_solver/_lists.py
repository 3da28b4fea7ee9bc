"""The arrivals of a layer, made ready to be taken window by window."""

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


def window_size(problem: LayerProblem) -> int:
    """Arrivals per window: all of them where there are few; else 16, or 32 in a small
    layer, where the number of steps counts more than what is done in each."""
    size = 16 if problem.v.size > 1024 else 32
    return min(problem.times.shape[0] + 1, size)


def tile_size(problem: LayerProblem) -> int:
    """Neurons that are solved together: an eighth, but few tiles where there are few."""
    pairs = problem.v.size
    return min(-(-pairs // 32) * 32, max(512, min(2048, pairs // 8)))


def is_recurrent(problem: LayerProblem) -> bool:
    return problem.recurrent is not None and problem.v_threshold is not None


class Lists(eqx.Module):
    """Lists of arrivals, filled up to whole windows; those after t1 are cut to it and add
    nothing, so that a window without arrivals ends at t1. Either rows are shared, or each
    neuron has its own list and currents."""

    t0: Float[Array, ""]
    ends: Float[Array, "places batch lanes"]
    index: Int[Array, "places batch"] | None
    rows: Float[Array, "more neurons"] | None  # the last one is zero, for empty places
    currents: Float[Array, "places batch neurons"] | None
    count: Int[Array, "batch lanes"]  # arrivals up to t1
    size: int = eqx.field(static=True)  # of a window

    @classmethod
    def of(cls, problem: LayerProblem) -> "Lists":
        size, events = window_size(problem), problem.times.shape[0]
        # One place more than there are events at least, and a window's room behind the
        # last one where windows start anywhere.
        more = size if is_recurrent(problem) else size - events % size
        fill = ((0, more), (0, 0), (0, 0))
        there = problem.times <= problem.t1
        ends = jnp.where(there, problem.times, problem.t1)
        ends = jnp.pad(ends, fill, constant_values=problem.t1)
        index = rows = currents = None
        if problem.own_lists:
            currents = jnp.pad(jnp.where(there, problem.received, 0.0), fill)
        else:
            rows = jnp.pad(problem.rows, ((0, 1), (0, 0)))
            no_row = problem.rows.shape[0]
            index = jnp.where(there, problem.index, no_row)[:, :, 0]
            index = jnp.pad(index, fill[:2], constant_values=no_row)
        count = jnp.sum(there, axis=0, dtype=jnp.int32)
        return cls(problem.t0, ends, index, rows, currents, count, size)

    @property
    def num_windows(self) -> Int[Array, ""]:
        """How many it takes to use up all arrivals and to reach t1."""
        return jnp.max(self.count) // self.size + 1

    def _window(self, start: Array, at: Array, pick) -> Window:
        index = None if self.index is None else pick(self.index[:, :, None])[:, :, 0]
        currents = None if self.currents is None else pick(self.currents)
        there = at < self.count[None]
        return Window(start, pick(self.ends), there, index, currents)

    def nth(self, n: Int[Array, ""]) -> Window:
        """The `n`-th window, if all have the same number of arrivals."""
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
        """The window that starts in each list behind its first `position` arrivals."""
        at = position[None] + jnp.arange(self.size, dtype=jnp.int32)[:, None, None]

        def pick(x):
            return jnp.take_along_axis(x, at, axis=0, mode="promise_in_bounds")

        start = jnp.broadcast_to(start[:, None], self.count.shape)
        return self._window(start, at, pick)
