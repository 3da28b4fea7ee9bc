from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._base import Parameter, parameters
from ._stepped_alif import (
    AbstractStepped,
    check_refractory,
    set_parameters,
    SteppedState,
)


_WINDOWS = ("after", "from_spike")


class STDPALIF(AbstractStepped):
    r"""`SteppedALIF` neurons whose eligibility traces, under e-prop, make spike-timing
    dependent plasticity.

    $$v^t = \alpha\,(1 - z^{t-1} - z^{t-1-\delta})\, v^{t-1} + I^t$$

    Threshold and adaptation are those of `SteppedALIF`. A reset is hard: it takes the
    voltage to zero, and with it what earlier input has contributed; it comes after a spike
    and again when the refractory time $\delta$ is over. While a neuron is refractory the
    pseudo-derivative of its spike is `refractory_slope` rather than zero, which is below
    zero by default, so that input just after a spike is held against its synapse.

    **Arguments:** as for `SteppedALIF`, and

    - `refractory_slope`: the pseudo-derivative in the window, in place of that of the
        learning rule. Choose minus the height of the rule's surrogate.
    - `window`: `"after"` a spike, $1 \le t - t_z \le \delta$, or `"from_spike"` on,
        $0 \le t - t_z < \delta$, which also replaces that of the spike itself.

    ??? cite

        van der Veen, arXiv 2201.07602, after Traub, Butz, Baayen and Otte, ICANN (2020).
        Sign and window of the refractory pseudo-derivative in the reported runs are
        UNCONFIRMED: a late version of code that is likely to be van der Veen's has
        `refractory_slope=0.3` and `window="from_spike"`, which leaves no depression.
    """

    tau_mem: Parameter
    tau_adapt: Parameter
    beta: Parameter
    v_threshold: Parameter
    refractory: float = eqx.field(static=True)
    refractory_slope: float = eqx.field(static=True)
    window: Literal["after", "from_spike"] = eqx.field(static=True)
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
        refractory_slope: float = -0.3,
        window: Literal["after", "from_spike"] = "after",
    ):
        if window not in _WINDOWS:
            raise ValueError(f"`window` must be one of {_WINDOWS}, got {window!r}.")
        self.size = size
        given = dict(
            tau_mem=tau_mem, tau_adapt=tau_adapt, beta=beta, v_threshold=v_threshold
        )
        set_parameters(self, size, given)
        self.refractory = check_refractory(refractory)
        self.refractory_slope = float(refractory_slope)
        self.window = window

    def slope_window(
        self, state: SteppedState, spikes: Bool[Array, " neurons"]
    ) -> Bool[Array, " neurons"]:
        """Where `refractory_slope` takes the place of a learning rule's slope, in the
        state just before `reset`."""
        if self.window == "after":
            return ~self.is_spike(state)
        return spikes | (state.since < self.refractory - 1e-4)

    def flow(self, state: SteppedState, drive: Any, dt: Any) -> SteppedState:
        p, dt = parameters(self, state.v), jnp.asarray(dt, state.v.dtype)
        over = jnp.abs(state.since - self.refractory) < 0.5 * dt
        # Not where only the present voltage is asked for
        is_reset = ((state.since == 0) | over) & (dt > 0)
        kept = jnp.where(is_reset, 0.0, state.v)
        v = kept * jnp.exp(-dt / p.tau_mem) + jnp.where(dt > 0, drive, 0.0)
        a = self.step_adaptation(state, dt)
        return SteppedState(v, a, jnp.zeros_like(v), state.since + dt)
