"""Weighted integrals of voltages as sums over known arrivals, differentiable by themselves.

The voltage of a neuron that never spikes is linear in its arrivals, its state at `t0` and
its bias, so its integral is the sum of what each adds: the kernel of the weighting at the
time of the arrival, times its weight. No loop over time is left.
"""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..weightings import AbstractWeighting, Trial
from ._problem import LayerProblem, without_streams
from ._window import wide


class Integral(eqx.Module):
    """What is asked for: the weighting, and the trial that it is of."""

    weighting: AbstractWeighting
    trial: Trial


def voltage_integrals(
    problem: LayerProblem, integral: Integral
) -> tuple[Float[Array, "batch neurons"], Bool[Array, ""]]:
    """(1/T) times the weighted integral of V over `[t0, t1]` of neurons that never spike,
    and whether the weighting's kernel is as exact as it claims."""
    problem = without_streams(problem, in_order=False)
    taus = wide((problem.tau_mem, problem.tau_syn))
    kernel = integral.weighting.kernel(integral.trial, *taus)
    start = kernel(problem.t0[None, None, None])
    of_v, of_i = start.of_v[0], start.of_i[0]
    own = problem.v * of_v + problem.i * of_i
    own += problem.bias * (kernel.total - of_v)

    there = problem.times <= problem.t1
    share = kernel(jnp.where(there, problem.times, problem.t1)).of_i
    share = jnp.where(there, share, 0.0)
    return own + _sum(share, problem), kernel.resolved


def _sum(
    share: Float[Array, "events batch _"], problem: LayerProblem
) -> Float[Array, "batch neurons"]:
    """Over all arrivals, each with its weights."""
    if share.shape[2] > 1:
        return jnp.sum(share * problem.received, axis=0)
    # The same for all neurons: first the arrivals of each row, then the rows. Many times
    # faster than rows of all arrivals, above all in reverse.
    batch, rows = problem.v.shape[0], problem.rows.shape[0]
    sample = jnp.arange(batch, dtype=jnp.int32)[None]
    by_row = jnp.zeros((batch, rows), share.dtype)
    by_row = by_row.at[sample, problem.index[:, :, 0]].add(share[:, :, 0])
    return jnp.matmul(by_row, problem.rows, precision=lax.Precision.HIGHEST)
