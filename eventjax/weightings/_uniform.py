from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._base import AbstractKernel, AbstractWeighting, Share, Trial
from ._decay import decaying


class _Kernel(AbstractKernel):
    trial: Trial
    taus: tuple[Array, Array]
    total: Float[Array, ""]
    resolved: Bool[Array, ""]

    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        none = jnp.zeros((), t.dtype)
        of_v, of_i = decaying(self.trial.t1 - t, none, *self.taus)
        return Share(of_v / self.trial.length, of_i / self.trial.length)


class Uniform(AbstractWeighting):
    r"""$g(t) = 1$: the mean voltage. With `integral_cross_entropy` the paper's
    $L_{sum}$.

    Its gradient hardly tells an earlier spike of the layer before from a later one: all
    that it hands back vanishes but within a few time constants of the end.

    ??? cite

        Nowotny, Turner and Knight, arXiv 2212.01232.
    """

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        return jnp.ones((t.shape[0], 1), t.dtype)

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        one = jnp.ones((), trial.t1.dtype)
        return _Kernel(trial, (tau_mem, tau_syn), one, jnp.array(True))
