r"""When an adaptive neuron first reaches its threshold between two events.

What has to reach zero is a sum of three exponentials and a constant,

$$f(t) = V(t) - \theta - \beta a(t), \qquad
f' = V' + \frac{\beta a_0}{\tau_a} e^{-t/\tau_a}.$$

$f' e^{t/\tau_a}$ is a constant and a combination of two exponentials, so it has one
stationary point at most, in closed form. It is monotone on either side, so $f'$ has two
zeros at most, and between them $f$ is monotone. Nothing here is to be differentiated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._root import rising_root


class Adaptive(eqx.Module):
    """State and parameters at the start of a time without events, all of one shape."""

    v: Array
    i: Array
    lift: Array  # beta a, by which adaptation raises the threshold
    tau_mem: Array
    tau_syn: Array
    tau_adapt: Array
    bias: Array
    v_threshold: Array


class _Modes(eqx.Module):
    """The exponentials at one time, all multiplied by `exp(rate h)`. `psp` is the effect
    of a unit of current on V, in a form that is exact for any ratio of time constants."""

    mem: Array
    syn: Array
    adapt: Array
    psp: Array

    @classmethod
    def at(cls, h: Array, x: Adaptive, rate: Array) -> "_Modes":
        slow = jnp.exp(-h * (1 / jnp.maximum(x.tau_mem, x.tau_syn) - rate))
        gap = jnp.abs(x.tau_mem - x.tau_syn) / (x.tau_mem * x.tau_syn)
        drop = jnp.expm1(-h * gap)
        fast = slow + slow * drop
        safe = jnp.where(gap > 0, gap, 1.0)
        psp = jnp.where(gap > 0, -drop / (safe * x.tau_mem), h / x.tau_mem) * slow
        return cls(
            jnp.where(x.tau_mem >= x.tau_syn, slow, fast),
            jnp.where(x.tau_mem >= x.tau_syn, fast, slow),
            jnp.exp(-h * (1 / x.tau_adapt - rate)),
            psp,
        )


class _Slope(eqx.Module):
    """f' as a course of its own. V' obeys the equations of V, without a bias and with I'
    for a current, so that it keeps its digits where V comes close to the bias."""

    w: Array  # V' at the start
    j: Array  # I' at the start
    lift: Array  # the rate at which the threshold falls, at the start
    x: Adaptive
    rate: Array  # of the slowest exponential there is: no sign is lost to underflow

    @classmethod
    def of(cls, x: Adaptive) -> "_Slope":
        # Exponentials that are not there get the time constant of one that is.
        tau_syn = jnp.where(x.i != 0, x.tau_syn, x.tau_mem)
        tau_adapt = jnp.where(x.lift != 0, x.tau_adapt, x.tau_mem)
        taus = lambda x: (x.tau_syn, x.tau_adapt)
        x = eqx.tree_at(taus, x, (tau_syn, tau_adapt))
        slowest = jnp.maximum(jnp.maximum(x.tau_mem, tau_syn), tau_adapt)
        w = (x.i + x.bias - x.v) / x.tau_mem
        return cls(w, -x.i / tau_syn, x.lift / tau_adapt, x, 1 / slowest)

    def __call__(self, h: Array) -> tuple[Array, Array, Array]:
        """f', the slope of `f' exp(t / tau_adapt)` and the rounding error of f', all but
        for a common positive factor."""
        modes, x = _Modes.at(h, self.x, self.rate), self.x
        terms = self.w * modes.mem, self.j * modes.psp, self.lift * modes.adapt
        w = terms[0] + terms[1]
        slope = (self.j * modes.syn - w) / x.tau_mem + w / x.tau_adapt
        return w + terms[2], slope, _noise(*terms)

    def turn(self, dt: Array) -> Array:
        """When `f' exp(t / tau_adapt)` is stationary, or `dt` if it is not before."""
        x = self.x
        # The slope above is a sum of two exponentials. With
        # E = (exp(delta t) - 1) / delta it is zero where up + down E = 0.
        up = self.w * (1 / x.tau_adapt - 1 / x.tau_mem) + self.j / x.tau_mem
        down = self.j / x.tau_mem * (1 / x.tau_adapt - 1 / x.tau_syn)
        e = -up / jnp.where(down == 0, 1.0, down)
        delta = 1 / x.tau_mem - 1 / x.tau_syn
        q = delta * e
        small = jnp.abs(q) < 1e-4
        q_safe = jnp.where(small | (q <= -1), 1.0, q)
        t = e * jnp.where(small, 1 - q / 2 + q * q / 3, jnp.log1p(q_safe) / q_safe)
        there = (down != 0) & (e > 0) & (q > -1) & (t < dt)
        return jnp.where(there, t, dt)


def _noise(*terms: Array) -> Array:
    size = jnp.abs(terms[0])
    for term in terms[1:]:
        size = jnp.maximum(size, jnp.abs(term))
    return float(jnp.finfo(size.dtype).eps) * size


def _stationary_points(x: Adaptive, dt: Array) -> tuple[Array, Array]:
    """Two times between which, and before and after which, f is monotone."""
    slope = _Slope.of(x)
    turn = slope.turn(dt)
    # Both pieces at once: from the start to the turn, and from there to the end.
    low, high = jnp.stack([jnp.zeros_like(dt), turn]), jnp.stack([turn, dt])
    (f_low, f_high), *_ = jax.vmap(jax.vmap(slope))(jnp.stack([low, high]))
    wanted = (jnp.sign(f_low) != jnp.sign(f_high)) & (f_low != 0) & (high > low)
    sign = jnp.where(f_low < 0, 1.0, -1.0).astype(dt.dtype)

    def course(h):
        f, f_slope, noise = jax.vmap(slope)(h)
        return sign * f, sign * f_slope, noise

    part = jnp.abs(f_low) / jnp.where(wanted, jnp.abs(f_low) + jnp.abs(f_high), 1.0)
    guess = jnp.where(wanted, low + part * (high - low), high)
    first, second = rising_root(course, low, high, guess, wanted)
    return first, second


def first_crossing(x: Adaptive, dt: Array) -> Array:
    """When f first reaches zero within `[0, dt]`, 0 where it is not below zero at the
    start, or `+inf`."""
    zero = jnp.zeros_like(dt)
    u = x.v - x.bias
    slope = _Slope.of(x)

    def course(h):
        modes = _Modes.at(h, x, zero)
        terms = u * modes.mem, x.i * modes.psp, -x.lift * modes.adapt
        f = (x.bias - x.v_threshold) + (terms[0] + terms[1] + terms[2])
        f1 = slope.w * modes.mem + slope.j * modes.psp + slope.lift * modes.adapt
        return f, f1, _noise(x.v_threshold, *terms)

    ends = jnp.stack([zero, *_stationary_points(x, dt), dt])
    f_ends, *_ = jax.vmap(course)(ends)
    at = jnp.argmax(f_ends >= 0, axis=0, keepdims=True)
    pick = lambda values, k: jnp.take_along_axis(values, k, axis=0)[0]
    low, high = pick(ends, jnp.maximum(at - 1, 0)), pick(ends, at)
    f_low, f_high = pick(f_ends, jnp.maximum(at - 1, 0)), pick(f_ends, at)
    found, at_start = f_high >= 0, f_ends[0] >= 0
    wanted = found & ~at_start
    part = -f_low / jnp.where(wanted, f_high - f_low, 1.0)
    guess = jnp.where(wanted, low + part * (high - low), low)
    time = rising_root(course, low, high, guess, wanted)
    return jnp.where(found, jnp.where(at_start, zero, time), jnp.inf)
