from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._base import (
    AbstractKernel,
    AbstractWeighting,
    check_number,
    Number,
    Share,
    Trial,
)
from ._decay import decaying


class _Kernel(AbstractKernel):
    trial: Trial
    taus: tuple[Array, Array]
    rate: Float[Array, ""]
    total: Float[Array, ""]
    resolved: Bool[Array, ""]

    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        trial = self.trial
        now = jnp.exp(-(t - trial.t0) * self.rate) / trial.length
        of_v, of_i = decaying(trial.t1 - t, self.rate, *self.taus)
        return Share(now * of_v, now * of_i)


class Exponential(AbstractWeighting):
    r"""$g(t) = e^{-(t - t_0) / (s T)}$: early voltages count more. With
    `integral_cross_entropy` and the default scale the paper's $L_{sum\_exp}$, the loss
    that learns best in it.

    Its gradient reaches the spikes of the layer before all through the trial, and moves
    those that help to earlier times.

    **Arguments:**

    - `scale`: $s$, how much of the trial passes until the weight has fallen to 1/e.

    Raises a `ValueError` for a scale that is not positive.

    ??? cite

        Nowotny, Turner and Knight, arXiv 2212.01232.
    """

    scale: Number = 1.0

    def __check_init__(self):
        check_number("scale", self.scale)

    def _rate(self, trial: Trial) -> Float[Array, ""]:
        return 1 / (jnp.asarray(self.scale, trial.t1.dtype) * trial.length)

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        return jnp.exp(-(t - trial.t0) * self._rate(trial))[:, None]

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        scale = jnp.asarray(self.scale, trial.t1.dtype)
        total = -scale * jnp.expm1(-1 / scale)
        taus = tau_mem, tau_syn
        return _Kernel(trial, taus, self._rate(trial), total, jnp.array(True))
