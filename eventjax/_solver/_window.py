"""One window of the exact solver: advance all neurons through a few arrivals at once, as
if none of them spiked, and screen for those that could."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._neuron._lif_flow import Flow, propagate, psp_peak, Steps, Taus, upper_bound


class Window(eqx.Module):
    """The arrivals of a window, `arrivals` of them for each sample: segment `j` ends at
    `ends[j]`, and then row `index[j]` is added to the currents. Arrivals come first in
    all shapes, so that what is next to each other in memory is worked on together."""

    start: Float[Array, " batch"]
    ends: Float[Array, "arrivals batch"]
    index: Int[Array, "arrivals batch"]  # a place without arrival has the row of zeros

    @property
    def times(self) -> Float[Array, "bounds batch"]:
        """Where the segments start, and where the last one ends."""
        return jnp.concatenate([self.start[None], self.ends])

    @property
    def lengths(self) -> Float[Array, "arrivals batch"]:
        """How long each segment is."""
        return jnp.diff(self.times, axis=0)


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
    return Steps.of(window.lengths[:, :, None], wide(taus), by_tau)


def advance(
    state: Flow,
    window: Window,
    rows: Float[Array, "rows neurons"],
    neurons: Neurons,
) -> Free:
    """Through the whole window, without spikes."""
    taus, threshold = neurons.taus, neurons.v_threshold
    steps = window_steps(window, taus, state.v_by_mem is not None)
    part = window.lengths[:, :, None] / wide(taus.mem)
    size = window.ends.shape[0]

    # A loop, not unrolled: XLA on CPU would otherwise compute the same again for each of
    # the many uses of its results.
    def segment(carry, xs):
        state, first = carry
        j, step, part, index = xs
        new = propagate(state, step, taus.bias)
        if threshold is not None:
            bound = upper_bound(state.v, state.i, part, taus, neurons.peak)
            may_spike = jnp.maximum(bound, new.v) >= threshold
            first = jnp.where(may_spike & (first == size), j, first)
        return (new.receive(rows[index]), first), state

    first = jnp.full(state.v.shape, size, jnp.int32)
    each = jnp.arange(size, dtype=jnp.int32), steps, part, window.index
    (end, first), starts = lax.scan(segment, (state, first), each)
    states = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), starts, end)
    states = jax.tree.map(lambda x: x.reshape(size + 1, -1), states)
    return Free(states, first.reshape(-1))
