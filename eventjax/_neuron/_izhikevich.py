from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import (
    AbstractNeuron,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)


class IzhikevichState(eqx.Module):
    """Voltage `v` (mV), recovery `u` and synaptic current `i` (mV/ms), shape
    `[*batch, neurons]`."""

    v: Float[Array, "*batch neurons"]
    u: Float[Array, "*batch neurons"]
    i: Float[Array, "*batch neurons"]


class Izhikevich(AbstractNeuron):
    r"""Izhikevich's neurons, with exponential synaptic currents. Voltages in mV.

    $$\dot V = 0.04 V^2 + 5 V + 140 - u + I + I_b, \qquad \dot u = a (b V - u), \qquad
    \tau_{syn} \dot I = -I$$

    A spike that arrives adds its weight to $I$. When $V$ reaches `v_threshold`, the peak
    of the spike, $V$ becomes `v_reset` (Izhikevich's $c$) and $u$ grows by $d$. Weights
    have to be of the order of 10, not of 1: a neuron at rest needs a constant input of
    about 4 to spike. No closed form is known.

    A neuron starts at its resting point, where $V$ is the lower root of
    $0.04 V^2 + (5 - b) V + 140 = 0$ and $u = b V$: -70 and -14 for the default values. A
    neuron with $b > 5 - \sqrt{22.4} = 0.267$ has none and starts where
    $\dot V$ is smallest on the line $u = b V$. The bias does not count.

    A step of an ODE solver may go beyond the peak, where $V$ grows without bound in
    finite time. Above `v_threshold + (v_threshold - v_reset) / 2` the right-hand side for
    $V$ therefore grows no more with $V$. No spike is any the later for it.

    **Arguments:**

    - `size`: number of neurons.
    - `a` (1/ms), `b`, `d`: rate and sensitivity of the recovery, and how much it grows
        with a spike. The default values are those of regular spiking.
    - `v_threshold`, `v_reset`: peak of the spike and voltage after it, in mV.
    - `tau_syn`: synaptic time constant in ms.
    - `bias`: constant input current in mV/ms.

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for a time constant or `a`
    that is not positive, or a reset that is not below the threshold.

    ??? cite

        Izhikevich, Simple model of spiking neurons, IEEE Transactions on Neural Networks
        14:1569 (2003), equations 1 to 3. The synapse is not part of that paper.
    """

    a: Parameter
    b: Parameter
    d: Parameter
    v_threshold: Parameter
    v_reset: Parameter
    tau_syn: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        a: Any = 0.02,
        b: Any = 0.2,
        d: Any = 8.0,
        v_threshold: Any = 30.0,
        v_reset: Any = -65.0,
        tau_syn: Any = 5.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.a = check_parameter("a", a, size, positive=True)
        self.b = check_parameter("b", b, size)
        self.d = check_parameter("d", d, size)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)

    def initial_state(self) -> IzhikevichState:
        zeros = rest(self)
        b = full(self.b, zeros)
        slope = 5 - b
        square = slope * slope - 4 * 0.04 * 140
        has_rest = square > 0
        root = jnp.where(has_rest, jnp.sqrt(jnp.where(has_rest, square, 1.0)), 0.0)
        v = -(slope + root) / (2 * 0.04)
        return IzhikevichState(v, b * v, zeros)

    def vector_field(self, t: Any, state: IzhikevichState, drive: Any):
        p, v, u, i = parameters(self, state.v), state.v, state.u, state.i
        top = p.v_threshold + 0.5 * (p.v_threshold - p.v_reset)
        low = jnp.where(v < top, v, top)
        v_dot = 0.04 * low * low + 5 * low + 140 - u + i + p.bias + drive
        return IzhikevichState(v_dot, p.a * (p.b * v - u), -i / p.tau_syn)

    def receive(self, state: IzhikevichState, current: Array) -> IzhikevichState:
        return IzhikevichState(state.v, state.u, state.i + current)

    def threshold(self, t: Any, state: IzhikevichState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: IzhikevichState) -> IzhikevichState:
        p = parameters(self, state.v)
        return IzhikevichState(full(p.v_reset, state.v), state.u + p.d, state.i)
