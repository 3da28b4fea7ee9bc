"""First spikes of a layer by going through the arrivals in order: for processors that do
one thing at a time. Neurons and samples go side by side."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._arrivals import sort_arrivals
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


# So many arrivals are written out, and the rest go through a loop, which ends with the
# last arrival there is. Longer blocks are slower: XLA works parts of them out twice.
BLOCK = 2


class _At(eqx.Module):
    """After some of the arrivals."""

    mem: Array
    syn: Array
    since: Array  # z of the last one, [batch, 1]
    found: Array  # z of the first spike, or 0


def spikes_one_by_one(
    neuron: Neuron, layer: Layer, arrivals: Array, weight: Array
) -> tuple[Array, Array]:
    """Spikes and voltages of a layer from `begin`, on which spikes arrive at times
    `arrivals`, `[batch, sources]`, with `weight`, `[sources, neurons]`."""
    end = window_end(neuron, layer.syn)

    def advance(at: _At, until: Array) -> _At:
        """Up to the next arrival."""
        ends = layer.held & (layer.z < at.since) & (layer.z >= until)
        mem = jnp.where(ends, released(neuron, layer, at.syn), at.mem)
        z = crossing(neuron, layer, mem, at.syn, at.since, until)
        return _At(mem, at.syn, until, jnp.maximum(at.found, z))

    sorted_ = sort_arrivals(arrivals, neuron.refractory)
    sources = arrivals.shape[1]
    block = min(BLOCK, sources)
    blocks = -(-sources // block)
    pad = ((0, 0), (0, blocks * block - sources))
    times = jnp.pad(sorted_.times, pad, constant_values=jnp.inf)
    index = jnp.pad(sorted_.sources, pad)
    there = jnp.isfinite(times)
    z = jnp.where(there, decay(neuron, jnp.where(there, times, 0.0)), end)
    by_mem, by_syn = (jnp.where(there, x, 0.0) for x in unit_arrival(neuron, 1 / z))

    def one_block(k, at: _At) -> _At:
        cut = lambda x: lax.dynamic_slice_in_dim(x, k * block, block, axis=1)
        parts = [cut(x) for x in (z, index, by_mem, by_syn)]
        for n in range(block):
            until, source, m, s = (x[:, n : n + 1] for x in parts)
            at = advance(at, until)
            row = weight[source[:, 0]]
            at = _At(at.mem + row * m, at.syn + row * s, until, at.found)
        return at

    at = _At(layer.mem, layer.syn, jnp.ones_like(z[:, :1]), jnp.zeros_like(layer.syn))
    if blocks == 1:
        at = one_block(0, at)
    else:
        count = (sorted_.most + block - 1) // block
        at = lax.fori_loop(0, count, one_block, at)
    at = advance(at, jnp.broadcast_to(end, at.since.shape))
    return finish(neuron, layer, at.mem, at.syn, at.found)
