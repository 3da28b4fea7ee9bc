from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from ._base import (
    AbstractNeuron,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)
from ._lif import LIFState


class GatedUnit(AbstractNeuron):
    r"""Integrate-and-fire neurons whose decay depends on their input.

    $$\tau_{mem} \dot V = \sigma(g I + g_0) (I + b - V), \qquad
    \tau_{syn} \dot I = -I$$

    with $g$ = `gate_gain`, $g_0$ = `gate_bias` and the logistic function $\sigma$. A spike
    that arrives adds its weight to $I$. When $V$ reaches `v_threshold` from below the
    neuron spikes and $V$ becomes `v_reset`; $I$ goes on. The state is a `LIFState`.

    The factor is the update gate of a GRU in continuous time: with a negative $g_0$ it
    is closed while there is no input, and the unit holds its voltage as a memory; input
    opens it, and the unit follows the input with at most the speed of a `LIF` neuron.
    With $g = 0$ it is a `LIF` neuron with the time constant
    $\tau_{mem} / \sigma(g_0)$. There is no elementary closed form.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_syn`: time constant of the membrane with an open gate, and of the
        synapse, in ms.
    - `gate_gain`, `gate_bias`: how the gate depends on the current (dimensionless). With
        the default values the time constant without input is $8.4 \tau_{mem}$.
    - `v_threshold`, `v_reset`: voltages (dimensionless) of the spike and after it.
    - `bias`: constant input current (dimensionless). It does not act on the gate, and
        neither does `drive`.

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for time constants that
    are not positive, or a reset that is not below the threshold.

    ??? cite

        The update gate: Cho et al., Learning phrase representations using RNN
        encoder-decoder for statistical machine translation, EMNLP (2014). A GRU with
        events: Subramoney, Nazeer, Schöne, Mayr and Kappel, Efficient recurrent
        architectures through activity sparsity and sparse back-propagation through time,
        ICLR (2023). The form above, one gate that the unit's own current drives, is that
        of this library and from no paper.
    """

    tau_mem: Parameter
    tau_syn: Parameter
    gate_gain: Parameter
    gate_bias: Parameter
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
        gate_gain: Any = 2.0,
        gate_bias: Any = -2.0,
        v_threshold: Any = 1.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.gate_gain = check_parameter("gate_gain", gate_gain, size)
        self.gate_bias = check_parameter("gate_bias", gate_bias, size)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)

    def initial_state(self) -> LIFState:
        zeros = rest(self)
        return LIFState(zeros, zeros)

    def vector_field(self, t: Any, state: LIFState, drive: Any) -> LIFState:
        p = parameters(self, state.v)
        gate = jax.nn.sigmoid(p.gate_gain * state.i + p.gate_bias)
        v_dot = gate * (state.i + p.bias + drive - state.v) / p.tau_mem
        return LIFState(v_dot, -state.i / p.tau_syn)

    def receive(self, state: LIFState, current: Array) -> LIFState:
        return LIFState(state.v, state.i + current)

    def threshold(self, t: Any, state: LIFState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: LIFState) -> LIFState:
        return LIFState(full(self.v_reset, state.v), state.i)
