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
    # Either branch is the whole truth where both are equal, which `maximum` and `abs` are
    # not: their derivatives there are no derivatives of this function.
    mem_slower = tau_mem > tau_syn
    slow = jnp.where(mem_slower, tau_mem, tau_syn)
    apart = jnp.where(mem_slower, tau_mem - tau_syn, tau_syn - tau_mem)
    gap = apart / (tau_mem * tau_syn)
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


def upper_bound(v: Array, i: Array, part: Array, peak: Array, taus: Taus) -> Array:
    """A cheap bound from above on V within a time of `part` times tau_mem (1 at most),
    where it is not V at the start that is largest; `peak` is the largest voltage after one
    unit of current within that time, or `part` if that is smaller.

    The largest u reached is a convex function of both start values, so between u = 0,
    where it is at most `peak` times the current, and u = I, from where on u only falls, it
    is below the chord. Below u = 0 both terms of the solution are bounded by themselves,
    with exp(-x) >= 1 - x.
    """
    u = v - taus.bias
    rest = jnp.maximum(u * (1 - peak), u * (1 - part))
    return taus.bias + (rest + jnp.maximum(i, 0.0) * peak)
