"""The loop over time steps that all learning rules on a grid share."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._neuron import AbstractNeuron, adaptation_of, STDPALIF
from .._solver._clocked_problem import ClockedProblem, ClockedRun
from .._solver._event_problem import is_spike, never_spikes
from .._solver._grid import Grid
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


def spikes_by(
    shape: Callable[[Array], Array], distance: Float[Array, "batch neurons"]
) -> Float[Array, "batch neurons"]:
    """1 where the distance to the threshold is zero or above, with `shape` of it for a
    derivative. Raises a `ValueError` if that has another shape."""
    slope = shape(distance)
    if jnp.shape(slope) != distance.shape:
        raise ValueError(
            "`shape` must keep the shape of what it is given, but made "
            f"{jnp.shape(slope)} of {distance.shape}."
        )
    spikes = (distance >= 0).astype(distance.dtype)
    return with_slope(spikes, distance, slope)


class _Carry(eqx.Module):
    state: PyTree[Float[Array, "batch neurons"]]
    ring: Float[Array, "ring batch neurons"] | None  # spikes on their way back
    max_voltages: Float[Array, "batch neurons"] | None


def _fires(
    rule: AbstractClockedAdjoint, neuron: AbstractNeuron, t: Any, state: PyTree
) -> Float[Array, "batch neurons"] | None:
    """Who spikes at the end of a step, `None` if these neurons never do. A refractory
    neuron does not, whatever its distance to the threshold, and has no derivative; some
    neurons (`STDPALIF`) have one of their own."""
    distance = jax.vmap(lambda s: neuron.threshold(t, s))(state)
    if distance is None:
        return None
    free = jax.vmap(lambda s: is_spike(neuron, s))(state)
    spikes = rule.spike(distance)
    if not isinstance(neuron, STDPALIF):
        return jnp.where(free, spikes, 0.0)
    fires = lax.stop_gradient(jnp.where(free, spikes, 0.0))
    window = jax.vmap(neuron.slope_window)(state, fires > 0)
    slope = jnp.full_like(distance, neuron.refractory_slope)
    ruled = fires + (spikes - lax.stop_gradient(spikes))
    return jnp.where(window, with_slope(fires, distance, slope), ruled)


def _after_spikes(
    neuron: AbstractNeuron, t: Any, state: PyTree, spikes: Array, through: bool
) -> PyTree:
    """`state + spikes * (reset(state) - state)`, exactly; the derivative by `spikes` is
    left out if gradients must not pass `through` the reset, but for what is an adaptation
    to spikes."""
    reset = jax.vmap(lambda s: neuron.reset(t, s))(state)

    def one(path, before, after):
        if before is after:  # a part of the state that the reset leaves alone
            return before
        new = jnp.where(spikes > 0, after, before)
        passes = through or any(getattr(p, "name", None) in adaptation for p in path)
        return with_slope(new, spikes, after - before) if passes else new

    adaptation = adaptation_of(neuron)
    return jax.tree_util.tree_map_with_path(one, state, reset)


class NeuronStep(eqx.Module):
    """How the neurons of a layer take one step of a grid."""

    rule: AbstractClockedAdjoint
    neuron: AbstractNeuron
    integrator: diffrax.AbstractSolver
    grid: Grid
    drive: Float[Array, "batch neurons"] | None

    def __call__(
        self,
        number: Int[Array, ""],
        state: PyTree[Float[Array, "batch neurons"]],
        current: Float[Array, "batch neurons"],
        known: Float[Array, "batch neurons"] | None = None,
    ) -> tuple[PyTree, Float[Array, "batch neurons"] | None]:
        """State and spikes (`None`: they never do) at the end of step `number`, from the
        state at its start and the current that arrives. Spikes that are `known` are taken
        as they are."""
        neuron, grid = self.neuron, self.grid
        t = grid.start(number, current.dtype)

        def free(state, drive):
            return advance(self.integrator, neuron, t, state, drive, grid.dt)

        if self.drive is None:
            state = jax.vmap(lambda s: free(s, 0.0))(state)
        else:
            state = jax.vmap(free)(state, self.drive)
        state = jax.vmap(neuron.receive)(state, current)
        t = grid.start(number + 1, current.dtype)
        spikes = _fires(self.rule, neuron, t, state)
        if known is not None:
            spikes = lax.stop_gradient(known - spikes) + spikes
        if spikes is not None:
            through = self.rule.paths.reset
            state = _after_spikes(neuron, t, state, spikes, through)
        return state, spikes


def run_steps(
    problem: ClockedProblem,
    rule: AbstractClockedAdjoint,
    known: Float[Array, "steps batch neurons"] | None = None,
) -> ClockedRun:
    """Run a layer. Plain operations with the spike primitive of the rule, so that every
    transformation of JAX works, and differentiates as the rule's paths say. Spikes that
    are `known` already are taken as they are, whatever the distance to the threshold."""
    neuron, grid, recurrence = problem.neuron, problem.grid, problem.recurrence
    steps, batch, _ = problem.currents.shape
    take = NeuronStep(rule, neuron, problem.integrator, grid, problem.drive)

    def step(carry: _Carry, given: tuple[Int[Array, ""], Array, Array | None]):
        number, current, known = given
        if recurrence is not None:
            current = current + recurrence.current(carry.ring, number)
        state, spikes = take(number, carry.state, current, known)
        ring, largest = carry.ring, carry.max_voltages
        if spikes is not None and recurrence is not None:
            back = spikes if rule.paths.recurrent else lax.stop_gradient(spikes)
            ring = recurrence.remember(ring, number, back)
        if largest is not None:
            largest = jnp.where(state.v > largest, state.v, largest)
        kept = state if problem.keep_states else None
        arrived = current if problem.keep_currents else None
        return _Carry(state, ring, largest), (spikes, kept, arrived)

    has_maximum = never_spikes(neuron) and hasattr(problem.state, "v")
    start = _Carry(
        problem.state,
        None if recurrence is None else recurrence.start(batch),
        problem.state.v if has_maximum else None,
    )
    numbers = jnp.arange(steps, dtype=jnp.int32)
    given = numbers, problem.currents, known
    end, (spikes, states, currents) = lax.scan(step, start, given)
    return ClockedRun(spikes, end.state, states, end.max_voltages, currents)
