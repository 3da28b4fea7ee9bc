from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import (
    AbstractClosedForm,
    check_parameter,
    check_reset,
    full,
    Parameter,
    parameters,
    rest,
)


class VoltageState(eqx.Module):
    """Membrane voltage `v`, shape `[*batch, neurons]`: all there is to a neuron with
    delta synapses."""

    v: Float[Array, "*batch neurons"]


class DeltaLIF(AbstractClosedForm):
    r"""Leaky integrate-and-fire neurons with delta synapses.

    $$\tau_{mem} \dot V = -V + b$$

    A spike that arrives adds its weight to $V$ at once. A neuron with $V$ at or above
    $\theta$ = `v_threshold` spikes, and $V$ falls by $\theta$ - `v_reset`. What a large
    arrival lifts $V$ above the threshold is kept: the neuron spikes several times at
    that moment, and each spike subtracts once, until $V$ is below the threshold.

    Without arrivals only a bias above $\theta$ leads to a spike, at

    $$t = \tau_{mem} \log \frac{b - V}{b - \theta}.$$

    A spike that an arrival sets off has the time of the arrival. That time depends on no
    weight and no parameter, so most exact spike-time gradients of such a network are
    zero. Train it with a surrogate gradient, with a bias above threshold, or take `LIF`.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`: membrane time constant in ms.
    - `v_threshold`, `v_reset`: voltages (dimensionless) of the spike, and after a spike
        that starts from the threshold itself.
    - `bias`: constant input current (dimensionless).
    - `subtract`: if false, a spike sets $V$ to `v_reset` and what an arrival lifted it
        above the threshold is lost: it leads to one spike. What arrives at the same time
        but later in the order of events finds $V$ reset.

    Each but the last is a number, which is a constant, or an array of shape `[size]`,
    which is a leaf of the network and so can be trained. Raises a `ValueError` for a time
    constant that is not positive, or a reset that is not below the threshold.

    ??? cite

        Gerstner, Kistler, Naud and Paninski, Neuronal Dynamics, Cambridge University
        Press (2014), chapter 1.3; the reset by subtraction as in Rueckauer et al.,
        Frontiers in Neuroscience 11:682 (2017).
    """

    tau_mem: Parameter
    v_threshold: Parameter
    v_reset: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)
    subtract: bool = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        tau_mem: Any = 20.0,
        v_threshold: Any = 1.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
        subtract: bool = True,
    ):
        self.size = size
        self.subtract = subtract
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)

    def initial_state(self) -> VoltageState:
        return VoltageState(rest(self))

    def vector_field(self, t: Any, state: VoltageState, drive: Any) -> VoltageState:
        p = parameters(self, state.v)
        return VoltageState((p.bias + drive - state.v) / p.tau_mem)

    def receive(self, state: VoltageState, current: Array) -> VoltageState:
        return VoltageState(state.v + current)

    def threshold(self, t: Any, state: VoltageState) -> Array:
        return state.v - parameters(self, state.v).v_threshold

    def reset(self, t: Any, state: VoltageState) -> VoltageState:
        if not self.subtract:
            return VoltageState(full(self.v_reset, state.v))
        p = parameters(self, state.v)
        return VoltageState(state.v - (p.v_threshold - p.v_reset))

    def flow(self, state: VoltageState, drive: Any, dt: Any) -> VoltageState:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        x = -dt / p.tau_mem
        return VoltageState(state.v * jnp.exp(x) - (p.bias + drive) * jnp.expm1(x))

    def crossing(self, state: VoltageState, drive: Any, dt: Any) -> Array:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        missing, surplus = p.v_threshold - state.v, p.bias + drive - p.v_threshold
        rises = (missing > 0) & (surplus > 0)
        part = missing / jnp.where(rises, surplus, 1.0)
        time = p.tau_mem * jnp.log1p(jnp.where(rises, part, 0.0))
        time = jnp.where(rises & (time <= dt), time, jnp.inf)
        return jnp.where(missing <= 0, 0.0, time)
