from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ._base import AbstractFlow, check_parameter, full, Parameter, rest
from ._delta_lif import VoltageState


class ThresholdFall(eqx.Module):
    r"""A threshold that falls in a straight line over a trial, the same for all neurons.

    $$\theta(t) = \theta_0 + (\theta_1 - \theta_0)\,t / T \qquad (0 \le t \le T)$$

    and stays at `end` from then on.

    **Arguments:** `start` and `end`, voltages (dimensionless), and `duration` $T$ in ms.
    Raises a `ValueError` unless `duration` is positive and both voltages are finite.

    ??? cite

        A candidate only: how the threshold of Wei et al., arXiv 2403.00270, adapts in LIF
        neurons is UNCONFIRMED, as are its values. This one carries the ramp of the
        neurons of STD-ED over.
    """

    start: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    duration: float = eqx.field(static=True)

    def __check_init__(self):
        if not (np.isfinite(self.duration) and self.duration > 0):
            raise ValueError(
                f"`duration` must be positive and finite, in ms, got {self.duration}."
            )
        if not (np.isfinite(self.start) and np.isfinite(self.end)):
            raise ValueError(
                f"`start` and `end` must be finite, got {self.start} and {self.end}."
            )

    def __call__(self, t: Any, v: Array) -> Array:
        part = jnp.clip(jnp.asarray(t, v.dtype) / self.duration, 0.0, 1.0)
        return full(self.start + (self.end - self.start) * part, v)


class AdaptiveLIF(AbstractFlow):
    r"""Leaky integrate-and-fire neurons with delta synapses, a threshold that adapts, and
    a hard reset: those of MPD-ED, for runs on a time grid.

    $$u_k = \beta\,v_{k-1} + \sum_i w_i s_{i,k}, \qquad
    s_k = \Theta(u_k - \theta(t_k, u_k)), \qquad v_k = (1 - s_k)\,u_k + s_k v_{reset}$$

    with $\beta = e^{-dt / \tau_{mem}}$ under `Clocked(dt)`. Between arrivals
    $\tau_{mem} \dot V = -V$.

    **Arguments:**

    - `size`: number of neurons.
    - `threshold`: a function of the time in ms and of the voltages `[neurons]` of one
        sample that gives a threshold for each, such as `ThresholdFall`; a number is a
        constant threshold. Arrays that the function holds can be trained. Gradients do
        not pass through the voltages it is given.
    - `tau_mem`: membrane time constant in ms.
    - `v_reset`: voltage (dimensionless) after a spike.

    `tau_mem` and `v_reset` are numbers, which are constants, or arrays of shape `[size]`,
    which can be trained. Raises a `ValueError` for a time constant that is not positive.

    ??? cite

        Wei et al., arXiv 2403.00270, for LIF neurons with adaptive firing threshold. The
        equations are a reconstruction: reset, leak and threshold are UNCONFIRMED.
    """

    threshold_rule: Callable[[Any, Array], Array]
    tau_mem: Parameter
    v_reset: Parameter
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        threshold: Any = 1.0,
        *,
        tau_mem: Any = 20.0,
        v_reset: Any = 0.0,
    ):
        self.size = size
        if isinstance(threshold, (int, float)):
            threshold = ThresholdFall(float(threshold), float(threshold), 1.0)
        if not callable(threshold):
            raise ValueError(
                "`threshold` must be a number or a function of the time and of voltages, "
                f"as `ThresholdFall(1.0, 0.1, duration=10.0)`, got {threshold!r}."
            )
        self.threshold_rule = threshold
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.v_reset = check_parameter("v_reset", v_reset, size)

    def initial_state(self) -> VoltageState:
        return VoltageState(rest(self))

    def vector_field(self, t: Any, state: VoltageState, drive: Any) -> VoltageState:
        return VoltageState((drive - state.v) / full(self.tau_mem, state.v))

    def receive(self, state: VoltageState, current: Array) -> VoltageState:
        return VoltageState(state.v + current)

    def threshold(self, t: Any, state: VoltageState) -> Array:
        value = self.threshold_rule(t, lax.stop_gradient(state.v))
        if jnp.shape(value) != state.v.shape:
            raise ValueError(
                f"`threshold` must give one value for each neuron, {state.v.shape}, got "
                f"shape {jnp.shape(value)}."
            )
        return state.v - value.astype(state.v.dtype)

    def reset(self, t: Any, state: VoltageState) -> VoltageState:
        return VoltageState(full(self.v_reset, state.v))

    def flow(self, state: VoltageState, drive: Any, dt: Any) -> VoltageState:
        x = -jnp.asarray(dt, state.v.dtype) / full(self.tau_mem, state.v)
        return VoltageState(state.v * jnp.exp(x) - drive * jnp.expm1(x))
