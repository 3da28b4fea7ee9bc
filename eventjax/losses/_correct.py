"""Whether an output is right."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ._labels import check_labels, in_range


def largest_correct(
    outputs: Float[ArrayLike, "*batch outputs"] | Int[ArrayLike, "*batch outputs"],
    labels: Int[ArrayLike, "*batch"],
) -> Bool[Array, "*batch"]:
    """Whether the label's output is the largest; of several that are, the first counts.

    **Arguments:**

    - `outputs`: `[*batch, outputs]`: voltage integrals, largest or mean voltages, or spike
        counts.
    - `labels`: integers, `[*batch]`.

    **Returns:** `[*batch]`; its mean is the accuracy. An output that is NaN is never right.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.
    """
    check_labels(outputs, labels, "outputs")
    outputs, labels = jnp.asarray(outputs), jnp.asarray(labels)
    right = jnp.argmax(outputs, axis=-1).astype(labels.dtype) == labels
    right &= ~jnp.any(jnp.isnan(outputs), axis=-1)
    return right & in_range(labels, outputs.shape[-1])
