"""One step from event to event, as a differentiable function of all it depends on.

How far to go, and who spikes at the end, is decided before and without derivatives. What
is done then is written so that its derivative is that of the exact solution: a step to a
given time ends there whenever it starts, and a spike's time gets its derivative from one
Newton correction of value zero, $-(g - \\bar g)/\\dot g$ with $\\bar g$ fixed.
"""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._neuron import AbstractNeuron
from ._event_problem import AbstractEngine, is_spike, threshold_and_slope


# What a step ends with.
PLAIN, CROSSING, STANDING, ARRIVAL, RECORD, END, NONE = range(7)


class Decision(eqx.Module):
    h: Float[Array, "*shape"]
    kind: Int[Array, "*shape"]
    mask: Bool[Array, "*shape neurons"]  # neurons whose event it is
    is_input: Bool[Array, "*shape"]  # of an arrival
    place: Int[Array, "*shape"]  # of the arrival, in the input or among the own spikes


class Given(eqx.Module):
    """What a step of one sample depends on."""

    neuron: AbstractNeuron
    drive: Float[Array, "*batch neurons"]
    t: Float[Array, "*batch"]
    state: PyTree
    row: Float[Array, "*batch neurons"]  # what an arrival brings
    target: Float[Array, "*batch"]  # when it comes, if the step's end is a given time


class Done(eqx.Module):
    t: Float[Array, "*batch"]
    state: PyTree
    # Who spikes, and when. An event of the mask need not be a spike.
    emitted: Bool[Array, "*batch neurons"]
    spike_times: Float[Array, "*batch neurons"]


def _along(state: PyTree, flow: PyTree, dt: Array) -> PyTree:
    return jax.tree.map(lambda y, f: y + f * dt, state, flow)


def _where(mask: Array, one: PyTree, two: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


def _stays(gap: Array, state: PyTree, slope: Array, standing: Array) -> Array:
    """Whether a neuron's event comes at this time whatever its parameters: it was above
    its threshold from the start on, by more than rounding, or is on its way down."""
    size = 1.0 + sum(jnp.abs(x) for x in jax.tree.leaves(state))
    above = standing & (gap > 64 * float(jnp.finfo(gap.dtype).eps) * size)
    return above | ~(slope > 0)


def _spike(
    given: Given, t: Array, state: PyTree, decision: Decision
) -> tuple[PyTree, Array]:
    """The state after the events of the mask, and their times.

    Each neuron goes to its own event time and from there back to `t`: ways of length
    zero, but neurons that spike at one time need not go on doing so when parameters
    change."""
    neuron, drive = given.neuron, given.drive
    gap, slope = threshold_and_slope(neuron, t, state, drive)
    stays = _stays(gap, state, slope, decision.kind == STANDING)
    free = decision.mask & ~lax.stop_gradient(stays)
    shift = -(gap - lax.stop_gradient(gap)) / jnp.where(free, slope, 1.0)
    shift = jnp.where(free, shift, 0.0)
    # A neuron that stands at its threshold goes on from there by the clock of the event
    # that brought it, not by its own.
    there = _along(state, neuron.vector_field(t, state, drive), shift)
    after = neuron.reset(t, there)
    back = _along(after, neuron.vector_field(t, after, drive), -shift)
    return _where(decision.mask, back, state), t + shift


def step(
    given: Given,
    decision: Decision,
    engine: AbstractEngine,
    silent: bool,
    state_after: PyTree | None = None,
) -> Done:
    """Do what was decided, for one sample. `state_after` is the state after `h` where it
    is known and no derivative is wanted; `silent` neurons never spike."""
    kind = decision.kind
    to_target = (kind == ARRIVAL) | (kind == RECORD) | (kind == END)
    gap = given.target - given.t
    h = jnp.where(to_target, decision.h + (gap - lax.stop_gradient(gap)), decision.h)
    state = state_after
    if state is None:
        state = engine.advance(given.neuron, given.t, given.state, given.drive, h)
    t = jnp.where(to_target, given.target, given.t + h)
    times = jnp.broadcast_to(t, given.drive.shape)
    emitted = decision.mask
    if not silent:
        emitted = emitted & is_spike(given.neuron, state)
        state, times = _spike(given, t, state, decision)
    received = given.neuron.receive(state, given.row)
    state = _where(kind == ARRIVAL, received, state)
    idle = kind == NONE
    state = _where(idle, given.state, state)
    return Done(jnp.where(idle, given.t, t), state, emitted, times)


def batched_step(
    given: Given,
    decision: Decision,
    engine: AbstractEngine,
    silent: bool,
    state_after: Any = None,
) -> Done:
    """`step` for all samples, which share their neurons."""
    neuron = given.neuron
    rest = eqx.tree_at(lambda g: g.neuron, given, None)

    def one(rest, decision, state_after):
        given = eqx.tree_at(
            lambda g: g.neuron, rest, neuron, is_leaf=lambda x: x is None
        )
        return step(given, decision, engine, silent, state_after)

    return jax.vmap(one)(rest, decision, state_after)
