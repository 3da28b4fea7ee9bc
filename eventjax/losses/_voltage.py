"""Losses on the voltage of output neurons that do not spike."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from ._labels import check_labels, in_range


def max_voltage_cross_entropy(
    max_voltages: Float[ArrayLike, "*batch outputs"], labels: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Cross-entropy with the largest voltage of each output as its logit.

    $$L = -\log \frac{e^{\max_t V_y(t)}}{\sum_k e^{\max_t V_k(t)}}$$

    **Arguments:**

    - `max_voltages`: dimensionless, `[*batch, outputs]`; `Solution.max_voltage` gives
        them, exact also between events.
    - `labels`: integers, `[*batch]`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), latency MNIST.
    """
    check_labels(max_voltages, labels, "max_voltages")
    max_voltages, labels = jnp.asarray(max_voltages), jnp.asarray(labels)
    size = max_voltages.shape[-1]
    loss = optax.softmax_cross_entropy_with_integer_labels(
        max_voltages, jnp.clip(labels, 0, size - 1)
    )
    return jnp.where(in_range(labels, size), loss, jnp.nan)
