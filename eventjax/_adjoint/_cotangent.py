"""The cotangents of V and I within a window, and what the jumps at spikes add to them.

Between jumps everything is linear, so a jump is added wherever it has an effect. There are
two ways: to all arrivals before it, one by one; or to the start of its segment, and for all
jumps together from there on back. The first is faster where few of the neurons spike.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._neuron._lif_flow import psp, Steps, Taus
from .._solver._record import SpikeRecord
from .._solver._tiles import compute_once
from .._solver._window import wide, Window, window_steps


class Cotangent(eqx.Module):
    """At a window's start, and just after each of its arrivals; that of V there only if it
    is wanted."""

    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]
    reads_v: Float[Array, "arrivals batch neurons"] | None
    reads_i: Float[Array, "arrivals batch neurons"]

    @classmethod
    def without_spikes(
        cls, v: Array, i: Array, window: Window, taus: Taus, reads_v: bool
    ) -> "Cotangent":
        """From those at the window's end, each for itself: as a chain from arrival to
        arrival, XLA on CPU would compute each of them from the end."""
        left = window.ends[-1:] - window.times
        steps = compute_once(Steps.of(left, wide(taus)), left[-1, 0, 0] <= 0)
        start = jax.tree.map(lambda x: x[0], steps)
        reads = jax.tree.map(lambda x: x[1:], steps)
        return cls(
            v * start.mem,
            i * start.syn + v * start.gain,
            v[None] * reads.mem if reads_v else None,
            i[None] * reads.syn + v[None] * reads.gain,
        )


class AbstractJumps(eqx.Module):
    """Takes up the jumps of a window's spikes, in any order."""

    @abc.abstractmethod
    def add(
        self,
        change: Float[Array, " tile"],
        spike: SpikeRecord,
        real: Bool[Array, " tile"],
        taus: Taus,
    ) -> "AbstractJumps":
        """`change` is that of the voltage's cotangent at spikes of different neurons, whose
        `taus` these are; only `real` ones count."""

    @abc.abstractmethod
    def cotangent(self) -> Cotangent:
        """With all jumps."""


class AtArrivals(AbstractJumps):
    """Adds each jump to all arrivals before it."""

    so_far: Cotangent
    window: Window

    @classmethod
    def none(cls, v, i, window: Window, taus: Taus, reads_v: bool) -> "AtArrivals":
        return cls(Cotangent.without_spikes(v, i, window, taus, reads_v), window)

    def add(self, change, spike, real, taus):
        so_far, window = self.so_far, self.window
        (batch, num), size = so_far.v.shape, window.ends.shape[0]
        pairs, lane = batch * num, spike.pair // (num // window.start.shape[1])
        h = jnp.where(real, spike.time - window.start.reshape(-1)[lane], 0.0)
        place = jnp.where(real, spike.pair, pairs)
        v = _add(so_far.v, place, change * jnp.exp(-h / taus.mem))
        i = _add(so_far.i, place, change * psp(h, taus.mem, taus.syn))

        arrival = jnp.arange(size, dtype=jnp.int32)[:, None]
        before = real[None] & (arrival < spike.segment[None])
        ends = window.ends.reshape(size, -1).at[:, lane].get(mode="promise_in_bounds")
        h = jnp.where(before, spike.time[None] - ends, 0.0)
        # Shared by what follows, or else computed in each place
        change, h = compute_once((change, h), spike.pair[0] >= 0)
        change, taus = change[None], wide(taus)
        place = jnp.where(before, arrival * pairs + spike.pair[None], size * pairs)
        reads_v = _add(so_far.reads_v, place, change * jnp.exp(-h / taus.mem))
        reads_i = _add(so_far.reads_i, place, change * psp(h, taus.mem, taus.syn))
        return AtArrivals(Cotangent(v, i, reads_v, reads_i), window)

    def cotangent(self):
        return self.so_far


class AtStarts(AbstractJumps):
    """Adds each jump to the start of its segment."""

    end: tuple[Float[Array, "batch neurons"], Float[Array, "batch neurons"]]
    v: Float[Array, "arrivals batch neurons"]
    i: Float[Array, "arrivals batch neurons"]
    window: Window
    taus: Taus

    @classmethod
    def none(cls, v, i, window: Window, taus: Taus) -> "AtStarts":
        zeros = jnp.zeros((window.ends.shape[0], *v.shape), v.dtype)
        return cls((v, i), zeros, zeros, window, taus)

    def add(self, change, spike, real, taus):
        (size, batch, num), lanes = self.v.shape, self.window.start.shape[1]
        starts = self.window.times[:-1].reshape(-1)
        start = starts[spike.segment * (batch * lanes) + spike.pair // (num // lanes)]
        h = jnp.where(real, spike.time - start, 0.0)
        # A neuron may spike more than once in a segment.
        place = spike.segment * (batch * num) + spike.pair
        place = jnp.where(real, place, size * batch * num)
        v = _add(self.v, place, change * jnp.exp(-h / taus.mem))
        i = _add(self.i, place, change * psp(h, taus.mem, taus.syn))
        return AtStarts(self.end, v, i, self.window, self.taus)

    def cotangent(self):
        steps, (v, i) = window_steps(self.window, self.taus), self.end
        reads_v, reads_i = [], []
        for j in reversed(range(self.window.ends.shape[0])):
            reads_v.append(v)
            reads_i.append(i)
            v, i = v * steps.mem[j], i * steps.syn[j] + v * steps.gain[j]
            v, i = v + self.v[j], i + self.i[j]
        return Cotangent(v, i, jnp.stack(reads_v[::-1]), jnp.stack(reads_i[::-1]))


def _add(to: Array | None, place: Array, by: Array) -> Array | None:
    """`place` counts through `to`, and no place comes twice; one behind the end is none."""
    if to is None:
        return None
    flat = to.reshape(-1).at[place].add(by, mode="drop", unique_indices=True)
    return flat.reshape(to.shape)
