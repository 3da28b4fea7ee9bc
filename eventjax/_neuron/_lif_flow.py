r"""Closed forms of the LIF equations between two events. All functions are elementwise.

With $u = V - b$ and constant bias $b$,

$$u(t) = u_0 e^{-t/\tau_m} + I_0 \kappa(t), \qquad
\kappa(t) = \frac{\tau_s}{\tau_m - \tau_s} (e^{-t/\tau_m} - e^{-t/\tau_s}).$$

This form of $\kappa$ loses all digits when the time constants are close, so what is
computed is $\frac{t}{\tau_m} e^{-t/\tau_{slow}} \phi(-t |1/\tau_m - 1/\tau_s|)$ with
$\phi(y) = (e^y - 1)/y$, which is exact for any ratio.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array


class Taus(eqx.Module):
    """Time constants and bias, broadcast against whatever they act on."""

    mem: Array
    syn: Array
    bias: Array


class Flow(eqx.Module):
    """Voltage and current, and, where gradients of time constants are wanted, their
    derivatives at fixed event times since the neuron's last reset."""

    v: Array
    i: Array
    v_by_mem: Array | None = None  # dV/dtau_mem; I does not depend on tau_mem
    v_by_syn: Array | None = None
    i_by_syn: Array | None = None

    def receive(self, current: Array) -> "Flow":
        return eqx.tree_at(lambda s: s.i, self, self.i + current)

    def reset(self, v_reset: Array) -> "Flow":
        """Just after a spike: V starts anew, I and its history go on."""
        v = jnp.broadcast_to(v_reset, self.v.shape)
        zero = None if self.v_by_mem is None else jnp.zeros_like(self.v)
        return Flow(v, self.i, zero, zero, self.i_by_syn)


def _phi(y: Array) -> Array:
    """(exp(y) - 1) / y for y <= 0, safe at zero in value and in all derivatives."""
    small = y > -0.05
    y_large = jnp.where(small, -1.0, y)
    y_small = jnp.where(small, y, 0.0)
    series = jnp.ones_like(y)
    for n in range(9, 1, -1):  # the rest is below 1e-18 for |y| < 0.05
        series = 1 + y_small / n * series
    return jnp.where(small, series, jnp.expm1(y_large) / y_large)


