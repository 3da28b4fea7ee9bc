from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._base import AbstractConnection, AbstractWrapped, Delays


class Masked(AbstractWrapped):
    """Another connection, without some of its synapses.

    A weight whose synapse is not there counts as zero and has no gradient, whatever its
    value, so no optimiser brings it back.

    ```python
    ej.Masked(ej.Dense(100, 100, key=key), ~np.eye(100, dtype=bool))  # no autapses
    ```

    **Arguments:**

    - `connection`: any connection with rows of weights.
    - `mask`: a NumPy array of booleans, which synapses there are, shape
        `[copies * in, out]`. Not trained.

    Raises a `ValueError` for a mask of another kind or shape.
    """

    connection: AbstractConnection
    mask: Bool[np.ndarray, "rows out"]

    def __init__(self, connection: AbstractConnection, mask: Any):
        shape = connection.copies * connection.in_size, connection.out_size
        is_bool = isinstance(mask, np.ndarray) and mask.dtype == np.bool_
        if not is_bool or mask.shape != shape:
            raise ValueError(
                f"`mask` must be a NumPy array of booleans of shape {shape}, got "
                f"{eqx.tree_pformat(mask)}."
            )
        self.connection = connection
        self.mask = mask

    def rows(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        rows = self.connection.rows(index)
        return jnp.where(jnp.asarray(self.mask)[index], rows, 0.0)

    def delays(self) -> Delays | None:
        return self.connection.delays()
