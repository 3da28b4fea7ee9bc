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


class QIF(AbstractNeuron):
    r"""Quadratic integrate-and-fire neurons with exponential synaptic currents.

    $$\tau_{mem} \dot V = V (V - V_c) + I + b, \qquad \tau_{syn} \dot I = -I$$

    A spike that arrives adds its weight to $I$. Without input $V$ rests at 0, and above
    the critical voltage $V_c$ it rises by itself. When it reaches `v_threshold` the
    neuron spikes and $V$ becomes `v_reset`; $I$ goes on. A constant input of $V_c^2 / 4$
    is the largest that a neuron bears without a spike. The state is a `LIFState`.

    There is no elementary closed form while $I$ decays; that of `DeltaQIF` holds for a
    constant drive only, so this neuron needs `DiffraxEvent` or `Clocked`.

    A step of an ODE solver may go beyond the threshold, where $V$ grows without bound in
    finite time. Above `v_threshold + (v_threshold - v_reset) / 2` the right-hand side for
    $V$ therefore grows no more with $V$. No spike is any the later for it.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_syn`: membrane and synaptic time constant in ms. Near rest $V$
        decays with $\tau_{mem} / V_c$.
    - `v_c`: the critical voltage (dimensionless).
    - `v_threshold`, `v_reset`: voltages of the spike and after it. $V$ would get from the
        threshold to infinity within about $\tau_{mem}$ / `v_threshold`.
    - `bias`: constant input current (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for time constants or a
    `v_c` that are not positive, or a `v_reset` or `v_c` that is not below the threshold.

    ??? cite

        Latham, Richmond, Nelson and Nirenberg, Intrinsic dynamics in neuronal networks I,
        Journal of Neurophysiology 83:808 (2000); the form with a resting and a critical
        voltage as in Gerstner, Kistler, Naud and Paninski, Neuronal Dynamics, Cambridge
        University Press (2014), chapter 5.3. Exact gradients with it: Klos and
        Memmesheimer, arXiv:2309.14523 (2023).
    """

    tau_mem: Parameter
    tau_syn: Parameter
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
        tau_syn: Any = 5.0,
        v_c: Any = 1.0,
        v_threshold: Any = 10.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.v_c = check_parameter("v_c", v_c, size, positive=True)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)
        why = "where the upstroke ends that begins there"
        check_below("v_c", self.v_c, "v_threshold", self.v_threshold, why)

    def initial_state(self) -> LIFState:
        zeros = rest(self)
        return LIFState(zeros, zeros)

    def vector_field(self, t: Any, state: LIFState, drive: Any) -> LIFState:
        p = parameters(self, state.v)
        top = p.v_threshold + 0.5 * (p.v_threshold - p.v_reset)
        v = jnp.where(state.v < top, state.v, top)
        v_dot = (v * (v - p.v_c) + state.i + p.bias + drive) / p.tau_mem
        return LIFState(v_dot, -state.i / p.tau_syn)

    def receive(self, state: LIFState, current: Array) -> LIFState:
        return LIFState(state.v, state.i + current)

    def threshold(self, t: Any, state: LIFState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: LIFState) -> LIFState:
        return LIFState(full(self.v_reset, state.v), state.i)
