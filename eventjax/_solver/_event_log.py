"""What a run from event to event writes down: its spikes, and its steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._event_step import Decision


class Own(eqx.Module):
    """The spikes of a layer so far."""

    times: Float[Array, "*batch capacity"]
    sources: Int[Array, "*batch capacity"]
    arrived: Bool[Array, "*batch capacity"]  # back at the layer, if it is recurrent
    count: Int[Array, "*batch"]


class Steps(eqx.Module):
    """What the reverse pass needs of each step: `[batch, steps, ...]`."""

    t: Float[Array, "*batch"]
    state: PyTree
    decision: Decision
    count: Int[Array, "*batch"]  # own spikes before it


def places_of(emitted: Bool[Array, "batch neurons"], count: Array, capacity: int):
    """Where the spikes of a step are put in the list; `capacity` for what is none."""
    place = count[:, None] + jnp.cumsum(emitted, axis=1, dtype=jnp.int32) - 1
    return jnp.where(emitted, jnp.minimum(place, capacity), capacity)


def emit(own: Own, emitted: Array, times: Array) -> Own:
    """Put the spikes of a step, in the order of the neurons, behind those so far."""
    batch, neurons = emitted.shape
    place = places_of(emitted, own.count, own.times.shape[1])
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]
    source = jnp.broadcast_to(jnp.arange(neurons, dtype=jnp.int32)[None], emitted.shape)
    put = lambda into, x: into.at[sample, place].set(x, mode="drop")
    count = own.count + jnp.sum(emitted, axis=1, dtype=jnp.int32)
    return Own(put(own.times, times), put(own.sources, source), own.arrived, count)


def empty_steps(t: Array, state: PyTree, size: int) -> Steps:
    """Room for `size` steps of each sample, which start at such times and states."""
    batch, neurons = jax.tree.leaves(state)[0].shape
    ints = jnp.zeros((batch, size), jnp.int32)

    def longer(x):
        return jnp.zeros((batch, size, *x.shape[1:]), x.dtype)

    mask = jnp.zeros((batch, size, neurons), bool)
    decision = Decision(longer(t), ints, mask, ints.astype(bool), ints)
    return Steps(longer(t), jax.tree.map(longer, state), decision, ints)


def log(steps: Steps, new: Steps, place: Int[Array, " batch"], taken: Array) -> Steps:
    """Write down a step of each sample, at a place of its own, if it was taken."""
    size = steps.t.shape[1]
    sample = jnp.arange(len(taken), dtype=jnp.int32)
    place = jnp.where(taken, place, size)
    put = lambda into, x: into.at[sample, place].set(x, mode="drop")
    return jax.tree.map(put, steps, new)
