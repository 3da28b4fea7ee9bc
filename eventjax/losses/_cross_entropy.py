"""Cross-entropy with the label, of logits of any kind."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from ._labels import check_labels, in_range


def cross_entropy(
    logits: ArrayLike, labels: Int[ArrayLike, "*batch"], name: str
) -> Float[Array, "*batch"]:
    """-log softmax(logits) of the label, `nan` for a label out of range. `name` is that of
    the logits in messages."""
    check_labels(logits, labels, name)
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    size = logits.shape[-1]
    loss = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.clip(labels, 0, size - 1)
    )
    return jnp.where(in_range(labels, size), loss, jnp.nan)
