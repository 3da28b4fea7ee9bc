import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._spikes import Frames
from ._base import (
    AbstractKernel,
    AbstractWeighting,
    check_number,
    Number,
    Share,
    Trial,
)
from ._decay import decaying
from ._prefixes import prefixes
from ._segments import Segment, to_the_end


class _Trace(eqx.Module):
    """A leaky count of the input spikes: after each knot it decays. Knots are the start,
    each spike (those after the end lie at the end and add nothing), and the end."""

    knots: Float[Array, "knots batch"]
    after: Float[Array, "spans batch"]  # the weight just after each knot but the last
    rate: Float[Array, ""]

    @classmethod
    def of(cls, trial: Trial, tau: Array, gain: Array) -> "_Trace":
        if isinstance(trial.inputs, Frames):
            raise ValueError(
                "`InputActivity` counts input spikes by their times, and frames have none: "
                "give the network `Spikes`, or take another weighting."
            )
        times = trial.inputs.times.T
        there = times <= trial.t1
        ends = jnp.where(there, times, trial.t1)
        bound = lambda t: jnp.broadcast_to(t, (1, times.shape[1]))
        knots = jnp.concatenate([bound(trial.t0), ends, bound(trial.t1)])
        jumps = jnp.pad(jnp.where(there, gain, 0.0), ((1, 0), (0, 0)))
        decay = jnp.exp(-jnp.diff(knots[:-1], axis=0, prepend=knots[:1]) / tau)

        def join(one, two):
            return one[0] * two[0], one[1] * two[0] + two[1]

        _, after = prefixes(join, (decay, jumps), (1.0, 0.0))
        return cls(knots, after, 1 / tau)

    def before(
        self, t: Float[Array, "places batch lanes"]
    ) -> Int[Array, "places batch lanes"]:
        """The last knot but the end that is not after each time."""
        knots, (places, batch, lanes) = lax.stop_gradient(self.knots), t.shape
        flat = jnp.moveaxis(lax.stop_gradient(t), 1, 0).reshape(batch, -1)
        search = ft.partial(jnp.searchsorted, side="right")
        found = jax.vmap(search)(knots[:-1].T, flat).astype(jnp.int32) - 1
        return jnp.moveaxis(found.reshape(batch, places, lanes), 0, 1)


def _pick(x: Array, at: Int[Array, "places batch lanes"]) -> Array:
    """Entries along the first axis, of `[knots, batch]` or `[knots, batch, neurons]`."""
    if x.ndim == 2:
        x = x[:, :, None]
    size = max(x.shape[2], at.shape[2])
    at = jnp.broadcast_to(at, (*at.shape[:2], size))
    x = jnp.broadcast_to(x, (*x.shape[:2], size))
    return jnp.take_along_axis(x, at, axis=0, mode="promise_in_bounds")


class _Kernel(AbstractKernel):
    trial: Trial
    taus: tuple[Array, Array]
    trace: _Trace
    later: Segment  # from each knot to the end, [knots, batch, 1 or neurons]
    total: Float[Array, "batch 1"]
    resolved: Bool[Array, ""]

    @classmethod
    def of(cls, trial: Trial, taus: tuple[Array, Array], trace: _Trace) -> "_Kernel":
        span = jnp.diff(trace.knots, axis=0)[:, :, None]
        scale = trace.after[:, :, None] / trial.length
        parts = [scale * x for x in decaying(span, trace.rate, *taus)]
        later = to_the_end(Segment.of(span, taus, *parts))
        whole = -jnp.expm1(-span * trace.rate) / trace.rate
        total, sure = jnp.sum(scale * whole, axis=0), jnp.array(True)
        return cls(trial, taus, trace, later, total, sure)

    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        batch = self.trace.knots.shape[1]
        t = jnp.broadcast_to(t, (t.shape[0], batch, t.shape[2]))
        knot, trace = self.trace.before(t), self.trace
        weight = _pick(trace.after, knot)
        weight *= jnp.exp(-(t - _pick(trace.knots, knot)) * trace.rate)
        left, scale = _pick(trace.knots, knot + 1) - t, weight / self.trial.length
        parts = [scale * x for x in decaying(left, trace.rate, *self.taus)]
        later = jax.tree.map(lambda x: _pick(x, knot + 1), self.later)
        both = Segment.of(left, self.taus, *parts).then(later)
        return Share(both.of_v, both.of_i)


class InputActivity(AbstractWeighting):
    r"""A leaky count of all input spikes of the network, another weight for each sample:

    $$\tau \dot g = -g, \qquad g \to g + \gamma \text{ at each input spike}, \qquad
      g(t_0) = 0$$

    so that times in which much comes in count more. Gradients reach the input spike times
    through the weight as well. Spikes count when they are sent, whatever delays them on
    their way; those before `t0` that a `state` holds do not count.

    **Arguments:**

    - `tau`: $\tau$ in ms.
    - `gain`: $\gamma$, what a spike adds.

    Raises a `ValueError` for a `tau` that is not positive.

    ??? cite

        After the code of Nowotny, Turner and Knight, arXiv 2212.01232, which averages the
        input with these defaults on a time grid; how the paper names and defines it is
        UNCONFIRMED.
    """

    tau: Number = 20.0
    gain: Number = 0.01

    def __check_init__(self):
        check_number("tau", self.tau)
        check_number("gain", self.gain, positive=False)

    def _trace(self, trial: Trial) -> _Trace:
        array = lambda x: jnp.asarray(x, trial.t1.dtype)
        return _Trace.of(trial, array(self.tau), array(self.gain))

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        trace = self._trace(trial)
        t = jnp.broadcast_to(t[:, None, None], (t.shape[0], trace.knots.shape[1], 1))
        knot = trace.before(t)
        gap = t - _pick(trace.knots, knot)
        return (_pick(trace.after, knot) * jnp.exp(-gap * trace.rate))[:, :, 0]

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        return _Kernel.of(trial, (tau_mem, tau_syn), self._trace(trial))
