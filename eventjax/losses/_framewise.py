"""A loss on outputs at many times, each with a label of its own."""

import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ._labels import in_range


def framewise_cross_entropy(
    logits: Float[ArrayLike, "*batch frames classes"],
    labels: Int[ArrayLike, "*batch frames"],
    valid: Bool[ArrayLike, "*batch frames"] | None = None,
) -> Float[Array, "*batch"]:
    r"""Cross-entropy of each frame, and its mean over the frames of a sample.

    $$L = -\frac{1}{|F|} \sum_{t \in F} \log
      \frac{e^{y_{label(t)}^t}}{\sum_k e^{y_k^t}}$$

    **Arguments:**

    - `logits`: $y$, `[*batch, frames, classes]`, such as `Solution.voltages[-1]` at the
        times of the frames.
    - `labels`: integers, `[*batch, frames]`; whatever they are, such as -1, where a frame
        is not valid.
    - `valid`: which frames count, $F$; by default all. The others, padding, have no part in
        values and gradients.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit, and where values are known for a
    label of a valid frame that is out of range and for a sample without valid frames.

    ??? cite

        Bellec et al., Nature Communications 11:3625 (2020): their code weights utterances
        by one over their length, as here.
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    valid = jnp.ones(labels.shape, bool) if valid is None else jnp.asarray(valid)
    if labels.shape != logits.shape[:-1] or valid.shape != labels.shape:
        raise ValueError(
            "`labels` and `valid` must have the shape of `logits` without the last axis, "
            f"{logits.shape[:-1]}, got {labels.shape} and {valid.shape}."
        )
    known = in_range(labels, logits.shape[-1])
    _check(known, labels, valid, logits.shape[-1])
    safe = jnp.where(known & valid, labels, 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, safe)
    losses = jnp.where(valid, jnp.where(known, losses, jnp.nan), 0.0)
    return jnp.sum(losses, axis=-1) / jnp.sum(valid, axis=-1).astype(losses.dtype)


def _check(known: Array, labels: Array, valid: Array, classes: int) -> None:
    if isinstance(known, Tracer) or isinstance(valid, Tracer):
        return
    wrong = np.asarray(valid & ~known)
    if wrong.any():
        raise ValueError(
            f"`labels` of valid frames must lie in 0 to {classes - 1}, got "
            f"{np.asarray(labels)[wrong][0]} ({wrong.sum()} of {wrong.size} are wrong)."
        )
    if not np.asarray(valid).any(axis=-1).all():
        raise ValueError("`valid` must hold a frame of each sample, but one has none.")
