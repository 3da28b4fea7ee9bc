"""The kernel of a smooth weighting, as polynomials."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

from .._neuron._quick_psp import quick_psp
from ._base import AbstractKernel, Share, Trial
from ._panels import chebyshev_nodes, NODES, PANELS, Panels
from ._segments import Segment, to_the_end


def _gauss() -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of a rule on `[0, 1]`."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    return 0.5 * (1 + places), 0.5 * weights


def _at(function: Callable, within: np.ndarray, trial: Trial) -> Array:
    """The weight at places of each panel, `[panels, *places]`."""
    panel = np.arange(PANELS).reshape(-1, *(1,) * within.ndim)
    return function(jnp.asarray((panel + within[None]) / PANELS, trial.t1.dtype))


def _within(
    function: Callable,
    trial: Trial,
    mem: Float[Array, "batch neurons"],
    syn: Float[Array, "batch neurons"],
) -> tuple[Array, Array]:
    """The integrals from the start of each panel, and from its nodes, to its end, of what
    is left of a unit of voltage and of current. `[panels, 1 + nodes, batch, neurons]`."""
    starts = np.concatenate([[0.0], chebyshev_nodes()])
    places, weights = _gauss()
    gap = (1 - starts)[:, None] * places[None]
    g = _at(function, starts[:, None] + gap, trial)[..., None, None]
    spread = lambda x: jnp.asarray(x, g.dtype)[None, :, :, None, None]
    rule = spread((1 - starts)[:, None] * weights[None] / PANELS)
    gap = trial.length / PANELS * spread(gap)
    mem, syn = mem[None, None, None], syn[None, None, None]
    over = lambda x: jnp.sum(rule * g * x, axis=2)
    return over(jnp.exp(-gap / mem)), over(quick_psp(gap, mem, syn))


def _shares(
    function: Callable,
    trial: Trial,
    mem: Float[Array, "batch neurons"],
    syn: Float[Array, "batch neurons"],
) -> Share:
    """From the nodes of each panel to the end, `[panels, nodes, batch, neurons]`."""
    width = trial.length / PANELS
    local = _within(function, trial, mem, syn)
    whole = Segment.of(width, (mem, syn), *(x[:, 0] for x in local))
    later = jax.tree.map(lambda x: x[1:, None], to_the_end(whole))
    left = width * (1 - jnp.asarray(chebyshev_nodes(), width.dtype))
    taus = mem[None, None], syn[None, None]
    inner = Segment.of(left[None, :, None, None], taus, *(x[:, 1:] for x in local))
    found = inner.then(later)
    return Share(found.of_v, found.of_i)


@jax.custom_jvp
def _read(values: Panels, slopes: Panels, u: Array) -> Array:
    """Values at places whose derivative by the place are the `slopes`: that of a polynomial
    has a hundred times its error, which shows in single precision."""
    del slopes
    return values(u)


def _read_jvp(primals, tangents):
    values, slopes, u = primals
    by_values, _, by_place = tangents
    out = values(u)
    dot = jnp.zeros_like(out)
    if not isinstance(by_values.coefficients, SymbolicZero):
        dot += by_values(u)  # they are linear in their coefficients
    if not isinstance(by_place, SymbolicZero):
        dot += slopes(u) * by_place
    return out, dot


_read.defjvp(_read_jvp, symbolic_zeros=True)


class SmoothKernel(AbstractKernel):
    """For a weighting that is a function of the place in the trial, from 0 to 1."""

    trial: Trial
    of_v: Panels
    of_i: Panels
    slopes: Panels  # of `of_i` by the place
    total: Float[Array, ""]
    resolved: Bool[Array, ""]

    @classmethod
    def of(
        cls, function: Callable, trial: Trial, tau_mem: Array, tau_syn: Array
    ) -> "SmoothKernel":
        taus = [x.reshape(1, 1) if x.ndim == 0 else x[0] for x in (tau_mem, tau_syn)]
        share = _shares(function, trial, *taus)
        of_v, of_i = Panels.fit(share.of_v), Panels.fit(share.of_i)

        # Of the integral over [0, S] of g(t + s) k(s), by t, with S = t1 - t.
        steep = lambda u: jax.jvp(function, (u,), (jnp.ones_like(u),))[1]
        left = 1 - (np.arange(PANELS)[:, None] + chebyshev_nodes()[None]) / PANELS
        left = trial.length * jnp.asarray(left, trial.t1.dtype)[:, :, None, None]
        last = function(jnp.ones_like(trial.length))
        end = last * quick_psp(left, *(x[None, None] for x in taus))
        slopes = Panels.fit(_shares(steep, trial, *taus).of_i - end)

        weight = _at(function, chebyshev_nodes(), trial)[:, :, None, None]
        resolved = [x.resolved() for x in (Panels.fit(weight), of_v, of_i)]
        places, rule = _gauss()
        rule = jnp.asarray(rule / PANELS, trial.t1.dtype)
        total = jnp.sum(_at(function, places, trial) * rule[None])
        return cls(trial, of_v, of_i, slopes, total, jnp.all(jnp.stack(resolved)))

    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        u = (t - self.trial.t0) / self.trial.length
        return Share(self.of_v(u), _read(self.of_i, self.slopes, u))
