"""Integrals of what a neuron has left, against a weight that decays."""

import jax.numpy as jnp
from jaxtyping import Array

from .._neuron._quick_psp import quick_psp


def _decay_integral(length: Array, rate: Array) -> Array:
    """That of exp(-rate s) over `[0, length]`."""
    return -jnp.expm1(-length * rate) / rate


def decaying(
    length: Array, rate: Array, tau_mem: Array, tau_syn: Array
) -> tuple[Array, Array]:
    r"""The integrals over `length` ms of what is left of a unit of voltage and of a unit of
    current, times $e^{-rs}$ with the `rate` $r \ge 0$ in 1/ms.

    For the current, $\tau_m \dot u = -u + i$ is integrated against the weight by parts,

    $$(1 + \tau_m r) \int e^{-rs} u \, ds = \int e^{-rs} i \, ds - \tau_m e^{-rS} u(S),$$

    in which nothing happens when the time constants meet. Elementwise."""
    of_v = _decay_integral(length, 1 / tau_mem + rate)
    charge = _decay_integral(length, 1 / tau_syn + rate)
    end = jnp.exp(-length * rate) * quick_psp(length, tau_mem, tau_syn)
    return of_v, (charge - tau_mem * end) / (1 + tau_mem * rate)
