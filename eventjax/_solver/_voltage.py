"""Voltages at given times from known events: explicit sums, differentiable by themselves.

Where the events are known the voltage is a sum over them, so gradients reach event times,
weights and parameters by plain automatic differentiation, and spike times pass them on.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import Flow, propagate, Steps, Taus
from .._neuron._quick_psp import quick_psp
from ._problem import LayerProblem, LayerRun, without_streams
from ._window import wide


class _Times(eqx.Module):
    """The times asked for, ascending in each sample."""

    at: Float[Array, "times batch"]

    def first_from(
        self, t: Float[Array, "events batch lanes"]
    ) -> tuple[Int[Array, "events batch lanes"], Float[Array, "events batch lanes"]]:
        """The place of the first that is not before each event, and how long after it that
        is; the number of times, and nothing, where there is none."""
        at, (events, batch, lanes) = lax.stop_gradient(self.at), t.shape
        flat = jnp.moveaxis(lax.stop_gradient(t), 1, 0).reshape(batch, -1)
        place = jax.vmap(jnp.searchsorted)(at.T, flat).astype(jnp.int32)
        place = jnp.moveaxis(place.reshape(batch, events, lanes), 0, 1)
        there = place < len(at)
        sample = jnp.arange(batch, dtype=jnp.int32)[None, :, None]
        end = self.at[jnp.minimum(place, len(at) - 1), sample]
        return place, jnp.where(there, end - jnp.where(there, t, 0.0), 0.0)


class _Kicks(eqx.Module):
    """What events between two of the times have added to voltage and current by the
    second of them."""

    v: Float[Array, "times batch neurons"]
    i: Float[Array, "times batch neurons"]

    def arrivals(
        self,
        t: Float[Array, "events batch lanes"],
        currents: Float[Array, "events batch neurons"],
        times: _Times,
        taus: Taus,
    ) -> "_Kicks":
        """With arrivals, for all neurons of a sample or (as many lanes) for each of its
        own, in any order."""
        _, batch, neurons = self.v.shape
        place, gap = times.first_from(t)
        sample = jnp.arange(batch, dtype=jnp.int32)
        if t.shape[2] == 1:
            to = place[:, :, 0], sample[None]
        else:
            neuron = jnp.arange(neurons, dtype=jnp.int32)
            to = place, sample[None, :, None], neuron[None, None]
        mem, syn = wide((taus.mem, taus.syn))
        put = lambda into, left: into.at[to].add(left * currents, mode="drop")
        v = put(self.v, quick_psp(gap, mem, syn))
        return _Kicks(v, put(self.i, jnp.exp(-gap / syn)))

    def falls(self, problem: LayerProblem, run: LayerRun, times: _Times) -> "_Kicks":
        """With own spikes, each of which lowers V of one neuron."""
        batch, num = problem.v.shape
        sample = jnp.arange(batch, dtype=jnp.int32)[:, None]

        def of_source(x: Array) -> Array:
            return jnp.broadcast_to(x, (batch, num))[sample, run.sources]

        # A neuron above threshold at t0 falls from there, all others from the threshold.
        top, v = of_source(problem.v_threshold), of_source(problem.v)
        top = jnp.where(run.times <= problem.t0, jnp.maximum(v, top), top)
        fall, tau = top - of_source(problem.v_reset), of_source(problem.tau_mem)
        place, gap = times.first_from(run.times.T[:, :, None])
        left = fall * jnp.exp(-gap[:, :, 0].T / tau)
        to = place[:, :, 0].T, sample, run.sources
        return _Kicks(self.v.at[to].add(-left, mode="drop"), self.i)


def _returning(problem: LayerProblem, run: LayerRun) -> tuple[Array, Array]:
    """The layer's own spikes, back at it: times and currents."""
    batch, neurons = problem.v.shape
    back = run.times.T[None] + problem.recurrent_delay[:, run.sources.T]
    received = problem.recurrent[:, run.sources.T]
    return back.reshape(-1, batch, 1), received.reshape(-1, batch, neurons)


def voltages_at(
    at: Float[Array, "batch times"], problem: LayerProblem, run: LayerRun | None
) -> Float[Array, "batch times neurons"]:
    """V at given times of `[t0, t1]`, in any order; at a spike that of just after it. The
    run is needed for neurons that spike.

    Each event is carried to the next of the times, and all of them from there on together:
    the cost is that of events and times, not of events for each time.
    """
    problem = without_streams(problem, in_order=False)
    order = jnp.argsort(lax.stop_gradient(at), axis=1)
    times = _Times(jnp.take_along_axis(at, order, axis=1).T)
    taus = Taus(problem.tau_mem, problem.tau_syn, problem.bias)
    nothing = jnp.zeros((at.shape[1], *problem.v.shape), problem.v.dtype)
    kicks = _Kicks(nothing, nothing)
    kicks = kicks.arrivals(problem.times, problem.received, times, taus)
    if problem.v_threshold is not None:
        assert run is not None
        kicks = kicks.falls(problem, run, times)
        if problem.recurrent is not None:
            kicks = kicks.arrivals(*_returning(problem, run), times, taus)

    # Computed anew in the reverse pass, which then keeps two states for each time.
    @jax.checkpoint
    def segment(state: Flow, xs: tuple[Array, _Kicks]):
        length, kick = xs
        new = propagate(state, Steps.of(length[:, None], taus), taus.bias)
        new = Flow(new.v + kick.v, new.i + kick.i)
        return new, new.v

    lengths = jnp.diff(
        times.at, axis=0, prepend=jnp.full_like(times.at[:1], problem.t0)
    )
    _, found = lax.scan(segment, Flow(problem.v, problem.i), (lengths, kicks))
    back = jnp.argsort(order, axis=1)
    return jnp.take_along_axis(jnp.moveaxis(found, 0, 1), back[:, :, None], axis=1)
