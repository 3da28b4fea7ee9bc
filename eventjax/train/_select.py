from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


def selected(where: Callable[[Any], Any], params: PyTree) -> jax.Array:
    """The array that `where` selects of the trained parameters, or a `ValueError`."""
    value = where(params)
    if not eqx.is_array(value):
        raise ValueError(
            "`where` must select one array that is trained, but what it selects is "
            f"{'not trained' if value is None else type(value).__name__}. A number is a "
            "constant: give the network an array, and let `trainable` include it."
        )
    return value
