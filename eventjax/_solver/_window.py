"""One window of the exact solver: advance all neurons through a few arrivals at once, as
if none of them spiked, and screen for those that could."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._neuron._lif_flow import Flow, propagate, psp_peak, Steps, Taus, upper_bound


class Window(eqx.Module):
    """The arrivals of a window, `arrivals` of them in each list: segment `j` ends at
    `ends[j]`, and then row `index[j]`, or `currents[j]`, is added to the currents.
    Arrivals come first in all shapes, so that what is next to each other in memory is
    worked on together. There is one lane for each sample, or for each of its neurons."""

    start: Float[Array, "batch lanes"]
    ends: Float[Array, "arrivals batch lanes"]
    there: Bool[Array, "arrivals batch lanes"]  # if not, zeros are added
    index: Int[Array, "arrivals batch"] | None
    currents: Float[Array, "arrivals batch neurons"] | None
    # Where the arrivals are in the problem's list, and in which of its streams
    place: Int[Array, "arrivals batch lanes"] | None = None
    stream: Int[Array, "arrivals batch"] | None = None

    @property
    def times(self) -> Float[Array, "bounds batch lanes"]:
        """Where the segments start, and where the last one ends."""
        return jnp.concatenate([self.start[None], self.ends])

    @property
    def lengths(self) -> Float[Array, "arrivals batch lanes"]:
        """How long each segment is."""
        return jnp.diff(self.times, axis=0)

    def received(self, rows: Float[Array, "more neurons"] | None) -> Any:
        """What each arrival adds, shape `[arrivals, batch, neurons]`. `rows` are those of
        `Lists`."""
        return self.currents if rows is None else rows[self.index]

    def cut(self, limit: Float[Array, " batch"], no_row: int) -> "Window":
        """The window up to `limit`. `no_row` is the place of the row of zeros."""
        limit = limit[None, :, None]
        there = self.there & (self.ends <= limit)
        ends, index, currents = jnp.minimum(self.ends, limit), self.index, self.currents
        if index is not None:
            index = jnp.where(there[:, :, 0], index, no_row)
        if currents is not None:
            currents = jnp.where(there, currents, 0.0)
        place, stream = self.place, self.stream
        return Window(self.start, ends, there, index, currents, place, stream)


class Neurons(eqx.Module):
    """Parameters of a population, each of shape `[]`, `[1, n]` or `[batch, n]`."""

    taus: Taus
    peak: Array  # largest voltage after one unit of current
    v_threshold: Array | None
    v_reset: Array | None

    @classmethod
    def of(cls, tau_mem, tau_syn, bias, v_threshold, v_reset) -> "Neurons":
        taus = Taus(tau_mem, tau_syn, bias)
        return cls(taus, psp_peak(tau_mem, tau_syn), v_threshold, v_reset)

    def at(self, pair: Int[Array, " tile"], num: int) -> "Neurons":
        """Parameters of single neurons; `pair` counts through [batch, neurons]."""

        def pick(x):
            if x.ndim == 0:
                return x
            return x[0, pair % num] if x.shape[0] == 1 else x.reshape(-1)[pair]

        return jax.tree.map(pick, self)


class Free(eqx.Module):
    """How the neurons go through a window if none of them spikes, [batch, neurons]
    flattened to pairs."""

    states: Flow  # at the start of each segment and at the end, [bounds, pairs]
    first: Int[Array, " pairs"]  # first segment in which it may spike, or `arrivals`


def wide(parameters: PyTree[Array]) -> PyTree[Array]:
    """Parameters with an axis for segments in front."""
    return jax.tree.map(lambda x: x if x.ndim == 0 else x[None], parameters)


def window_steps(window: Window, taus: Taus, by_tau: bool = False) -> Steps:
    """What each segment does, shape `[arrivals, batch, 1 or neurons]`."""
    return Steps.of(window.lengths, wide(taus), by_tau)


def advance(
    state: Flow,
    window: Window,
    rows: Float[Array, "more neurons"] | None,
    neurons: Neurons,
) -> Free:
    """Through the whole window, without spikes."""
    taus, threshold = neurons.taus, neurons.v_threshold
    steps = window_steps(window, taus, state.v_by_mem is not None)
    part = window.lengths / wide(taus.mem)
    size = window.ends.shape[0]

    # A loop, not unrolled: XLA on CPU would otherwise compute the same again for each of
    # the many uses of its results.
    def segment(carry, xs):
        state, first = carry
        j, step, part, received = xs
        new = propagate(state, step, taus.bias)
        if threshold is not None:
            bound = upper_bound(state.v, state.i, part, taus, neurons.peak)
            may_spike = jnp.maximum(bound, new.v) >= threshold
            first = jnp.where(may_spike & (first == size), j, first)
        current = received if rows is None else rows[received]
        return (new.receive(current), first), state

    first = jnp.full(state.v.shape, size, jnp.int32)
    received = window.currents if rows is None else window.index
    each = jnp.arange(size, dtype=jnp.int32), steps, part, received
    (end, first), starts = lax.scan(segment, (state, first), each)
    states = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), starts, end)
    states = jax.tree.map(lambda x: x.reshape(size + 1, -1), states)
    return Free(states, first.reshape(-1))
