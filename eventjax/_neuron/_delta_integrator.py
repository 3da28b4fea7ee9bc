from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._base import (
    AbstractClosedForm,
    check_parameter,
    full,
    Parameter,
    parameters,
    rest,
)
from ._delta_lif import VoltageState


class DeltaIntegrator(AbstractClosedForm):
    r"""Leaky integrators with delta synapses: a readout that never spikes.

    $$\tau_{mem} \dot V = b - V$$

    A spike that arrives adds its weight to $V$ at once. A trial starts at rest, $V = b$, so
    that $V - b$ is the input filtered with $e^{-t / \tau_{mem}}$; on a time grid
    $y^t - b = \kappa\,(y^{t-1} - b) + \sum_j w_j z_j^t$ with
    $\kappa = e^{-dt / \tau_{mem}}$.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`: time constant in ms.
    - `bias`: $b$ (dimensionless).

    Each is a number, which is a constant, or an array of shape `[size]`, which is a leaf of
    the network and so can be trained. Raises a `ValueError` for a time constant that is not
    positive.

    ??? cite

        The readout of Bellec et al., Nature Communications 11:3625 (2020), with the bias
        outside of the filter.
    """

    tau_mem: Parameter
    bias: Parameter
    size: int = eqx.field(static=True)

    def __init__(self, size: int, *, tau_mem: Any = 20.0, bias: Any = 0.0):
        self.size = size
        self.tau_mem = check_parameter("tau_mem", tau_mem, size, positive=True)
        self.bias = check_parameter("bias", bias, size)

    def initial_state(self) -> VoltageState:
        return VoltageState(full(self.bias, rest(self)))

    def vector_field(self, t: Any, state: VoltageState, drive: Any) -> VoltageState:
        p = parameters(self, state.v)
        return VoltageState((p.bias + drive - state.v) / p.tau_mem)

    def receive(self, state: VoltageState, current: Array) -> VoltageState:
        return VoltageState(state.v + current)

    def threshold(self, t: Any, state: VoltageState) -> None:
        return None

    def reset(self, t: Any, state: VoltageState) -> VoltageState:
        return state

    def flow(self, state: VoltageState, drive: Any, dt: Any) -> VoltageState:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        x = -dt / p.tau_mem
        return VoltageState(state.v * jnp.exp(x) - (p.bias + drive) * jnp.expm1(x))

    def crossing(self, state: VoltageState, drive: Any, dt: Any) -> Array:
        return jnp.full_like(state.v, jnp.inf)
