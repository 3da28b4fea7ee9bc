"""`psp` for sums over many arrivals."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from ._lif_flow import psp


@jax.custom_jvp
def quick_psp(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """`psp` in a form that takes a third of the time. Its derivatives are given below:
    where the time constants are equal it has none by itself."""
    gap = jnp.abs(tau_mem - tau_syn) / (tau_mem * tau_syn)
    apart = gap > 0
    part = jnp.expm1(-t * gap) / jnp.where(apart, -gap, 1.0)
    slow = jnp.exp(-t / jnp.maximum(tau_mem, tau_syn))
    return jnp.where(apart, part, t) / tau_mem * slow


def _quick_psp_jvp(primals, tangents):
    t, tau_mem, tau_syn = primals
    by_time, *by_taus = tangents
    value = quick_psp(t, tau_mem, tau_syn)
    out = jnp.zeros_like(value)
    if not isinstance(by_time, SymbolicZero):
        out += by_time * ((jnp.exp(-t / tau_syn) - value) / tau_mem)
    if not all(isinstance(x, SymbolicZero) for x in by_taus):
        by_taus = [
            jnp.zeros(x.shape, x.dtype) if isinstance(x, SymbolicZero) else x
            for x in by_taus
        ]
        of_taus = lambda mem, syn: psp(t, mem, syn)
        out += jax.jvp(of_taus, (tau_mem, tau_syn), tuple(by_taus))[1]
    return value, out


quick_psp.defjvp(_quick_psp_jvp, symbolic_zeros=True)