def psp(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """Voltage at time `t` after a unit of current arrived at a neuron at rest."""
    slow = jnp.maximum(tau_mem, tau_syn)
    gap = jnp.abs(tau_mem - tau_syn) / (tau_mem * tau_syn)
    return t / tau_mem * jnp.exp(-t / slow) * _phi(-t * gap)


def psp_peak(tau_mem: Array, tau_syn: Array) -> Array:
    """The largest value of `psp`, at t = log(tau_mem / tau_syn) / (1/tau_syn - 1/tau_mem)
    (tau_mem if both are equal)."""
    ratio = tau_mem / tau_syn - 1
    close = jnp.abs(ratio) < 1e-3
    safe = jnp.where(close, 1.0, ratio)
    # log1p(x)/x near zero, to 1e-12
    scale = jnp.where(
        close, 1 - ratio / 2 + ratio**2 / 3 - ratio**3 / 4, jnp.log1p(safe) / safe
    )
    return psp(tau_mem * scale, tau_mem, tau_syn)


def voltage(v: Array, i: Array, dt: Array, taus: Taus) -> Array:
    """V after `dt` without events."""
    decay = jnp.exp(-dt / taus.mem)
    return taus.bias + (v - taus.bias) * decay + i * psp(dt, taus.mem, taus.syn)


class Steps(eqx.Module):
    """What a time without events does to voltage and current:
    `u -> mem u + gain i`, `i -> syn i`. The derivatives go with those of `Flow`."""

    mem: Array
    syn: Array
    gain: Array
    mem_by_mem: Array | None = None
    gain_by_mem: Array | None = None
    syn_by_syn: Array | None = None
    gain_by_syn: Array | None = None

    @classmethod
    def of(cls, dt: Array, taus: Taus, by_tau: bool = False) -> "Steps":
        mem, syn = jnp.exp(-dt / taus.mem), jnp.exp(-dt / taus.syn)
        if not by_tau:
            return cls(mem, syn, psp(dt, taus.mem, taus.syn))
        tau_mem = jnp.broadcast_to(taus.mem, mem.shape)
        tau_syn = jnp.broadcast_to(taus.syn, mem.shape)
        ones, zeros = jnp.ones_like(mem), jnp.zeros_like(mem)

        def gain(tau_mem, tau_syn):
            return psp(dt, tau_mem, tau_syn)

        taus_ = (tau_mem, tau_syn)
        value, by_mem = jax.jvp(gain, taus_, (ones, zeros))
        _, by_syn = jax.jvp(gain, taus_, (zeros, ones))
        return cls(
            mem,
            syn,
            value,
            mem * dt / tau_mem**2,
            by_mem,
            syn * dt / tau_syn**2,
            by_syn,
        )


def propagate(state: Flow, steps: Steps, bias: Array) -> Flow:
    """The state after a time without events."""
    u = state.v - bias
    v = bias + (u * steps.mem + state.i * steps.gain)
    i = state.i * steps.syn
    if state.v_by_mem is None:
        return Flow(v, i)
    return Flow(
        v,
        i,
        state.v_by_mem * steps.mem + u * steps.mem_by_mem + state.i * steps.gain_by_mem,
        state.v_by_syn * steps.mem
        + state.i_by_syn * steps.gain
        + state.i * steps.gain_by_syn,
        state.i_by_syn * steps.syn + state.i * steps.syn_by_syn,
    )


def upper_bound(state: Flow, steps: Steps, taus: Taus, peak: Array) -> Array:
    """A cheap bound from above on V within a time; `peak` is `psp_peak` of the neurons.

    The lower of two: the voltage under the current held at its start value, and the sum
    of the largest values of both terms of the solution."""
    push = jnp.maximum(state.i, 0.0)
    u = state.v - taus.bias
    held = state.v + jnp.maximum(push - u, 0.0) * (1 - steps.mem)
    gain = jnp.minimum(peak, taus.syn / taus.mem * (1 - steps.syn))
    apart = taus.bias + jnp.maximum(u, u * steps.mem) + push * gain
    return jnp.minimum(held, apart)


def stationary_point(v: Array, i: Array, taus: Taus) -> Array:
    """When V' is zero, or +inf if it never is. There is one such time at most: a maximum
    if V rises at first, else a minimum."""
    u = v - taus.bias
    slope = i - u  # tau_mem V'
    below = u * (taus.mem - taus.syn) + i * taus.syn
    q = slope * (taus.mem - taus.syn) / jnp.where(below == 0, 1.0, below)
    small = jnp.abs(q) < 1e-4
    q_safe = jnp.where(small | (q <= -1), 1.0, q)
    scale = jnp.where(small, 1 - q / 2 + q * q / 3, jnp.log1p(q_safe) / q_safe)
    t = scale * slope * taus.mem * taus.syn / jnp.where(below == 0, 1.0, below)
    exists = (below != 0) & (q > -1) & (t > 0)
    return jnp.where(exists, t, jnp.inf)


def first_crossing(
    v: Array, i: Array, dt: Array, taus: Taus, v_threshold: Array
) -> tuple[Array, Array]:
    """Whether V reaches the threshold within `[0, dt]`, and when.

    Between its start, its stationary point and the end V is monotone, which gives a
    bracket; in it a second-order Newton iteration, or a bisection where that would
    leave the bracket, goes on to the last bit. V at or above the threshold at the
    start is a crossing at once. Returns `(found, time)`.
    """
    t_flat = stationary_point(v, i, taus)
    inside = t_flat < dt
    rises = i > v - taus.bias
    t_flat = jnp.where(inside, t_flat, dt)
    f_flat = voltage(v, i, t_flat, taus) - v_threshold
    f_end = voltage(v, i, dt, taus) - v_threshold
    top = inside & rises & (f_flat >= 0)
    now = v >= v_threshold
    found = now | top | (f_end >= 0)
    todo = found & ~now
    dips = inside & ~rises
    lo, f_lo = jnp.where(dips, t_flat, 0.0), jnp.where(dips, f_flat, v - v_threshold)
    hi, f_hi = jnp.where(top, t_flat, dt), jnp.where(top, f_flat, f_end)

    # First guess: the parabola through both ends that is flat where V is.
    width = hi - lo
    part = jnp.clip(f_hi / jnp.where(todo, f_hi - f_lo, 1.0), 0.0, 1.0)
    slope = jnp.where(dips, 0.0, (i + taus.bias - v) / taus.mem)
    rise = f_hi - f_lo
    curve = rise - slope * width
    root = jnp.sqrt(jnp.maximum(slope * slope * width * width - 4 * f_lo * curve, 0.0))
    down = slope * width + root
    from_lo = -2 * f_lo / jnp.where(down > 0, down, 1.0)
    guess = jnp.where(top, 1 - jnp.sqrt(part), jnp.clip(from_lo, 0.0, 1.0))
    start = lo + guess * width
    eps = jnp.finfo(v.dtype).eps

    def better(h, lo, hi):
        i_h = i * jnp.exp(-h / taus.syn)
        v_h = voltage(v, i, h, taus)
        f = v_h - v_threshold
        f1 = (i_h + taus.bias - v_h) / taus.mem
        f2 = -(i_h / taus.syn + f1) / taus.mem
        lo, hi = jnp.where(f < 0, h, lo), jnp.where(f < 0, hi, h)
        root = jnp.sqrt(jnp.maximum(f1 * f1 - 2 * f * f2, 0.0))
        down = f1 + root
        h_new = h - 2 * f / jnp.where(down > 0, down, 1.0)
        good = (down > 0) & (h_new >= lo) & (h_new <= hi)
        h_new = jnp.where(good, h_new, lo + 0.5 * (hi - lo))
        # A step below the rounding error of f, or to an end already seen, is the last.
        noise = eps * (h + jnp.abs(v_threshold) / jnp.where(down > 0, down, 1.0))
        moving = (jnp.abs(h_new - h) > noise) & (h_new > lo) & (h_new < hi)
        return h_new, lo, hi, todo & moving

    def cond(carry):
        return jnp.any(carry[3])

    def body(carry):
        h, lo, hi, moving = carry
        h_new, lo, hi, more = better(h, lo, hi)
        return jnp.where(moving, h_new, h), lo, hi, moving & more

    h, _, _, _ = lax.while_loop(cond, body, (start, lo, hi, todo))
    return found, jnp.where(now, 0.0, h)
