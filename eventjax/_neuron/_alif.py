from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._alif_crossing import Adaptive, first_crossing
from ._base import (
    AbstractClosedForm,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)
from ._lif_flow import Taus, voltage


class ALIFState(eqx.Module):
    """Voltage `v`, synaptic current `i` and adaptation `a`, shape `[*batch, neurons]`."""

    v: Float[Array, "*batch neurons"]
    i: Float[Array, "*batch neurons"]
    a: Float[Array, "*batch neurons"]


class ALIF(AbstractClosedForm):
    r"""Leaky integrate-and-fire neurons whose threshold rises with each spike.

    $$\tau_{mem} \dot V = -V + I + b, \qquad \tau_{syn} \dot I = -I, \qquad
    \tau_{adapt} \dot a = -a$$

    A spike that arrives adds its weight to $I$. When $V$ reaches $\theta + \beta a$ from
    below, with $\theta$ = `v_threshold`, the neuron spikes: $V$ becomes `v_reset` and $a$
    grows by 1; $I$ goes on. (Bellec et al. subtract the threshold instead, in discrete
    time, where the two differ by how far a step overshoots the threshold; in continuous
    time a reset to 0 and a subtraction of $\theta + \beta a$ are the same.)

    The course between events is a closed form and a spike is the root of a sum of three
    exponentials, which `crossing` finds to the last bits for any time constants.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_syn`, `tau_adapt`: time constants in ms of membrane, synapse and
        adaptation; any ratio, equal values included.
    - `beta`: how much one spike raises the threshold (dimensionless). Below zero a spike
        lowers it; neurons whose threshold gets down to `v_reset` spike without end.
    - `v_threshold`, `v_reset`: voltages (dimensionless) of the spike of a neuron that has
        been silent for long, and after any spike.
    - `bias`: constant input current (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for time constants that
    are not positive, or a reset that is not below the threshold.

    ??? cite

        Bellec, Salaj, Subramoney, Legenstein and Maass, Long short-term memory and
        learning-to-learn in networks of spiking neurons, NeurIPS (2018); Bellec et al.,
        Nature Communications 11:3625 (2020), which writes the threshold as here.
    """

    tau_mem: Parameter
    tau_syn: Parameter
    tau_adapt: Parameter
    beta: Parameter
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
        tau_adapt: Any = 200.0,
        beta: Any = 0.2,
        v_threshold: Any = 1.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.tau_adapt = check_parameter("tau_adapt", tau_adapt, size, positive=True)
        self.beta = check_parameter("beta", beta, size)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)

    @property
    def adaptation(self) -> tuple[str, ...]:
        """Parts of the state whose jump at a spike is no reset."""
        return ("a",)

    def initial_state(self) -> ALIFState:
        zeros = rest(self)
        return ALIFState(zeros, zeros, zeros)

    def vector_field(self, t: Any, state: ALIFState, drive: Any) -> ALIFState:
        p = parameters(self, state.v)
        v_dot = (state.i + p.bias + drive - state.v) / p.tau_mem
        return ALIFState(v_dot, -state.i / p.tau_syn, -state.a / p.tau_adapt)

    def receive(self, state: ALIFState, current: Array) -> ALIFState:
        return ALIFState(state.v, state.i + current, state.a)

    def threshold(self, t: Any, state: ALIFState) -> Array:
        p = parameters(self, state.v)
        return state.v - (p.v_threshold + p.beta * state.a)

    def reset(self, t: Any, state: ALIFState) -> ALIFState:
        return ALIFState(full(self.v_reset, state.v), state.i, state.a + 1)

    def flow(self, state: ALIFState, drive: Any, dt: Any) -> ALIFState:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        taus = Taus(p.tau_mem, p.tau_syn, p.bias + drive)
        return ALIFState(
            voltage(state.v, state.i, dt, taus),
            state.i * jnp.exp(-dt / p.tau_syn),
            state.a * jnp.exp(-dt / p.tau_adapt),
        )

    def crossing(self, state: ALIFState, drive: Any, dt: Any) -> Array:
        p = parameters(self, state.v)
        whole = lambda x: full(x, state.v)
        start = Adaptive(
            v=state.v,
            i=state.i,
            lift=whole(p.beta * state.a),
            tau_mem=whole(p.tau_mem),
            tau_syn=whole(p.tau_syn),
            tau_adapt=whole(p.tau_adapt),
            bias=whole(p.bias + drive),
            v_threshold=whole(p.v_threshold),
        )
        now = self.threshold(0.0, state) >= 0
        return jnp.where(now, 0.0, first_crossing(start, full(dt, state.v)))
