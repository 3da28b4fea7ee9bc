"""Checks of labels, and reading the label's entry."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int


def check_labels(outputs: ArrayLike, labels: ArrayLike, name: str) -> None:
    """A `ValueError` unless there is one label per sample and it names an output."""
    if jnp.ndim(outputs) < 1:
        raise ValueError(
            f"`{name}` must have a last axis, one value for each output, got a number."
        )
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise ValueError(
            f"`labels` must be integers, got {jnp.result_type(labels)}: give the index "
            "of each sample's class, not a one-hot code."
        )
    if jnp.shape(labels) != jnp.shape(outputs)[:-1]:
        raise ValueError(
            f"`labels` must hold one label per sample: `{name}` has shape "
            f"{jnp.shape(outputs)}, so shape {jnp.shape(outputs)[:-1]}, got "
            f"{jnp.shape(labels)}."
        )
    if not isinstance(labels, Tracer):
        known, size = np.asarray(labels), jnp.shape(outputs)[-1]
        if known.size and not (0 <= known.min() and known.max() < size):
            raise ValueError(
                f"`labels` must lie in 0 to {size - 1}, since `{name}` has {size} "
                f"outputs; got values from {known.min()} to {known.max()}."
            )


def of_label(
    outputs: Float[Array, "*batch outputs"] | Bool[Array, "*batch outputs"],
    labels: Int[Array, "*batch"],
) -> Array:
    """The entry of each sample's label. Labels are in range, see `in_range`."""
    return jnp.take_along_axis(outputs, labels[..., None], axis=-1, mode="clip")[..., 0]


def in_range(labels: Int[Array, "*batch"], size: int) -> Bool[Array, "*batch"]:
    """Whether each label names one of `size` outputs."""
    return (labels >= 0) & (labels < size)
