r"""A current that relaxes, and when its integral reaches a level.

From `current` $I_0$ at time 0 towards `target` $C$ with `rate` $r$ (1/ms),
$I(h) = C + (I_0 - C) e^{-r h}$. Neither is ever negative, so the integral never falls.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._neuron._root import rising_root


def current_after(h: Array, current: Array, target: Array, rate: Array) -> Array:
    """$I(h)$, `h` in ms: `current` itself where `h` is 0, and never negative."""
    return current - (target - current) * jnp.expm1(-rate * h)


def integral(h: Array, current: Array, target: Array, rate: Array) -> Array:
    """The integral of $I$ from 0 to `h`, in ms times the unit of the current."""
    return h * (current + (target - current) * _share(rate * h))


def _share(x: Array) -> Array:
    """`1 - (1 - exp(-x)) / x`: how far the mean of a relaxation is on its way. 0 at 0."""
    near = x < 0.03
    # Written out where the difference would lose digits; the next term is below rounding.
    small, series = jnp.where(near, x, 0.0), 1.0
    for k in (8, 7, 6, 5, 4, 3):
        series = 1 - small / k * series
    far = jnp.where(near, 1.0, x)
    return jnp.where(near, small / 2 * series, 1 + jnp.expm1(-far) / far)


def reach(
    level: Float[Array, "*units"],
    current: Float[Array, "*units"],
    target: Float[Array, "*units"],
    rate: Float[Array, "*units"],
    low: Float[Array, "*units"],
    high: Float[Array, ""],
) -> Float[Array, "*units"]:
    """When the integral reaches `level` within `[low, high]`, to the last bits; `low`
    where it has by then, `+inf` where it does not. Not to be differentiated."""
    eps = float(jnp.finfo(level.dtype).eps)
    high = jnp.maximum(high, low)
    bottom = integral(low, current, target, rate) - level
    top = integral(high, current, target, rate) - level
    wanted = (bottom < 0) & (top >= 0)
    rise = jnp.where(wanted, top - bottom, 1.0)
    guess = low + (high - low) * jnp.where(wanted, -bottom / rise, 0.0)

    def course(h: Array):
        f = integral(h, current, target, rate) - level
        return f, current_after(h, current, target, rate), eps * jnp.abs(level)

    h = rising_root(course, low, high, guess, wanted)
    return jnp.where(bottom >= 0, low, jnp.where(wanted, h, jnp.inf))


@jax.custom_jvp
def attach(
    h: Float[Array, ""],
    level: Float[Array, ""],
    current: Float[Array, ""],
    target: Float[Array, ""],
    rate: Float[Array, ""],
    least: Float[Array, ""],
) -> Float[Array, ""]:
    """`h`, which `reach` has found, with its derivatives: those of the root, where the
    slope, the current at `h`, counts as `least` at the least. That of `h` itself is
    none."""
    return h


@attach.defjvp
def _attach_jvp(primals, tangents):
    _, _, current, target, rate, least = primals
    _, level_moves, *moves, _ = tangents
    h = attach(*primals)  # not `h` as given, for the sake of derivatives of this rule
    area = lambda *x: integral(h, *x)
    _, area_moves = jax.jvp(area, (current, target, rate), tuple(moves))
    slope = jnp.maximum(current_after(h, current, target, rate), least)
    return h, (level_moves - area_moves) / slope
