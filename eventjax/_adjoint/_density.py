"""The density of spikes along the course of neurons whose events are all known.

Its value is zero and its derivative is that of the rule: whoever reads it gets the values
of the exact run, and gradients that go back along the course of each neuron by itself. In
reverse mode that is a linear ODE for each neuron with jumps at events, and one product
with what arrived.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from .._neuron import ALIF, LIF
from ._collocation import collocate, NODES


class Density(eqx.Module):
    """What neurons spike at the nodes of a quadrature: zeros, of which only the derivative
    counts."""

    times: Float[Array, "batch nodes"]  # ms, ascending
    spiked: Float[Array, "batch nodes neurons"]


class Timeline(eqx.Module):
    """All events of a layer in one list, ascending, none after `t1`."""

    # Of arrivals, gradients reach them
    times: Float[Array, "events batch"]
    received: Float[Array, "events batch neurons"]  # zero where nothing arrives
    source: Int[Array, "events batch"]  # the neuron that spikes, -1 for none


class Course(eqx.Module):
    state: PyTree[Float[Array, "batch neurons"]]  # at t1
    density: Density
    v: Float[Array, "events batch neurons"]  # just after each event


def course(
    neuron: LIF | ALIF,
    timeline: Timeline,
    state: PyTree[Float[Array, "batch neurons"]],
    drive: Float[Array, "batch neurons"],
    t0: Float[Array, ""],
    shape: Callable[[Array], Array],
    substeps: int,
) -> Course:
    """Follow the neurons from event to event, in `substeps` steps between any two."""

    def one(state, drive, start, time, received, source):
        end = lax.stop_gradient(time)
        h = (end - start) / substeps

        def step(state, _):
            return collocate(neuron, shape, state, drive, h)

        state, spiked = lax.scan(step, state, None, length=substeps)
        # An arrival comes at its own time: a way of length zero there, and back.
        state = _along(neuron, state, drive, time - end)
        spikes = jnp.arange(neuron.size, dtype=jnp.int32) == source
        reset = neuron.reset(0.0, state)
        state = jax.tree.map(lambda x, y: jnp.where(spikes, x, y), reset, state)
        state = neuron.receive(state, received)
        state = _along(neuron, state, drive, end - time)
        return state, (spiked, state.v)

    # Computed anew in the reverse pass, which then keeps a state for each event.
    @jax.checkpoint
    def body(state, event):
        return jax.vmap(one)(state, drive, *event)

    ends = lax.stop_gradient(timeline.times)
    starts = jnp.concatenate([jnp.full_like(ends[:1], t0), ends[:-1]])
    events = starts, timeline.times, timeline.received, timeline.source
    state, (spiked, v) = lax.scan(body, state, events)

    step = jnp.arange(substeps, dtype=ends.dtype)
    place = step[:, None] + jnp.asarray(NODES, ends.dtype)[None]
    h = (ends - starts) / substeps
    times = starts[:, None, None] + h[:, None, None] * place[None, :, :, None]
    batch = ends.shape[1]
    times = jnp.moveaxis(times, 3, 0).reshape(batch, -1)
    spiked = jnp.moveaxis(spiked, 1, 0).reshape(batch, -1, neuron.size)
    return Course(state, Density(times, spiked), v)


def _along(neuron: LIF | ALIF, state: PyTree, drive: Any, dt: Array) -> PyTree:
    flow = neuron.vector_field(0.0, state, drive)
    return jax.tree.map(lambda y, f: y + f * dt, state, flow)
