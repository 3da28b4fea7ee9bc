"""The loop over time steps that all learning rules on a grid share."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._neuron import AbstractNeuron
from .._solver._clocked_problem import ClockedProblem, ClockedRun
from .._solver._event_problem import is_spike, never_spikes
from .._solver._step import advance
from ._base import AbstractClockedAdjoint


@jax.custom_jvp
def with_slope(value: Array, x: Array, slope: Array) -> Array:
    """`value`, with a derivative by `x` that is said to be `slope`, in forward and in
    reverse mode. Gradients do not reach `slope` itself."""
    del x, slope
    return value


with_slope.defjvps(
    lambda dot, out, value, x, slope: dot,
    lambda dot, out, value, x, slope: slope * dot,
    None,
)


class _Carry(eqx.Module):
    state: PyTree[Float[Array, "batch neurons"]]
    ring: Float[Array, "ring batch neurons"] | None  # spikes on their way back
    max_voltages: Float[Array, "batch neurons"] | None


def _fires(
    rule: AbstractClockedAdjoint, neuron: AbstractNeuron, t: Any, state: PyTree
) -> Float[Array, "batch neurons"] | None:
    """Who spikes at the end of a step, `None` if these neurons never do. A refractory
    neuron does not, whatever its distance to the threshold."""
    distance = jax.vmap(lambda s: neuron.threshold(t, s))(state)
    if distance is None:
        return None
    free = jax.vmap(lambda s: is_spike(neuron, s))(state)
    return jnp.where(free, rule.spike(distance), 0.0)


def _after_spikes(
    neuron: AbstractNeuron, t: Any, state: PyTree, spikes: Array, through: bool
) -> PyTree:
    """`state + spikes * (reset(state) - state)`, exactly; the derivative by `spikes` is
    left out if gradients must not pass `through` the reset."""
    reset = jax.vmap(lambda s: neuron.reset(t, s))(state)

    def one(before, after):
        if before is after:  # a part of the state that the reset leaves alone
            return before
        new = jnp.where(spikes > 0, after, before)
        return with_slope(new, spikes, after - before) if through else new

    return jax.tree.map(one, state, reset)


def run_steps(problem: ClockedProblem, rule: AbstractClockedAdjoint) -> ClockedRun:
    """Run a layer. Plain operations with the spike primitive of the rule, so that every
    transformation of JAX works, and differentiates as the rule's paths say."""
    neuron, grid, recurrence = problem.neuron, problem.grid, problem.recurrence
    steps, batch, _ = problem.currents.shape
    dtype = problem.currents.dtype

    def free(t: Array, state: PyTree) -> PyTree:
        def one(state, drive):
            return advance(problem.integrator, neuron, t, state, drive, grid.dt)

        if problem.drive is None:
            return jax.vmap(lambda s: one(s, 0.0))(state)
        return jax.vmap(one)(state, problem.drive)

    def step(carry: _Carry, given: tuple[Int[Array, ""], Array]):
        number, current = given
        state = free(grid.start(number, dtype), carry.state)
        if recurrence is not None:
            current = current + recurrence.current(carry.ring, number)
        state = jax.vmap(neuron.receive)(state, current)

        t, ring, largest = grid.start(number + 1, dtype), carry.ring, carry.max_voltages
        spikes = _fires(rule, neuron, t, state)
        if spikes is not None:
            state = _after_spikes(neuron, t, state, spikes, rule.paths.reset)
            if recurrence is not None:
                back = spikes if rule.paths.recurrent else lax.stop_gradient(spikes)
                ring = recurrence.remember(ring, number, back)
        if largest is not None:
            largest = jnp.where(state.v > largest, state.v, largest)
        kept = state if problem.keep_states else None
        return _Carry(state, ring, largest), (spikes, kept)

    has_maximum = never_spikes(neuron) and hasattr(problem.state, "v")
    start = _Carry(
        problem.state,
        None if recurrence is None else recurrence.start(batch),
        problem.state.v if has_maximum else None,
    )
    numbers = jnp.arange(steps, dtype=jnp.int32)
    end, (spikes, states) = lax.scan(step, start, (numbers, problem.currents))
    return ClockedRun(spikes, end.state, states, end.max_voltages)
