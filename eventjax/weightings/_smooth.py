from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import AbstractKernel, AbstractWeighting, check_number, Number, Trial
from ._smooth_kernel import SmoothKernel


class Smooth(AbstractWeighting):
    r"""A weighting of your own, $g(t) = f((t - t_0) / T)$.

    The integrals against what a neuron has left have no closed form. They are computed
    once for each pair of time constants, as polynomials on 512 panels of the trial, to
    1e-12 of their largest value in float64. For that $f$ must be smooth and the trial at
    most 1000 times as long as the shortest time constant of the readout. Whether it holds
    is looked at in each run: if not, `Solution.result` is `RESULTS.weighting_unresolved`,
    an error by default.

    **Arguments:**

    - `function`: $f$, from an array of places in $[0, 1]$, 0 being `t0` and 1 `t1`, to one
        of weights of the same shape; plain JAX, differentiable arrays inside an Equinox
        module included.
    """

    function: Callable[[Array], Array]

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        return self.function((t - trial.t0) / trial.length)[:, None]

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        return SmoothKernel.of(self.function, trial, tau_mem, tau_syn)


class Sigmoid(AbstractWeighting):
    r"""$g(t) = 1 / (1 + e^{(u - c) / w})$ with $u = (t - t_0) / T$: weights fall around the
    middle of the trial. Computed as those of `Smooth`.

    **Arguments:**

    - `centre`, `width`: $c$ and $w$, as parts of the trial. A width below 0.005 may not be
        resolved, see `Smooth`.

    Raises a `ValueError` for a width that is not positive.

    ??? cite

        From the code of Nowotny, Turner and Knight, arXiv 2212.01232, with these defaults;
        how the paper names and defines it is UNCONFIRMED.
    """

    centre: Number = 0.5
    width: Number = 0.2

    def __check_init__(self):
        check_number("centre", self.centre, positive=False)
        check_number("width", self.width)

    def _function(self, u: Array) -> Array:
        array = lambda x: jnp.asarray(x, u.dtype)
        return jax.nn.sigmoid((array(self.centre) - u) / array(self.width))

    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        return self._function((t - trial.t0) / trial.length)[:, None]

    def kernel(self, trial: Trial, tau_mem: Any, tau_syn: Any) -> AbstractKernel:
        return SmoothKernel.of(self._function, trial, tau_mem, tau_syn)
