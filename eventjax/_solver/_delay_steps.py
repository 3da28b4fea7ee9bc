"""Delays in whole steps: from rasters of spikes to the currents of each step."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .._connection import AbstractConnection


class DelaySteps(eqx.Module):
    """How many steps after its spike each row of a connection arrives."""

    # All the same, or one for each row, or one for each row and neuron.
    steps: int | Int[Array, ""] | Int[Array, " rows"] | Int[Array, "rows out"]
    bound: int = eqx.field(static=True)  # the largest that they can be
    values: tuple[int, ...] = eqx.field(static=True)  # all that they can be


def no_gradient(x: Any, what: str) -> Any:
    """Makes it an error to differentiate by `x`."""
    return eqxi.nondifferentiable(
        x,
        msg=(
            f"{what} has no gradient under `Clocked`, whose grid does not show small "
            "changes of time: leave it out of what is differentiated "
            "(`eqx.partition`, `jax.lax.stop_gradient`), or use the solver "
            "`ClosedForm()` or `DiffraxEvent()`."
        ),
    )


def delay_steps(
    connection: AbstractConnection, dt: float, max_delay: float | None, least: int
) -> tuple[DelaySteps, Bool[Array, ""]]:
    """The delays of a connection, rounded to at least `least` steps of `dt`, and whether
    one is longer than `max_delay`. Raises a `ValueError` for one that is known to be, and
    for delays that are not known without a `max_delay`."""
    none, delays = jnp.array(False), connection.delays()
    if delays is None:
        return DelaySteps(least, least, (least,)), none
    if not eqx.is_array(delays):  # numbers
        return _known(np.asarray(delays), dt, least), none
    if isinstance(delays, Tracer):
        delays = no_gradient(delays, "A delay")
        if max_delay is None:
            raise ValueError(
                "`Clocked` must know how long delays can be when the program is compiled, "
                f"but those of `{type(connection).__name__}` are an array whose values "
                "are traced: give `Clocked(dt, max_delay=...)`, in ms, or give delays as "
                "numbers."
            )
        bound = max(int(np.rint(max_delay / dt)), least)
        steps = jnp.rint(delays / dt)
        too_long = ~jnp.all(steps <= bound)
        steps = jnp.clip(steps, least, bound).astype(jnp.int32)
        return DelaySteps(steps, bound, tuple(range(least, bound + 1))), too_long
    known = _known(np.asarray(delays), dt, least)
    if max_delay is None:
        return known, none
    bound = max(int(np.rint(max_delay / dt)), least)
    if known.bound > bound:
        raise ValueError(
            f"`max_delay` must be at least as long as all delays, but is {max_delay} ms, "
            f"and `{type(connection).__name__}` has a delay of {np.max(delays)} ms."
        )
    # As where the values are not known, so that states fit.
    return DelaySteps(known.steps, bound, known.values), none


def _known(delays: np.ndarray, dt: float, least: int) -> DelaySteps:
    steps = np.maximum(np.rint(delays / dt), least).astype(np.int32)
    values = tuple(int(x) for x in np.unique(steps))
    if len(values) == 1:
        return DelaySteps(values[0], values[0], values)
    return DelaySteps(jnp.asarray(steps), values[-1], values)


def product(
    raster: Float[Array, "steps batch rows"], rows: Float[Array, "rows out"]
) -> Float[Array, "steps batch out"]:
    """As one plain matrix product, whose reverse pass XLA does several times faster than
    that of a product with two leading axes."""
    steps, batch, num = raster.shape
    return (raster.reshape(-1, num) @ rows).reshape(steps, batch, -1)


def delayed_currents(
    raster: Float[Array, "steps batch in"],
    rows: Float[Array, "rows out"],
    delay: DelaySteps,
) -> Float[Array, "longer batch out"]:
    """The currents that spikes bring, in their steps and `delay.bound` more. Row
    `c * in + k` is copy `c` of source `k`."""
    length = raster.shape[0]
    raster = jnp.tile(raster, (1, 1, rows.shape[0] // raster.shape[2]))
    if isinstance(delay.steps, int):
        after = delay.bound - delay.steps
        return jnp.pad(product(raster, rows), ((delay.steps, after), (0, 0), (0, 0)))
    if delay.steps.ndim < 2:
        steps = jnp.broadcast_to(delay.steps, rows.shape[:1])
        room = (delay.bound, delay.bound), (0, 0), (0, 0)
        padded = jnp.pad(raster, room)

        def shift(source, steps):
            return lax.dynamic_slice_in_dim(
                source, delay.bound - steps, length + delay.bound
            )

        return product(jax.vmap(shift, (2, 0), 2)(padded, steps), rows)

    def add(total, value):
        new = product(raster, jnp.where(delay.steps == value, rows, 0.0))
        old = lax.dynamic_slice_in_dim(total, value, length)
        return lax.dynamic_update_slice_in_dim(total, old + new, value, 0), None

    shape = length + delay.bound, raster.shape[1], rows.shape[1]
    start = jnp.zeros(shape, raster.dtype)
    return lax.scan(add, start, jnp.asarray(delay.values, jnp.int32))[0]
