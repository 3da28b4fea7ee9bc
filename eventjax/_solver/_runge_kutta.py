"""From event to event with error-controlled steps of a Diffrax solver.

All neurons share one event condition, the largest of their thresholds. A crossing is
looked for in each accepted step, on its dense output: at the ends of quarters, and at the
maximum between these that a cubic through values and slopes predicts, so that a neuron
that crosses twice within one step is not missed. The root finder brackets the crossing on
the dense output; Newton steps with the Runge-Kutta method itself, from the start of the
step, then give the spike time the accuracy of the method.
"""

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
from ._event_problem import (
    AbstractEngine,
    Attempt,
    never_spikes,
    threshold_and_slope,
)
from ._explicit_step import explicit_step


_QUARTERS = 4
_NEWTON_STEPS = 6


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
    root_finder: optx.AbstractRootFinder
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
            course = _Course(self, t, state, args, safe, after, dense)
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


class _Course(eqx.Module):
    """One step of a sample, looked at in parts of its length from 0 to 1."""

    engine: RungeKuttaEngine
    t: Array
    state: PyTree
    args: tuple
    h: Array
    after: PyTree
    dense: PyTree

    def at(self, part: Array) -> PyTree:
        """From the dense output."""
        make = self.engine.solver.interpolation_cls
        end = self.t + self.h
        return make(t0=self.t, t1=end, **self.dense).evaluate(self.t + part * self.h)

    def condition(self, part: Array, state: PyTree) -> tuple[Array, Array]:
        """Thresholds and their slopes in units of the step, `[neurons]`."""
        neuron, drive = self.args
        gap, slope = threshold_and_slope(neuron, self.t + part * self.h, state, drive)
        return gap, slope * self.h

    def first_crossing(self) -> tuple[tuple[Array, Array], Array]:
        """A bracket of the first crossing, and whether there is one."""
        inner = jnp.arange(1, _QUARTERS, dtype=self.h.dtype) / _QUARTERS
        states = jax.vmap(self.at)(inner)
        join = lambda x, y, z: jnp.concatenate([x[None], y, z[None]])
        states = jax.tree.map(join, self.state, states, self.after)
        parts = jnp.linspace(0.0, 1.0, _QUARTERS + 1, dtype=self.h.dtype)
        gap, slope = jax.vmap(self.condition)(parts, states)
        peak, part = _peaks(gap, slope / _QUARTERS)
        # The most promising neuron of each quarter shows when to look.
        who = jnp.argmax(peak, axis=1)[:, None]
        part = jnp.take_along_axis(part, who, axis=1)[:, 0]
        between = parts[:-1] + part / _QUARTERS

        def look():
            states = jax.vmap(self.at)(between)
            thresholds = jax.vmap(self.condition)(between, states)[0]
            return jnp.max(thresholds, axis=1)

        nothing = jnp.full_like(between, -jnp.inf)
        hope = eqxi.unvmap_any(jnp.max(peak) >= 0)
        tops = lax.cond(hope, look, lambda: nothing)
        ends = jnp.max(gap, axis=1)
        inside = jnp.stack([between, parts[1:]], axis=1).reshape(-1)
        values = jnp.stack([tops, ends[1:]], axis=1).reshape(-1)
        above = values >= 0
        first = jnp.argmax(above)
        low = jnp.where(first > 0, inside[first - 1], 0.0)
        return (low, inside[first]), jnp.any(above)

    def locate(
        self, bracket: tuple[Array, Array], exists: Array
    ) -> tuple[Array, PyTree, Array]:
        """When in the step the first crossing is, the state then, and whose it is."""
        low, high = bracket

        # The name of the second argument is not ours to choose.
        def largest(x, args):
            part = low + x * (high - low)
            time = self.t + part * self.h
            value = jnp.max(self.args[0].threshold(time, self.at(part)))
            # Signs at the ends are known, and dense output may round to others there.
            value = jnp.where(x <= 0, -1.0, jnp.where(x >= 1, 1.0, value))
            # Other samples of a batch, which have no crossing, get a root as well.
            return jnp.where(exists, value, x - 0.5)

        zero = jnp.zeros_like(low)
        found = optx.root_find(
            largest,
            self.engine.root_finder,
            zero + 0.5,
            options=dict(lower=zero, upper=zero + 1.0),
            max_steps=64,
            throw=False,
        ).value
        found = jnp.where(jnp.isfinite(found), jnp.clip(found, 0.0, 1.0), 1.0)
        part = low + found * (high - low)
        gap, slope = self.condition(part, self.at(part))
        top = self.condition(high, self.at(high))[0]
        rises = slope > 0
        crossing = part - gap / jnp.where(rises, slope, 1.0)
        crossing = jnp.where(rises & (top >= 0), crossing, jnp.inf)
        nearest = jnp.where(jnp.any(jnp.isfinite(crossing)), crossing, -gap)
        who = jnp.argmin(nearest)

        eps = float(jnp.finfo(part.dtype).eps)

        def unsure(carry):
            count, part, before, _ = carry
            return (count < _NEWTON_STEPS) & (jnp.abs(part - before) > 4 * eps)

        def improve(carry):
            count, part, _, _ = carry
            after = self.engine.solve(self.t, self.state, self.args, part * self.h)[0]
            gap, slope = self.condition(part, after)
            step = -gap[who] / jnp.where(slope[who] > 0, slope[who], jnp.inf)
            return count + 1, jnp.clip(part + step, 0.0, 1.0), part, after

        # The state goes with the time before the last improvement.
        start = jnp.zeros((), jnp.int32), part, part + 1.0, self.after
        _, _, part, after = lax.while_loop(unsure, improve, start)
        gap, _ = self.condition(part, after)
        mask = (gap >= 0) | (jnp.arange(gap.shape[0]) == who)
        return part * self.h, after, mask


def _peaks(gap: Array, slope: Array) -> tuple[Array, Array]:
    """The largest value between neighbouring points of a cubic through values and slopes
    (`[points, neurons]`, slopes per interval), and where in the interval it is; `-inf`
    where the cubic has no maximum inside, or the ends are above zero anyway."""
    f0, f1, d0, d1 = gap[:-1], gap[1:], slope[:-1], slope[1:]
    # f(x) = f0 + d0 x + b x^2 + a x^3
    a = d0 + d1 - 2 * (f1 - f0)
    b = 3 * (f1 - f0) - 2 * d0 - d1
    root = jnp.sqrt(jnp.maximum(b * b - 3 * a * d0, 0.0))
    # The maximum of the two zeros of f', in the form that loses no digits.
    down = root - b
    x = jnp.where(down != 0, d0 / jnp.where(down != 0, down, 1.0), 0.5)
    x = jnp.clip(x, 0.0, 1.0)
    value = f0 + x * (d0 + x * (b + x * a))
    inside = (d0 > 0) & (d1 < 0) & (f0 < 0) & (f1 < 0)
    return jnp.where(inside, value, -jnp.inf), x
