"""The time grid of a clocked run."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int


class Grid(eqx.Module):
    """Step `k` covers `[t0 + k dt, t0 + (k + 1) dt)`; what happens in it takes effect at
    its end. All in ms."""

    t0: float = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)

    def ends(self, dtype: Any) -> Float[Array, " steps"]:
        """When each step ends."""
        steps = np.arange(1, self.num_steps + 1)
        return jnp.asarray(self.t0 + self.dt * steps, dtype)

    def start(self, step: Int[Array, "*shape"], dtype: Any) -> Float[Array, "*shape"]:
        """When a step starts."""
        return self.t0 + self.dt * step.astype(dtype)

    def step(self, times: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """The step in which each time lies, `num_steps` for the end of the last one and
        all that is later. A time within rounding of a boundary counts as on it, so that a
        run and its parts agree."""
        largest = max(abs(self.t0), abs(self.t0 + self.dt * self.num_steps))
        slack = 2 * float(jnp.finfo(times.dtype).eps) * largest / self.dt
        step = jnp.floor((times - self.t0) / self.dt + slack)
        return jnp.clip(step, 0, self.num_steps).astype(jnp.int32)


def make_grid(dt: float, t0: Any, t1: Any) -> Grid:
    """Raises a `ValueError` unless `t0` and `t1` are known, and are a whole number of
    steps apart."""
    for name, value in (("t0", t0), ("t1", t1)):
        if isinstance(value, Tracer):
            raise ValueError(
                f"Under `Clocked` the number of steps must be known when the program is "
                f"compiled, but `{name}` is traced: give it as a Python number, which "
                "`eqx.filter_jit` leaves as it is, or make it a static argument of "
                "`jax.jit`."
            )
    start, end = float(t0), float(t1)
    if not (np.isfinite(start) and np.isfinite(end) and end > start):
        raise ValueError(
            f"`t1` must be finite and after `t0`, got `t0={start}` and `t1={end}`."
        )
    steps = (end - start) / dt
    whole = round(steps)
    if whole < 1 or abs(steps - whole) > 1e-6 * steps:
        raise ValueError(
            f"`t1 - t0` must be a whole number of steps, but {end - start} ms are "
            f"{steps:.9g} steps of `dt={dt}`: choose `t1` or `dt` so that they fit."
        )
    return Grid(start, dt, whole)
