"""What readouts make of arrivals, as sums over these, differentiable by themselves."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ._problem import LayerProblem
from ._window import wide


def currents_at(
    t: Float[Array, ""], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """What arrivals up to `t` have added to the currents; one list for each sample."""
    times = problem.times
    there = times <= t
    gap = t - jnp.where(there, times, t)
    left = jnp.where(there, jnp.exp(-gap / wide(problem.tau_syn)), 0.0)
    return jnp.sum(left * problem.received, axis=0)


def delta_voltages_at(
    at: Float[Array, "batch times"],
    times: Float[Array, "events batch"],
    received: Float[Array, "events batch neurons"],
    tau_mem: Any,
) -> Float[Array, "batch times neurons"]:
    """What arrivals with delta synapses have added to voltages at given times, in any
    order. Each is carried to the next of the times, and all together from there on."""
    tau = jnp.broadcast_to(jnp.asarray(tau_mem, at.dtype), received.shape[2:])

    def one(at, times, received):
        order = jnp.argsort(at)
        at = at[order]
        place = jnp.searchsorted(at, lax.stop_gradient(times))
        there = place < len(at)
        gap = at[jnp.minimum(place, len(at) - 1)] - jnp.where(there, times, 0.0)
        gap = jnp.where(there, gap, 0.0)
        add = received * jnp.exp(-gap[:, None] / tau[None])
        kicks = (
            jnp.zeros((len(at), *tau.shape), at.dtype).at[place].add(add, mode="drop")
        )

        def segment(v, xs):
            length, kick = xs
            v = v * jnp.exp(-length / tau) + kick
            return v, v

        lengths = jnp.diff(at, prepend=at[:1])
        _, v = lax.scan(segment, jnp.zeros_like(tau), (lengths, kicks))
        return v[jnp.argsort(order)]

    return jax.vmap(one, (0, 1, 1))(at, times, received)
