"""From event to event with error-controlled steps of a Diffrax solver."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.lax as lax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from .._neuron import AbstractNeuron
from ._course import Course
from ._event_problem import (
    AbstractEngine,
    Attempt,
    never_spikes,
)
from ._explicit_step import explicit_step


class _Memory(eqx.Module):
    dt: Float[Array, ""]  # to be tried next
    controller: PyTree


def _field(t: Any, state: PyTree, args: tuple[AbstractNeuron, Any]) -> PyTree:
    neuron, drive = args
    return neuron.vector_field(t, state, drive)


_TERM = diffrax.ODETerm(_field)


def _select(mask: Array, one: PyTree, two: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: jnp.where(mask, x, y), one, two)


class RungeKuttaEngine(AbstractEngine):
    solver: diffrax.AbstractAdaptiveSolver
    controller: diffrax.PIDController
    root_finder: optx.AbstractRootFinder | None
    most: int = eqx.field(static=True)
    # How the stages are looped over where steps are differentiated: "checkpointed" is for
    # reverse mode only, "bounded" for any.
    loop: str = eqx.field(static=True, default="checkpointed")

    def any_mode(self) -> "RungeKuttaEngine":
        return dataclasses.replace(self, loop="bounded")

    def start(self, neuron, t0, t1, state, drive) -> _Memory:
        args = neuron, drive
        order = self.solver.error_order(_TERM)
        first, controller = self.controller.init(
            _TERM, t0, t1, state, None, args, self.solver.func, order
        )
        return _Memory(first - t0, controller)

    def solve(self, t, state, args, h, loop: str = "lax"):
        """One step of the method: the state after it, the error and dense output."""
        solver: Any = self.solver
        if isinstance(solver, diffrax.AbstractERK):
            field = lambda t, y: _field(t, y, args)
            return explicit_step(solver.tableau, field, t, state, h)
        if hasattr(solver, "scan_kind"):
            solver = eqx.tree_at(
                lambda s: s.scan_kind, solver, loop, is_leaf=lambda x: x is None
            )
        memory = solver.init(_TERM, t, t + h, state, args)
        after, error, dense, _, _ = solver.step(
            _TERM, t, t + h, state, args, memory, False
        )
        return after, error, dense

    def advance(self, neuron, t, state, drive, h) -> PyTree:
        return self.solve(t, state, (neuron, drive), h, self.loop)[0]

    def max_steps(self, num_events: int) -> int:
        return self.most

    def attempt(self, neuron, t, state, drive, limit, memory) -> Attempt:
        args = neuron, drive
        silent = never_spikes(neuron)
        nobody = jnp.zeros(drive.shape, bool)
        mask = nobody if silent else neuron.threshold(t, state) >= 0
        standing = jnp.any(mask)
        whole = jnp.minimum(memory.dt, limit - t)
        h = jnp.where(standing, 0.0, whole)
        after, error, dense = self.solve(t, state, args, h)
        with jax.numpy_dtype_promotion("standard"):
            keep, start, end, _, controller, _ = self.controller.adapt_step_size(
                t,
                t + h,
                state,
                after,
                args,
                error,
                self.solver.error_order(_TERM),
                memory.controller,
            )
        moves = h > 0
        keep = keep | ~moves
        # A step cut short says little about how long the next may be.
        proposed = (end - start).astype(t.dtype)
        cut = keep & (h < memory.dt)
        dt = jnp.where(cut, jnp.maximum(proposed, memory.dt), proposed)
        smallest = 16 * float(jnp.finfo(t.dtype).eps) * (jnp.abs(t) + jnp.abs(limit))
        failed = ~keep & (h <= smallest)
        memory = _Memory(
            jnp.where(moves, dt, memory.dt),
            jax.tree.map(
                lambda x, y: jnp.where(moves, x, y), controller, memory.controller
            ),
        )
        crosses = standing
        if not silent:
            # A step of no length has no dense output; what comes out is not used.
            safe = jnp.where(moves, h, 1.0)
            course = Course(self, t, state, args, safe, after, dense)
            bracket, found = course.first_crossing()
            found = found & keep & moves

            def locate():
                return course.locate(bracket, found)

            def skip():
                return h, after, nobody

            some = eqxi.unvmap_any(found)
            h_found, after_found, who = lax.cond(some, locate, skip)
            h = jnp.where(found, h_found, h)
            after = _select(found, after_found, after)
            mask = jnp.where(found, who, mask)
            crosses = standing | found
        after = _select(moves, after, state)
        return Attempt(h, keep, crosses, standing, mask, after, memory, failed)
