"""Losses on when output neurons fire first."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ._labels import check_labels, in_range, of_label


Times = Float[ArrayLike, "*batch outputs"]
Labels = Int[ArrayLike, "*batch"]


def first_spike_cross_entropy(
    first_spike_times: Times,
    labels: Labels,
    *,
    tau0: float,
    alpha: float = 0.0,
    tau1: float = 1.0,
    silent_times: Times | None = None,
) -> Float[Array, "*batch"]:
    r"""Cross-entropy over first spike times: the label's neuron should fire first.

    $$L = -\log \frac{e^{-t_y / \tau_0}}{\sum_k e^{-t_k / \tau_0}}
          + \alpha \left(e^{t_y / \tau_1} - 1\right)$$

    Outputs that stay silent drop out of the sum. If the label's neuron is silent there is
    nothing to pull at: loss and gradient of that sample are 0, as in the paper. Such
    samples are not learnt from, so start from weights that make every output fire, or
    give `silent_times`.

    **Arguments:**

    - `first_spike_times`: in ms, `[*batch, outputs]`, `+inf` where a neuron is silent.
    - `labels`: integers, `[*batch]`.
    - `tau0`: time scale of the softmax in ms.
    - `alpha`, `tau1`: weight, and time scale in ms, of the pull towards early spikes.
    - `silent_times`: what stands in for the time of a silent neuron, in ms, of the shape
        of `first_spike_times`; see `eventjax.losses.silent_times`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit, a label out of range, or a time
    scale that is not positive.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), Yin-Yang experiment:
        `tau0=0.5, tau1=6.4, alpha=3e-3`.
    """
    check_positive(tau0=tau0, tau1=tau1)
    times, there, labels = prepare(first_spike_times, labels, silent_times)
    label_there = of_label(there, labels)
    # A sample without its label's spike sums over all outputs, whose times are finite
    # stand-ins, and is dropped below: no infinity enters the gradient.
    in_sum = there | ~label_there[..., None]
    safe_labels = jnp.clip(labels, 0, times.shape[-1] - 1)
    loss = optax.softmax_cross_entropy_with_integer_labels(
        -times / tau0, safe_labels, where=in_sum
    )
    if alpha != 0:
        loss = loss + alpha * jnp.expm1(of_label(times, labels) / tau1)
    return finish(loss, label_there, labels, times.shape[-1])


def time_invariant_mse(
    first_spike_times: Times,
    labels: Labels,
    *,
    delta: float,
    silent_times: Times | None = None,
) -> Float[Array, "*batch"]:
    r"""Squared error of time differences: others should fire `delta` after the label's.

    $$L = \tfrac12 \sum_{i \neq y} (t_i - t_y - \Delta)^2$$

    Silent outputs are treated as in `first_spike_cross_entropy`.

    **Arguments:**

    - `first_spike_times`: in ms, `[*batch, outputs]`, `+inf` where a neuron is silent.
    - `labels`: integers, `[*batch]`.
    - `delta`: wanted distance in ms.
    - `silent_times`: what stands in for the time of a silent neuron, in ms.

    **Returns:** one loss per sample in ms², `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.

    ??? cite

        Göltz et al., DelGrad, arXiv:2404.19165; Mészáros, Knight and Nowotny, Nature
        Communications 16 (2025), equations 71 and 72.
    """
    times, there, labels = prepare(first_spike_times, labels, silent_times)
    label_there = of_label(there, labels)
    is_label = jax.nn.one_hot(labels, times.shape[-1], dtype=bool)
    error = times - of_label(times, labels)[..., None] - delta
    counted = there & ~is_label & label_there[..., None]
    loss = 0.5 * jnp.sum(jnp.where(counted, error, 0.0) ** 2, axis=-1)
    return finish(loss, label_there, labels, times.shape[-1])


def silent_times(
    sol: Any, slope: float | Float[Array, " outputs"] = 1.0, *, delay: float = 1.0
) -> Float[Array, "*batch outputs"]:
    r"""Times that stand in for spikes which the last layer did not fire, in ms.

    $$t = t_1 + d - s\,\big(V(t_1) - \mathrm{sg}[V(t_1)]\big)$$

    The value is later than any spike. The gradient reaches the voltage at the end of the
    run, so a loss that wants the neuron to fire earlier raises it. This is a choice and
    not the derivative of anything: the exact gradient of a spike that is not there is
    zero. With a slope of `tau_mem` it is the *phantom spike* of the paper's code: the
    derivative of the loss by the time is added to the adjoint variable $\lambda_V$ of the
    neuron at $t_1$, as at a spike but not divided by $I - V$.

    **Arguments:**

    - `sol`: what `eventjax.simulate` returned; `final_state[-1].v` and `t1` are read.
    - `slope`: $s$, ms per unit of voltage, for all outputs or for each.
    - `delay`: $d$, how long after the end of the run, in ms.

    **Returns:** `[*batch, outputs]`, to be handed to a first-spike loss.
    """
    v = sol.final_state[-1].v
    slope = jnp.asarray(slope, v.dtype)
    slope = slope.reshape((1,) * (v.ndim - slope.ndim) + slope.shape)
    return sol.t1 + delay - slope * (v - lax.stop_gradient(v))


def first_spike_correct(
    first_spike_times: Times, labels: Labels
) -> Bool[Array, "*batch"]:
    """Whether the label's neuron fires and no other fires before it.

    **Arguments:** `first_spike_times` (ms, `[*batch, outputs]`, `+inf` where silent) and
    `labels` (`[*batch]`), with errors as in `first_spike_cross_entropy`.

    **Returns:** `[*batch]`; its mean is the accuracy.
    """
    check_labels(first_spike_times, labels, "first_spike_times")
    times, labels = jnp.asarray(first_spike_times), jnp.asarray(labels)
    mine = of_label(times, labels)
    right = jnp.isfinite(mine) & (mine <= jnp.min(times, axis=-1))
    return right & in_range(labels, times.shape[-1])


def prepare(
    times: ArrayLike, labels: ArrayLike, silent_times: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Finite times, which of them count, and the labels, after all were checked."""
    check_labels(times, labels, "first_spike_times")
    times, labels = jnp.asarray(times), jnp.asarray(labels)
    fired = jnp.isfinite(times)
    if silent_times is None:
        return jnp.where(fired, times, 0.0), fired, labels
    if jnp.shape(silent_times) != times.shape:
        raise ValueError(
            f"`silent_times` must have the shape of `first_spike_times`, {times.shape}, "
            f"got {jnp.shape(silent_times)}."
        )
    times = jnp.where(fired, times, silent_times)
    return times, jnp.ones_like(fired), labels


def label_spike(
    times: ArrayLike, labels: ArrayLike, silent_times: ArrayLike | None
) -> tuple[Array, Array, Array, int]:
    """The time of each sample's label, finite, whether it counts, the labels and the
    number of outputs."""
    times, there, labels = prepare(times, labels, silent_times)
    time, counts = of_label(times, labels), of_label(there, labels)
    return time, counts, labels, times.shape[-1]


def finish(loss: Array, counted: Array, labels: Array, size: int) -> Array:
    """Zero where a sample does not count, NaN where its label is out of range."""
    loss = jnp.where(counted, loss, 0.0)
    return jnp.where(in_range(labels, size), loss, jnp.nan)


def check_positive(**scales: float) -> None:
    for name, scale in scales.items():
        if not scale > 0:
            raise ValueError(f"`{name}` must be positive, in ms, got {scale}.")
