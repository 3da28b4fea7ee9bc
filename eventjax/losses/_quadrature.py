"""Integrals over time of what is no linear function of voltages."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from ._labels import check_labels, in_range


class Quadrature(eqx.Module):
    """Times and weights of a composite Gauss-Legendre rule, in ms: a sum over
    `weights` of values at `times` is the integral from `t0` to `t1`.

    The times are those to `record`. Voltages have kinks where spikes arrive, so the error
    falls with the square of the panels' length once they are shorter than the time
    constants, whatever the number of points in each; on intervals without arrivals with
    the power of twice that number.

    **Arguments:**

    - `t1`, `t0`: the interval in ms, numbers.
    - `panels`: how many parts of equal length it has.
    - `points`: in each of them.

    Raises a `ValueError` for an interval that is empty, or less than one panel or point.
    """

    times: Float[Array, " times"]
    weights: Float[Array, " times"]

    def __init__(
        self, t1: float, *, t0: float = 0.0, panels: int = 200, points: int = 2
    ):
        if not (np.isfinite([t0, t1]).all() and t1 > t0):
            raise ValueError(
                f"`t1` must be finite and after `t0`, got `t0={t0}` and `t1={t1}`."
            )
        if panels < 1 or points < 1:
            raise ValueError(
                "`panels` and `points` must be at least 1, got "
                f"`panels={panels}` and `points={points}`."
            )
        width = (t1 - t0) / panels
        x, w = np.polynomial.legendre.leggauss(points)
        starts = t0 + width * np.arange(panels)
        times = starts[:, None] + 0.5 * width * (1 + x[None])
        self.times = jnp.asarray(times.reshape(-1))
        self.weights = jnp.asarray(np.tile(0.5 * width * w, panels))


def cross_entropy_in_integral(
    voltages: Float[ArrayLike, "*batch times outputs"],
    quadrature: Quadrature,
    labels: Int[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    r"""The mean over time of the cross-entropy with the voltages as logits.

    $$L = \frac{1}{T} \int_{t_0}^{t_1} -\log \frac{e^{V_y(t)}}{\sum_k e^{V_k(t)}} \, dt$$

    It is the loss of the Eventprop paper in which the softmax stands inside the integral.
    Long silent ends of trials hurt it: there it stays at the logarithm of the number of
    outputs, whatever the weights.

    The rule's error: with 20 outputs at 20 and 5 ms and random arrivals at 500 (5,000) of
    a second, 400 times give a loss of 2.97 (3.91) to 2e-4 (6e-4), 1,600 times to 7e-6
    (2e-5). Gradients are exactly those of the rule's sum.

    **Arguments:**

    - `voltages`: `[*batch, times, outputs]`, recorded at the times of the rule:
        `simulate(..., record=quadrature.times).voltages[-1]`.
    - `quadrature`: the rule.
    - `labels`: integers, `[*batch]`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.

    ??? cite

        Nowotny, Turner and Knight, arXiv 2212.01232.
    """
    voltages, times = jnp.asarray(voltages), quadrature.times.shape[0]
    if voltages.ndim < 2 or voltages.shape[-2] != times:
        raise ValueError(
            f"`voltages` must have shape [*batch, {times}, outputs], one for each time of "
            f"`quadrature`, got {voltages.shape}: record at `quadrature.times`."
        )
    check_labels(voltages[..., 0, :], labels, "voltages at one time")
    labels, size = jnp.asarray(labels), voltages.shape[-1]
    each = jnp.broadcast_to(labels[..., None], voltages.shape[:-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(
        voltages, jnp.clip(each, 0, size - 1)
    )
    weights = quadrature.weights.astype(voltages.dtype)
    loss = jnp.dot(losses, weights / jnp.sum(weights))
    return jnp.where(in_range(labels, size), loss, jnp.nan)
