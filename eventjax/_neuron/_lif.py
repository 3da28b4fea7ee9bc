from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import AbstractClosedForm, check_parameter, check_reset, Parameter, rest
from ._lif_crossing import first_crossing
from ._lif_flow import Flow, propagate, Steps, Taus


class LIFState(eqx.Module):
    """Membrane voltage `v` and synaptic current `i`, shape `[*batch, neurons]`."""

    v: Float[Array, "*batch neurons"]
    i: Float[Array, "*batch neurons"]


def _rest(neuron: "LIF | LeakyIntegrator") -> LIFState:
    zeros = rest(neuron)
    return LIFState(zeros, zeros)


def _leaky_flow(neuron: "LIF | LeakyIntegrator", state: LIFState, drive: Any):
    v_dot = (state.i + drive + neuron.bias - state.v) / neuron.tau_mem
    return LIFState(v_dot, -state.i / neuron.tau_syn)


def _taus(neuron: "LIF | LeakyIntegrator", state: LIFState, drive: Any) -> Taus:
    array = lambda x: jnp.asarray(x, state.v.dtype)
    bias = array(neuron.bias) + drive
    return Taus(array(neuron.tau_mem), array(neuron.tau_syn), bias)


def _flow(neuron: "LIF | LeakyIntegrator", state: LIFState, drive: Any, dt: Any):
    taus = _taus(neuron, state, drive)
    steps = Steps.of(jnp.asarray(dt, state.v.dtype), taus)
    new = propagate(Flow(state.v, state.i), steps, taus.bias)
    return LIFState(new.v, new.i)


class LIF(AbstractClosedForm):
    r"""Leaky integrate-and-fire neurons with exponential synaptic currents.

    $$\tau_{mem} \dot V = -V + I + b, \qquad \tau_{syn} \dot I = -I$$

    A spike that arrives adds its weight to $I$. When $V$ reaches `v_threshold` from below
    the neuron spikes and $V$ becomes `v_reset`; $I$ goes on. One unit of weight raises
    the voltage of a neuron at rest by less than one (0.16 at 20 and 5 ms).

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_syn`: membrane and synaptic time constant in ms; any ratio, equal
        values included.
    - `v_threshold`, `v_reset`: voltages (dimensionless) of the spike and after it.
    - `bias`: constant input current (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf
    of the network and so can be trained. Raises a `ValueError` for time constants that
    are not positive, or a reset that is not below the threshold.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), equations 1 and 2.
    """

    tau_mem: Parameter
    tau_syn: Parameter
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
        v_threshold: Any = 1.0,
        v_reset: Any = 0.0,
        bias: Any = 0.0,
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.bias = check_parameter("bias", bias, size)
        check_reset(self.v_reset, self.v_threshold)

    def initial_state(self) -> LIFState:
        return _rest(self)

    def vector_field(self, t: Any, state: LIFState, drive: Any) -> LIFState:
        return _leaky_flow(self, state, drive)

    def receive(self, state: LIFState, current: Array) -> LIFState:
        return LIFState(state.v, state.i + current)

    def threshold(self, t: Any, state: LIFState) -> Array:
        return state.v - self.v_threshold

    def reset(self, t: Any, state: LIFState) -> LIFState:
        v = jnp.broadcast_to(jnp.asarray(self.v_reset, state.v.dtype), state.v.shape)
        return LIFState(v, state.i)

    def flow(self, state: LIFState, drive: Any, dt: Any) -> LIFState:
        return _flow(self, state, drive, dt)

    def crossing(self, state: LIFState, drive: Any, dt: Any) -> Array:
        taus = jax.tree.map(
            lambda x: jnp.broadcast_to(x, state.v.shape), _taus(self, state, drive)
        )
        dt = jnp.broadcast_to(jnp.asarray(dt, state.v.dtype), state.v.shape)
        threshold = jnp.broadcast_to(
            jnp.asarray(self.v_threshold, state.v.dtype), state.v.shape
        )
        found, time = first_crossing(state.v, state.i, dt, taus, threshold)
        return jnp.where(found, time, jnp.inf)


class LeakyIntegrator(AbstractClosedForm):
    """The same equations as `LIF` without threshold: a readout that never spikes.

    **Arguments:** `size`, `tau_mem`, `tau_syn` and `bias` as for `LIF`.
    """

    tau_mem: Parameter
    tau_syn: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)

    def __init__(
        self, size: int, *, tau_mem: Any = 20.0, tau_syn: Any = 5.0, bias: Any = 0.0
    ):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.tau_syn = check_parameter("tau_syn", tau_syn, size, positive=True)
        self.bias = check_parameter("bias", bias, size)

    def initial_state(self) -> LIFState:
        return _rest(self)

    def vector_field(self, t: Any, state: LIFState, drive: Any) -> LIFState:
        return _leaky_flow(self, state, drive)

    def receive(self, state: LIFState, current: Array) -> LIFState:
        return LIFState(state.v, state.i + current)

    def threshold(self, t: Any, state: LIFState) -> None:
        return None

    def reset(self, t: Any, state: LIFState) -> LIFState:
        return state

    def flow(self, state: LIFState, drive: Any, dt: Any) -> LIFState:
        return _flow(self, state, drive, dt)

    def crossing(self, state: LIFState, drive: Any, dt: Any) -> Array:
        return jnp.full_like(state.v, jnp.inf)
