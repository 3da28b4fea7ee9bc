from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._base import AbstractKernel, AbstractWeighting, Share, Trial
from ._decay import decaying


def _ramp_integral(length: Array, tau: Array) -> Array:
    """That of (length - s) exp(-s / tau) over `[0, length]`."""
    return tau * (length + tau * jnp.expm1(-length / tau))


class _Kernel(AbstractKernel):
    trial: Trial
    taus: tuple[Array, Array]
    total: Float[Array, ""]
    resolved: Bool[Array, ""]

    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        # By parts as in `decaying`, against a weight that falls by 1/T each ms to zero.
        (mem, syn), scale = self.taus, 1 / self.trial.length**2
        left = self.trial.t1 - t
        _, plain = decaying(left, jnp.zeros((), t.dtype), mem, syn)
        of_i = _ramp_integral(left, syn) - mem * plain
        return Share(scale * _ramp_integral(left, mem), scale * of_i)


class Linear(AbstractWeighting):
    r"""$g(t) = 1 - (t - t_0) / T$: weights fall to zero at the end of the trial.

    ??? cite

        From the code of Nowotny, Turner and Knight, arXiv 2212.01232; how the paper names
        and defines it is UNCONFIRMED.
    """

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        return ((trial.t1 - t) / trial.length)[:, None]

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        half = jnp.full((), 0.5, trial.t1.dtype)
        return _Kernel(trial, (tau_mem, tau_syn), half, jnp.array(True))
