"""When a LIF neuron first reaches its threshold between two events, to the last bit."""

from collections.abc import Callable

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._lif_flow import Taus


def stationary_point(v: Array, i: Array, taus: Taus) -> Array:
    """When V' is zero, or +inf if it never is. There is one such time at most: a maximum
    if V rises at first, else a minimum."""
    u = v - taus.bias
    slope = i - u  # tau_mem V'
    below = u * (taus.mem - taus.syn) + i * taus.syn
    safe = jnp.where(below == 0, 1.0, below)
    q = slope * (taus.mem - taus.syn) / safe
    small = jnp.abs(q) < 1e-4
    q_safe = jnp.where(small | (q <= -1), 1.0, q)
    scale = jnp.where(small, 1 - q / 2 + q * q / 3, jnp.log1p(q_safe) / q_safe)
    t = scale * slope * taus.mem * taus.syn / safe
    exists = (below != 0) & (q > -1) & (t > 0)
    return jnp.where(exists, t, jnp.inf)


class _Course(eqx.Module):
    """V and I after a start value, with one `exp` and one `expm1` for each time."""

    v: Array
    i: Array
    taus: Taus

    def __call__(self, h: Array) -> tuple[Array, Array]:
        mem, syn, bias = self.taus.mem, self.taus.syn, self.taus.bias
        gap = jnp.abs(mem - syn) / (mem * syn)
        slow = jnp.exp(-h / jnp.maximum(mem, syn))
        drop = jnp.expm1(-h * gap)
        fast = slow + slow * drop
        # The form of `psp`, which is exact for any ratio of time constants, without its
        # care for derivatives.
        psp = jnp.where(gap > 0, drop / (-gap * mem), h / mem) * slow
        decay_mem = jnp.where(mem >= syn, slow, fast)
        decay_syn = jnp.where(mem >= syn, fast, slow)
        v = bias + ((self.v - bias) * decay_mem + self.i * psp)
        return v, self.i * decay_syn


class _Search(eqx.Module):
    h: Array
    before: Array  # the time looked at before `h`
    low: Array
    high: Array
    moving: Bool[Array, "*shape"]


def _first_guess(f_start: Array, f_high: Array, run: Array, top: Array) -> Array:
    """The root of a parabola through both ends, as a part of the way between them: one
    that is flat at the end at a maximum, else one with the slope V has at the start,
    which is `run` times the way."""
    rise = f_high - f_start
    part = jnp.clip(f_high / jnp.where(rise > 0, rise, 1.0), 0.0, 1.0)
    root = jnp.sqrt(jnp.maximum(run * run - 4 * f_start * (rise - run), 0.0))
    down = run + root
    from_start = -2 * f_start / jnp.where(down > 0, down, 1.0)
    return jnp.where(top, 1 - jnp.sqrt(part), jnp.clip(from_start, 0.0, 1.0))


def first_crossing(
    v: Array,
    i: Array,
    dt: Array,
    taus: Taus,
    v_threshold: Array,
    any_of: Callable[[Array], Array] = jnp.any,
) -> tuple[Array, Array]:
    """Whether V reaches the threshold within `[0, dt]`, and when.

    Between its start, its stationary point and the end V is monotone, which gives a
    bracket; in it a second-order Newton iteration, or a bisection where that would
    leave the bracket, goes on to the last bit. V at or above the threshold at the
    start is a crossing at once. Returns `(found, time)`. `any_of` is for kernels, which
    have no `jnp.any`.
    """
    course = _Course(v, i, taus)
    t_flat = stationary_point(v, i, taus)
    slope = (i + taus.bias - v) / taus.mem
    rises = slope > 0
    top, dips = rises & (t_flat < dt), ~rises & (t_flat < dt)
    low, high = jnp.where(dips, t_flat, 0.0), jnp.where(top, t_flat, dt)
    f_high = course(high)[0] - v_threshold
    now = v >= v_threshold
    found = now | (f_high >= 0)

    way = high - low
    guess = _first_guess(
        v - v_threshold, f_high, jnp.where(dips, 0.0, slope * way), top
    )
    eps = float(jnp.finfo(v.dtype).eps)
    scale = eps * jnp.maximum(jnp.abs(v_threshold), jnp.abs(v_threshold - taus.bias))

    def improve(at: _Search) -> _Search:
        h = at.h
        v_h, i_h = course(h)
        f = v_h - v_threshold
        f1 = (i_h + taus.bias - v_h) / taus.mem
        f2 = -(i_h / taus.syn + f1) / taus.mem
        f3 = (i_h / (taus.syn * taus.syn) - f2) / taus.mem
        low, high = jnp.where(f < 0, h, at.low), jnp.where(f < 0, at.high, h)
        root = jnp.sqrt(jnp.maximum(f1 * f1 - 2 * f * f2, 0.0))
        down = f1 + root
        step = -2 * f / jnp.where(down > 0, down, 1.0)
        good = (down > 0) & (h + step >= low) & (h + step <= high)
        h_new = jnp.where(good, h + step, low + 0.5 * (high - low))
        # The step is the last if the term after those it knows of is below the rounding
        # error of V, or if it is below that of the time.
        last = good & (
            (jnp.abs(f3 * step * step * step) <= 3 * scale) | (jnp.abs(step) <= eps * h)
        )
        # Where V is within rounding of the threshold, compiled code may find `f` below
        # zero in one of its uses and above in another. Then the bracket stays as it is,
        # and there is nothing left to be found.
        stuck = (at.before != at.low) & (at.before != at.high) | (at.before == h)
        moving = at.moving & ~last & ~stuck & (h_new > low) & (h_new < high)
        return _Search(jnp.where(at.moving, h_new, h), h, low, high, moving)

    start = low + guess * way
    other = jnp.where(start == low, high, low)
    start = _Search(start, other, low, high, found & ~now)
    end = lax.while_loop(lambda at: any_of(at.moving), improve, start)
    return found, jnp.where(now, 0.0, end.h)
