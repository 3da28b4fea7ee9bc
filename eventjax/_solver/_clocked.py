from typing import Any

import diffrax
import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike

from ._base import AbstractSolver
from ._grid import Grid, make_grid


class Clocked(AbstractSolver):
    r"""Time steps of a fixed length, for any neurons: first order in `dt`.

    A run has $K = (t_1 - t_0) / dt$ steps. In step $k$, from $t_k = t_0 + k\,dt$ to
    $t_{k+1}$, the neurons

    1. go on for `dt` without events: by their closed form if they have one, else by one
       step of `integrator`;
    2. receive the currents of all that arrived in $[t_k, t_{k+1})$, spikes that the layer
       before fires in this very step included;
    3. spike where their threshold function is at zero or above, and are reset.

    Spikes have no times, so the run gives `Frames`: `Solution.frames`, and nothing in
    `Solution.spikes`. Layers need no capacity.

    Arrivals of input spikes are put into steps by their exact times. All other delays are
    rounded to the nearest number of steps; a recurrent connection acts after at least one
    step. No gradient reaches delays or the times of input spikes: to differentiate by
    them is an error.

    **Arguments:**

    - `dt`: length of a step in ms.
    - `integrator`: an explicit Runge-Kutta method of Diffrax, for neurons without closed
        form. A method of second order is enough: the grid's own error is of first order.
    - `max_delay`: in ms, a bound on delays between layers and within a layer that are
        arrays, whose values a compiled program does not know. A longer delay is an error,
        `RESULTS.delay_too_long`. Not needed for delays that are numbers.

    `t0` and `t1` of `simulate` must be numbers that are known when the program is
    compiled, a whole number of steps apart.

    Raises a `ValueError` for a `dt` that is not positive, a `max_delay` that is negative,
    or an `integrator` that is not explicit.

    ??? cite

        Rotter and Diesmann, Biological Cybernetics 81 (1999), pages 381 to 402, for the
        exact step of linear neurons.
    """

    dt: float = eqx.field(static=True)
    integrator: diffrax.AbstractSolver
    max_delay: float | None = eqx.field(static=True)

    def __init__(
        self,
        dt: ArrayLike,
        *,
        integrator: diffrax.AbstractSolver = diffrax.Heun(),
        max_delay: ArrayLike | None = None,
    ):
        self.dt = _number("dt", dt)
        self.max_delay = None if max_delay is None else _number("max_delay", max_delay)
        if not (np.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"`dt` must be positive and finite, in ms, got {dt}.")
        longest = self.max_delay
        if longest is not None and not (np.isfinite(longest) and longest >= 0):
            raise ValueError(
                f"`max_delay` must be finite and not negative, in ms, got {max_delay}."
            )
        if not isinstance(integrator, (diffrax.AbstractERK, diffrax.Euler)):
            raise ValueError(
                "`integrator` must be an explicit Runge-Kutta method as "
                f"`diffrax.Heun()`, got `{type(integrator).__name__}`: for stiff neurons "
                "use the solver `DiffraxEvent`."
            )
        self.integrator = integrator

    @property
    def exact(self) -> bool:
        return False

    def grid(self, t0: Any, t1: Any) -> Grid:
        """The steps of a run from `t0` to `t1`. Raises a `ValueError` if there are
        none."""
        return make_grid(self.dt, t0, t1)


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tracer):
        raise ValueError(
            f"`{name}` must be known when the program is compiled, but is traced: give "
            "it as a Python number."
        )
    return float(value)
