"""The root of an increasing function in a bracket, to the last bits."""

from collections.abc import Callable

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


# A bisection needs as many steps as a float has digits, and half of the steps at least
# are one. It is there to end loops in which rounding plays tricks.
_MAX_STEPS = 200


class _Search(eqx.Module):
    h: Array
    # Value, slope and rounding error at h, carried so that all their uses see the same:
    # compiled code may round a value in one way for each, and tell its sign in two ways.
    f: Array
    slope: Array
    noise: Array
    low: Array
    high: Array
    step: Array  # the size of the last step
    moving: Bool[Array, "*shape"]
    count: Int[Array, ""]


def rising_root(
    course: Callable[[Array], tuple[Array, Array, Array]],
    low: Array,
    high: Array,
    guess: Array,
    wanted: Bool[Array, "*shape"],
) -> Array:
    """Where a function goes through zero from below within `[low, high]`, elementwise.

    `course` gives its value, its slope and the size of its rounding error. Where it is
    not `wanted` the result is `guess`. The function should have one root in the bracket,
    be negative before it and positive after; where it has no sign to speak of at an end
    because of rounding, the end may be the result.

    Newton steps, and a bisection where such a step would leave the bracket or would not
    be half of the one before.
    """
    eps = float(jnp.finfo(low.dtype).eps)

    def improve(at: _Search) -> _Search:
        f, slope = at.f, at.slope
        low, high = jnp.where(f < 0, at.h, at.low), jnp.where(f < 0, at.high, at.h)
        newton = at.h - f / jnp.where(slope > 0, slope, 1.0)
        inside = (slope > 0) & (newton >= low) & (newton <= high)
        quick = jnp.abs(2 * f) <= jnp.abs(at.step * slope)
        # Where the function cannot be told from zero its sign says nothing any more.
        last = (jnp.abs(f) <= at.noise) | (jnp.abs(newton - at.h) <= eps * newton)
        last &= inside
        h = jnp.where(inside & (quick | last), newton, low + 0.5 * (high - low))
        h = jnp.where(at.moving, h, at.h)
        moving = at.moving & ~last & (h != at.h)
        step = jnp.abs(h - at.h)
        return _Search(h, *course(h), low, high, step, moving, at.count + 1)

    count = jnp.array(0, jnp.int32)
    start = _Search(guess, *course(guess), low, high, high - low, wanted, count)
    return lax.while_loop(
        lambda at: jnp.any(at.moving) & (at.count < _MAX_STEPS), improve, start
    ).h
