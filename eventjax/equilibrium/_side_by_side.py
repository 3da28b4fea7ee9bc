"""First spikes of a layer by looking at the time after every arrival at once: for
processors that do many things at a time."""

import jax.numpy as jnp
from jaxtyping import Array

from ._intervals import (
    crossing,
    decay,
    finish,
    Layer,
    released,
    unit_arrival,
    window_end,
)
from ._neuron import Neuron


def spikes_side_by_side(
    neuron: Neuron, layer: Layer, arrivals: Array, weight: Array
) -> tuple[Array, Array]:
    """As `spikes_one_by_one`, without sorting: what has arrived up to an arrival is a
    product of a matrix that says which came before which with the weights."""
    end = window_end(neuron, layer.syn)
    there = jnp.isfinite(arrivals)
    z = jnp.where(there, decay(neuron, jnp.where(there, arrivals, 0.0)), end)
    by_mem, by_syn = (jnp.where(there, x, 0.0) for x in unit_arrival(neuron, 1 / z))

    # The times after which nothing changes until the next: the start, and each arrival.
    since = jnp.pad(z, ((0, 0), (1, 0)), constant_values=1.0)
    came = z[:, None, :] >= since[:, :, None]
    came = came.at[:, 0].set(False)
    until = jnp.max(jnp.where(came, end, z[:, None, :]), axis=2)
    until = jnp.where(since > end, until, end)
    product = lambda part: jnp.einsum(
        "bks,sn->bkn",
        jnp.where(came, part[:, None, :], 0.0),
        weight,
        precision="highest",
    )
    mem, syn = product(by_mem), product(by_syn)

    # The same at the end of each neuron's refractory time.
    earlier = layer.held[:, :, None] & (z[:, None, :] >= layer.z[:, :, None])
    at_release = lambda part: jnp.sum(
        jnp.where(earlier, part[:, None, :] * weight.T[None], 0.0), axis=2
    )
    mem_then, syn_then = at_release(by_mem), at_release(by_syn)
    fresh = released(neuron, layer, layer.syn + syn_then) - mem_then
    base = jnp.where(layer.held, fresh, layer.mem)

    wide = Layer(*(x[:, None, :] for x in vars(layer).values()))
    mem, syn = base[:, None, :] + mem, layer.syn[:, None, :] + syn
    found = crossing(neuron, wide, mem, syn, since[:, :, None], until[:, :, None])
    total = lambda part: jnp.matmul(part, weight, precision="highest")
    return finish(
        neuron,
        layer,
        base + total(by_mem),
        layer.syn + total(by_syn),
        jnp.max(found, axis=1),
    )
