from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._base import (
    AbstractNeuron,
    check_below,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)
from ._lif import LIFState


class EIF(AbstractNeuron):
    r"""Exponential integrate-and-fire neurons with exponential synaptic currents.

    $$\tau_{mem} \dot V = -V + \Delta_T e^{(V - V_T) / \Delta_T} + I + b, \qquad
    \tau_{syn} \dot I = -I$$

    A spike that arrives adds its weight to $I$. Above $V_T$ the voltage soon rises by
    itself. When it reaches `v_threshold`, which should be well above $V_T$, the neuron
    spikes and $V$ becomes `v_reset`; $I$ goes on. A constant input of
    $V_T - \Delta_T$ is the largest that a neuron bears without a spike. No closed form is
    known. The state is a `LIFState`.

    A neuron starts from $V = 0$, which is its resting point but for about
    $\Delta_T e^{-V_T / \Delta_T}$ (0.001 for the default values).

    A step of an ODE solver may go beyond the threshold, where $V$ grows without bound in
    finite time. Above `v_threshold + delta_t` the right-hand side for $V$ therefore
    grows no more with $V$. No spike is any the later for it.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_syn`: membrane and synaptic time constant in ms.
    - `delta_t`: the voltage $\Delta_T$ (dimensionless, not a time) over which the
        upstroke grows e-fold; towards 0 the neuron becomes a `LIF` with threshold `v_t`.
    - `v_t`: the voltage $V_T$ where the upstroke begins.
    - `v_threshold`, `v_reset`: voltages of the spike and after it.
    - `bias`: constant input current (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for time constants or
    `delta_t` that are not positive, or a `v_reset` or `v_t` that is not below the
    threshold.

    ??? cite

        Fourcaud-Trocmé, Hansel, van Vreeswijk and Brunel, How spike generation
        mechanisms determine the neuronal response to fluctuating inputs, Journal of
        Neuroscience 23:11628 (2003).
    """

    tau_mem: Parameter
    tau_syn: Parameter
    delta_t: Parameter
    v_t: Parameter
    v_threshold: Parameter
    v_reset: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        tau_mem: Any = 20.0,
        tau_syn: Any = 5.0,
        delta_t: Any = 0.2,
        v_t: Any = 1.0,
        v_threshold: Any = 2.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.delta_t = check_parameter("delta_t", delta_t, size, positive=True)
        self.v_t = check_parameter("v_t", v_t, size)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)
        why = "where the upstroke ends that begins there"
        check_below("v_t", self.v_t, "v_threshold", self.v_threshold, why)

    def initial_state(self) -> LIFState:
        zeros = rest(self)
        return LIFState(zeros, zeros)

    def vector_field(self, t: Any, state: LIFState, drive: Any) -> LIFState:
        p = parameters(self, state.v)
        top = p.v_threshold + p.delta_t
        v = jnp.where(state.v < top, state.v, top)
        upstroke = p.delta_t * jnp.exp((v - p.v_t) / p.delta_t)
        v_dot = (upstroke - v + state.i + p.bias + drive) / p.tau_mem
        return LIFState(v_dot, -state.i / p.tau_syn)

    def receive(self, state: LIFState, current: Array) -> LIFState:
        return LIFState(state.v, state.i + current)

    def threshold(self, t: Any, state: LIFState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: LIFState) -> LIFState:
        return LIFState(full(self.v_reset, state.v), state.i)
