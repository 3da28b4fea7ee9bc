"""Crossings within one step of a Runge-Kutta method.

All neurons share one event condition, the largest of their thresholds. A crossing is
looked for in each accepted step, on its dense output: at the ends of quarters, and at the
maximum between these that a cubic through values and slopes predicts, so that a neuron
that crosses twice within one step is not missed. Cubics through values and slopes at the
ends of such a bracket, or the root finder asked for, tell who crosses first and about
when; Newton steps with the Runge-Kutta method itself, from the start of the step, then
give the spike time the accuracy of the method.
"""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.lax as lax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, PyTree

from ._event_problem import threshold_and_slope


_QUARTERS = 4
_NEWTON_STEPS = 6
_ROOT_STEPS = 8
_MARGIN = 1e-4


class Course(eqx.Module):
    """One step of a sample, looked at in parts of its length from 0 to 1."""

    engine: Any  # what steps, and how to search
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
        pick = lambda x: jnp.take_along_axis(x, who, axis=1)[:, 0]
        # Where there is nothing to look for it is the quarter's start, which is below.
        part = jnp.where(pick(peak) >= 0, pick(part), 0.0)
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

    def _guess(self, low: Array, high: Array, exists: Array) -> tuple[Array, Array]:
        """About when in a bracket the first crossing is, and whose it is."""
        if self.engine.root_finder is not None:
            return self._find(low, high, exists)
        ends = jnp.stack([low, high])
        gap, slope = jax.vmap(self.condition)(ends, jax.vmap(self.at)(ends))
        width = high - low
        slope = width * slope
        peak, top = (x[0] for x in _peaks(gap, slope))
        # A neuron may be above in between only; by more than the cubic can be wrong.
        size = jnp.max(jnp.abs(gap), axis=0) + jnp.max(jnp.abs(slope), axis=0)
        up, above = gap[1] >= 0, peak > _MARGIN * size
        end = jnp.where(up, 1.0, top)
        root = _cubic_root(gap[0], gap[1], slope[0], slope[1], end)
        part = jnp.where(up | above, low + root * width, jnp.inf)
        # Dense output may round to nothing at the end of a bracket.
        nobody = ~jnp.any(up | above)
        who = jnp.where(nobody, jnp.argmax(gap[1]), jnp.argmin(part))
        return jnp.where(nobody, high, part[who]), who

    def _find(self, low: Array, high: Array, exists: Array) -> tuple[Array, Array]:
        """`_guess`, by the root finder asked for."""

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
        return part, jnp.argmin(nearest)

    def locate(
        self, bracket: tuple[Array, Array], exists: Array
    ) -> tuple[Array, PyTree, Array]:
        """When in the step the first crossing is, the state then, and whose it is."""
        part, who = self._guess(*bracket, exists)
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


def _cubic_root(f0: Array, f1: Array, d0: Array, d1: Array, high: Array) -> Array:
    """Where in `[0, high]` a cubic through values and slopes at 0 and 1 goes through zero,
    if it is below zero at the start and above at the end."""
    a, b = d0 + d1 - 2 * (f1 - f0), 3 * (f1 - f0) - 2 * d0 - d1
    low = jnp.zeros_like(f0)
    x = jnp.clip(f0 / jnp.where(f0 < f1, f0 - f1, -1.0), 0.0, high)
    for _ in range(_ROOT_STEPS):
        f, slope = f0 + x * (d0 + x * (b + x * a)), d0 + x * (2 * b + 3 * x * a)
        low, high = jnp.where(f < 0, x, low), jnp.where(f < 0, high, x)
        newton = x - f / jnp.where(slope > 0, slope, 1.0)
        inside = (slope > 0) & (newton >= low) & (newton <= high)
        x = jnp.where(inside, newton, 0.5 * (low + high))
    return x


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
