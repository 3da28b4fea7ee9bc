"""Thresholds that depend on the time within a neuron's firing window."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


Volts = Float[Array, "*shape"]
Times = Float[Array, "*shape"]


class AbstractRamp(eqx.Module):
    """A threshold over a firing window that opens at time 0 and is `window` ms long, met
    by voltages that are straight lines, `v` when the window opens and `slope` per ms.

    The schedule of the paper is UNCONFIRMED, so it is a part that can be exchanged.
    Gradients are exact for any: they need `value` and `closing_speed` at the spike only.
    """

    @abc.abstractmethod
    def value(self, t: Times, window: float) -> Volts:
        """The threshold at times `t` in ms, differentiable by its parameters."""

    @abc.abstractmethod
    def crossing(self, v: Volts, slope: Volts, window: float) -> Times:
        """When each line first reaches the threshold within `[0, window]`; 0 where it
        starts at or above it, `+inf` where it never does."""

    @abc.abstractmethod
    def closing_speed(self, v: Volts, slope: Volts, t: Times, window: float) -> Volts:
        """How fast, per ms, each line nears the threshold where it crosses it at `t`:
        `slope` minus the derivative of `value`. Anything where it does not cross."""


class LinearRamp(AbstractRamp):
    r"""A straight line from `start`, when the window opens, to `end`, when it closes.

    A line that starts a gap $a = \theta_0 - v$ below and ends $b$ above the threshold
    crosses it at $t = T a / (a + b)$. Both are positive, so nothing is divided by zero,
    and $0 < t \le T$ in floating point too.

    With `end=0` a neuron spikes if its voltage ends above zero, whatever the scale of its
    weights; with `end=start` the threshold is fixed.

    **Arguments:** `start` and `end`, voltages (dimensionless), numbers or arrays of shape
    `[]`, which can be trained. Raises a `ValueError` unless both are finite and
    `start >= end`.

    ??? cite

        A threshold that falls linearly to zero is that of Wei et al., ICCV (2023); that
        the AFT-IF neuron of Wei et al., arXiv 2403.00270, has the same is UNCONFIRMED.
    """

    start: Float[Array, ""] | float
    end: Float[Array, ""] | float

    def __init__(self, start: Any = 1.0, end: Any = 0.0):
        self.start = float(start) if isinstance(start, (int, float)) else start
        self.end = float(end) if isinstance(end, (int, float)) else end
        given = self.start, self.end
        if not any(isinstance(x, Tracer) for x in given):
            low, high = np.asarray(self.end), np.asarray(self.start)
            if not (np.isfinite(low) and np.isfinite(high) and high >= low):
                raise ValueError(
                    "`start` and `end` must be finite and `start` at least `end`, or "
                    "voltages above the threshold would cross it from above; got "
                    f"`start={start}` and `end={end}`."
                )

    def value(self, t: Times, window: float) -> Volts:
        start, end = (jnp.asarray(x, t.dtype) for x in (self.start, self.end))
        return start - (start - end) * (t / window)

    def _gaps(self, v: Volts, slope: Volts, window: float) -> tuple[Volts, Volts]:
        """Below the threshold when the window opens, and above it when it closes."""
        start, end = (jnp.asarray(x, v.dtype) for x in (self.start, self.end))
        return start - v, v + slope * window - end

    def crossing(self, v: Volts, slope: Volts, window: float) -> Times:
        gap, above = self._gaps(v, slope, window)
        active = (gap > 0) & (above > 0)
        # The safe denominator keeps NaN out of derivatives as well.
        time = window * (gap / jnp.where(active, gap + above, 1.0))
        return jnp.where(gap <= 0, 0.0, jnp.where(active, time, jnp.inf))

    def closing_speed(self, v: Volts, slope: Volts, t: Times, window: float) -> Volts:
        gap, above = self._gaps(v, slope, window)
        return (gap + above) / window
