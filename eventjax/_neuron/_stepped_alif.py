"""Adaptive neurons as LSNNs and e-prop step them."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ._base import (
    AbstractFlow,
    check_parameter,
    full,
    known,
    Parameter,
    parameters,
    rest,
)


class SteppedState(eqx.Module):
    """Voltage `v`, adaptation `a`, by how much the last spike raises it in the next step,
    `jump`, and the time since that spike in ms, `since`, `+inf` before the first one; shape
    `[*batch, neurons]`."""

    v: Float[Array, "*batch neurons"]
    a: Float[Array, "*batch neurons"]
    jump: Float[Array, "*batch neurons"]
    since: Float[Array, "*batch neurons"]


class AbstractStepped(AbstractFlow):
    """What `SteppedALIF` and `STDPALIF` share: all but the reset."""

    tau_mem: eqx.AbstractVar[Parameter]
    tau_adapt: eqx.AbstractVar[Parameter]
    beta: eqx.AbstractVar[Parameter]
    v_threshold: eqx.AbstractVar[Parameter]
    refractory: eqx.AbstractVar[float]

    @property
    def adaptation(self) -> tuple[str, ...]:
        """Parts of the state whose jump at a spike is no reset: gradients pass."""
        return ("jump",)

    def initial_state(self) -> SteppedState:
        zeros = rest(self)
        return SteppedState(zeros, zeros, zeros, jnp.full_like(zeros, jnp.inf))

    def vector_field(self, t: Any, state: SteppedState, drive: Any):
        raise ValueError(
            f"`{type(self).__name__}` is made of time steps and has no ODE: use the "
            "solver `Clocked(dt)`, or `ALIF`, which spikes at exact times."
        )

    def receive(self, state: SteppedState, current: Array) -> SteppedState:
        return SteppedState(state.v + current, state.a, state.jump, state.since)

    def threshold(self, t: Any, state: SteppedState) -> Array:
        p = parameters(self, state.v)
        return state.v - (p.v_threshold + p.beta * state.a)

    def is_spike(self, state: SteppedState) -> Bool[Array, " neurons"]:
        """Whether the refractory time is over."""
        return state.since > self.refractory + _TINY

    def reset(self, t: Any, state: SteppedState) -> SteppedState:
        """Only remembered: it acts in the next step."""
        ones = jnp.ones_like(state.v)
        return SteppedState(state.v, state.a, ones, jnp.zeros_like(ones))

    def step_adaptation(self, state: SteppedState, dt: Any) -> Array:
        rho = jnp.exp(-jnp.asarray(dt, state.v.dtype) / full(self.tau_adapt, state.v))
        return rho * state.a + state.jump


# Times are multiples of the step, but for rounding.
_TINY = 1e-4


def set_parameters(neuron: Any, size: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        positive = name in ("tau_mem", "tau_adapt", "v_threshold")
        setattr(neuron, name, check_parameter(name, value, size, positive=positive))


def check_refractory(refractory: Any) -> float:
    if not (known(refractory) and jnp.ndim(refractory) == 0):
        raise ValueError(
            f"`refractory` must be a number, the same for all neurons, got {refractory}."
        )
    if not 0 <= float(refractory) < float("inf"):
        raise ValueError(
            f"`refractory` must be 0 or positive and finite, in ms, got {refractory}."
        )
    return float(refractory)


class SteppedALIF(AbstractStepped):
    r"""LIF neurons with an adaptive threshold and delta synapses in time steps, as LSNNs
    and e-prop use them, under `Clocked(dt)` only.

    $$v^t = \alpha v^{t-1} + I^t - z^{t-1} R, \qquad a^t = \rho a^{t-1} + z^{t-1}, \qquad
    z^t = \Theta(v^t - \theta - \beta a^t)$$

    with $\alpha = e^{-dt/\tau_{mem}}$, $\rho = e^{-dt/\tau_{adapt}}$ and $I^t$ the weights
    (no factor of $1 - \alpha$) of what arrives in the step. With `beta=0` these are plain
    LIF neurons. `Solution.voltages` are $v^t$, before the reset. `ALIF` is the neuron for
    exact spike times.

    A neuron spikes only where more than `refractory` ms have gone by since its last spike,
    and goes on integrating meanwhile; learning rules on a grid give it no pseudo-derivative
    then. Gradients pass the jump of the adaptation, not the reset, in all of them.

    **Arguments:**

    - `size`: number of neurons.
    - `tau_mem`, `tau_adapt`: time constants of membrane and adaptation in ms.
    - `beta`: how much one spike raises the threshold (dimensionless).
    - `v_threshold`: $\theta$, the threshold of a neuron that has been silent for long
        (dimensionless).
    - `refractory`: in ms, a number. 2 under `Clocked(1.0)` lets a neuron spike at every
        third step at most. (The count of 2 in the code of Bellec et al. is 1 here.)
    - `reset_by`: $R$ is the `"threshold"` $\theta$, or the `"adapted"` one,
        $\theta + \beta a$, at the spike.

    All but the last two are numbers, which are constants, or arrays of shape `[size]`,
    which are leaves of the network and so can be trained. Raises a `ValueError` for values
    out of range and a `reset_by` that is neither.

    ??? cite

        Bellec et al., Nature Communications 11:3625 (2020), and van der Veen, arXiv
        2201.07602. Default values are those of code that is likely to be van der Veen's;
        which ones the paper used is UNCONFIRMED.
    """

    tau_mem: Parameter
    tau_adapt: Parameter
    beta: Parameter
    v_threshold: Parameter
    refractory: float = eqx.field(static=True)
    reset_by: Literal["threshold", "adapted"] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        tau_mem: Any = 4.48,
        tau_adapt: Any = 39.5,
        beta: Any = 0.184,
        v_threshold: Any = 1.6,
        refractory: Any = 2.0,
        reset_by: Literal["threshold", "adapted"] = "threshold",
    ):
        if reset_by not in ("threshold", "adapted"):
            raise ValueError(
                f"`reset_by` must be 'threshold' or 'adapted', got {reset_by!r}."
            )
        self.size = size
        given = dict(
            tau_mem=tau_mem, tau_adapt=tau_adapt, beta=beta, v_threshold=v_threshold
        )
        set_parameters(self, size, given)
        self.refractory = check_refractory(refractory)
        self.reset_by = reset_by

    def flow(self, state: SteppedState, drive: Any, dt: Any) -> SteppedState:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        drop = full(p.v_threshold, state.v)
        if self.reset_by == "adapted":
            drop = drop + p.beta * state.a
        # Not where only the present voltage is asked for
        drop = jnp.where((state.since == 0) & (dt > 0), lax.stop_gradient(drop), 0.0)
        drive = jnp.where(dt > 0, drive, 0.0)
        v = state.v * jnp.exp(-dt / p.tau_mem) - drop + drive
        a = self.step_adaptation(state, dt)
        return SteppedState(v, a, jnp.zeros_like(v), state.since + dt)
