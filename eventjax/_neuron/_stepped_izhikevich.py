from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import AbstractFlow, check_parameter, full, Parameter, parameters, rest


class SteppedIzhikevichState(eqx.Module):
    """Voltage `v` (mV) and recovery `u` (mV/ms), shape `[*batch, neurons]`."""

    v: Float[Array, "*batch neurons"]
    u: Float[Array, "*batch neurons"]


class SteppedIzhikevich(AbstractFlow):
    r"""Izhikevich's neurons with delta synapses in Euler steps, as e-prop uses them, under
    `Clocked(dt)` only. Voltages in mV.

    $$v^{t+1} = \tilde v + dt\,(0.04 \tilde v^2 + 5 \tilde v + 140 - \tilde u) + I^{t+1},
    \qquad u^{t+1} = \tilde u + dt\, a\,(b \tilde v - \tilde u)$$

    where $\tilde v = c$ and $\tilde u = u^t + d$ after a spike, else $v^t$ and $u^t$. A
    neuron spikes at $v^t \ge$ `v_threshold`. $I$ adds up the weights of what arrives, which
    are in mV: those of the paper's code times `dt`. `dt` is a setting: the neuron is stiff
    at the upstroke, and at 1 ms its eligibility traces are several times those at 0.1 ms.
    `Izhikevich` is the neuron for exact spike times.

    **Arguments:**

    - `size`: number of neurons.
    - `a` (1/ms), `b`, `d`: rate and sensitivity of the recovery, and how much it grows with
        a spike.
    - `v_threshold`, `v_reset`: peak of the spike and voltage after it, $c$.
    - `v_start`, `u_start`: where a trial starts.
    - `v_clip`: voltages above are cut to this, with no gradient, `None` for no bound. A
        step of 1 ms may otherwise end hundreds of mV above the peak.

    `a`, `b`, `d`, `v_threshold` and `v_reset` are numbers, which are constants, or arrays
    of shape `[size]`, which can be trained. Raises a `ValueError` for values out of range.

    ??? cite

        van der Veen, arXiv 2201.07602, after Traub et al., ICANN (2020), and Izhikevich,
        IEEE Transactions on Neural Networks 14:1569 (2003). Default values are those of
        code that is likely to be van der Veen's, whose clipping is of the pseudo-derivative
        only; the paper's are UNCONFIRMED.
    """

    a: Parameter
    b: Parameter
    d: Parameter
    v_threshold: Parameter
    v_reset: Parameter
    v_start: float = eqx.field(static=True)
    u_start: float = eqx.field(static=True)
    v_clip: float | None = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        a: Any = 0.02,
        b: Any = 0.2,
        d: Any = 2.0,
        v_threshold: Any = 30.0,
        v_reset: Any = -65.0,
        v_start: float = -65.0,
        u_start: float = 0.0,
        v_clip: float | None = None,
    ):
        self.size = size
        self.a = check_parameter("a", a, size, positive=True)
        self.b = check_parameter("b", b, size)
        self.d = check_parameter("d", d, size)
        self.v_threshold = check_parameter("v_threshold", v_threshold, size)
        self.v_reset = check_parameter("v_reset", v_reset, size)
        self.v_start, self.u_start = float(v_start), float(u_start)
        if v_clip is not None and not float(v_clip) > self.v_start:
            raise ValueError(
                f"`v_clip` must be above `v_start`, {v_start} mV, got {v_clip}."
            )
        self.v_clip = None if v_clip is None else float(v_clip)

    def initial_state(self) -> SteppedIzhikevichState:
        zeros = rest(self)
        return SteppedIzhikevichState(zeros + self.v_start, zeros + self.u_start)

    def vector_field(self, t: Any, state: SteppedIzhikevichState, drive: Any):
        raise ValueError(
            "`SteppedIzhikevich` is made of time steps and has no ODE: use the solver "
            "`Clocked(dt)`, or `Izhikevich`, which spikes at exact times."
        )

    def receive(
        self, state: SteppedIzhikevichState, current: Array
    ) -> SteppedIzhikevichState:
        return SteppedIzhikevichState(self._clip(state.v + current), state.u)

    def threshold(self, t: Any, state: SteppedIzhikevichState) -> Array:
        return state.v - full(self.v_threshold, state.v)

    def reset(self, t: Any, state: SteppedIzhikevichState) -> SteppedIzhikevichState:
        u = state.u + full(self.d, state.v)
        return SteppedIzhikevichState(full(self.v_reset, state.v), u)

    def flow(
        self, state: SteppedIzhikevichState, drive: Any, dt: Any
    ) -> SteppedIzhikevichState:
        p, dt, v, u = parameters(self, state.v), dt, state.v, state.u
        v_dot = 0.04 * v * v + 5 * v + 140 - u
        # Not where only the present voltage is asked for
        new = v + dt * v_dot + jnp.where(dt > 0, drive, 0.0)
        return SteppedIzhikevichState(new, u + dt * p.a * (p.b * v - u))

    def _clip(self, v: Array) -> Array:
        return v if self.v_clip is None else jnp.where(v < self.v_clip, v, self.v_clip)
