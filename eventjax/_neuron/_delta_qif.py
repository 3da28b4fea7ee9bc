from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._base import (
    AbstractClosedForm,
    check_below,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)
from ._delta_lif import VoltageState
from ._quadratic import advance, time_between


class DeltaQIF(AbstractClosedForm):
    r"""Quadratic integrate-and-fire neurons with delta synapses, in closed form.

    $$\tau_{mem} \dot V = V (V - V_c) + b$$

    A spike that arrives adds its weight to $V$ at once. When $V$ reaches `v_threshold`
    the neuron spikes and $V$ becomes `v_reset`. Without input $V$ rests at 0; lifted above
    the critical voltage $V_c$ it rises by itself, and the more slowly the less it was
    lifted, so that the time of the spike depends on the weights.

    With $x = V - V_c / 2$ and $D = b - V_c^2 / 4$ this is
    $\tau_{mem} \dot x = x^2 + D$, whose solutions are tangents for $D > 0$, hyperbolic
    ones for $D < 0$ and rational for $D = 0$. Both the course and the time of the spike
    are exact, for a constant drive and delta synapses only: for currents that decay see
    `QIF`.

    A time step may go beyond the threshold, where $V$ grows without bound in finite
    time. Above `v_threshold + (v_threshold - v_reset) / 2` the right-hand side for $V$
    therefore grows no more with $V$. No spike is any the later for it.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`: membrane time constant in ms. Near rest $V$ decays with
        $\tau_{mem} / V_c$.
    - `v_c`: the critical voltage (dimensionless).
    - `v_threshold`, `v_reset`: voltages of the spike and after it. $V$ would get from the
        threshold to infinity within about $\tau_{mem}$ / `v_threshold`.
    - `bias`: constant input current (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for a time constant or a
    `v_c` that is not positive, or a `v_reset` or `v_c` that is not below the threshold.

    ??? cite

        Latham, Richmond, Nelson and Nirenberg, Intrinsic dynamics in neuronal networks I,
        Journal of Neurophysiology 83:808 (2000); the form with a resting and a critical
        voltage as in Gerstner, Kistler, Naud and Paninski, Neuronal Dynamics, Cambridge
        University Press (2014), chapter 5.3. Exact gradients with it: Klos and
        Memmesheimer, arXiv:2309.14523 (2023).
    """

    tau_mem: Parameter
    v_c: Parameter
    v_threshold: Parameter
    v_reset: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        tau_mem: Any = 20.0,
        v_c: Any = 1.0,
        v_threshold: Any = 10.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.v_c = check_parameter("v_c", v_c, size, positive=True)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)
        why = "where the upstroke ends that begins there"
        check_below("v_c", self.v_c, "v_threshold", self.v_threshold, why)

    def initial_state(self) -> VoltageState:
        return VoltageState(rest(self))

    def vector_field(self, t: Any, state: VoltageState, drive: Any) -> VoltageState:
        p = parameters(self, state.v)
        top = p.v_threshold + 0.5 * (p.v_threshold - p.v_reset)
        v = jnp.where(state.v < top, state.v, top)
        return VoltageState((v * (v - p.v_c) + p.bias + drive) / p.tau_mem)

    def receive(self, state: VoltageState, current: Array) -> VoltageState:
        return VoltageState(state.v + current)

    def threshold(self, t: Any, state: VoltageState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: VoltageState) -> VoltageState:
        return VoltageState(full(self.v_reset, state.v))

    def _normal(self, state: VoltageState, drive: Any, dt: Any) -> tuple[Array, ...]:
        """x, D, the threshold in terms of x, and the time in terms of tau_mem."""
        p, v = parameters(self, state.v), state.v
        half = full(p.v_c / 2, v)
        d = full(p.bias + drive, v) - half * half
        s = full(jnp.asarray(dt, v.dtype) / p.tau_mem, v)
        return v - half, d, full(p.v_threshold, v) - half, s

    def flow(self, state: VoltageState, drive: Any, dt: Any) -> VoltageState:
        x, d, x_threshold, s = self._normal(state, drive, dt)
        p = parameters(self, state.v)
        half = full(p.v_c / 2, x)
        top = x_threshold + 0.5 * (p.v_threshold - p.v_reset)
        reached, s_top = time_between(x, top, d)
        over = (x >= top) | (reached & (s > s_top))
        inside = advance(jnp.where(over, 0.0, x), d, jnp.where(over, 0.0, s))
        outside = jnp.where(x < top, top, x) + (top * top + d) * (s - s_top)
        return VoltageState(jnp.where(over, outside, inside) + half)

    def crossing(self, state: VoltageState, drive: Any, dt: Any) -> Array:
        x, d, x_threshold, s = self._normal(state, drive, dt)
        reached, s_threshold = time_between(x, x_threshold, d)
        time = s_threshold * parameters(self, state.v).tau_mem
        time = jnp.where(reached & (s_threshold <= s), time, jnp.inf)
        return jnp.where(self.threshold(0.0, state) >= 0, 0.0, time)
