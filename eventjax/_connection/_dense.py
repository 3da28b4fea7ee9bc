from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._base import AbstractConnection
from ._linear_map import AbstractLinearMap


class Dense(AbstractConnection, AbstractLinearMap):
    """All-to-all connection: a spike of source `k` adds `weight[k]` to the currents.

    **Arguments:**

    - `in_size`, `out_size`: number of sources and of neurons.
    - `mean`, `std`: the weights are drawn from a normal distribution with these. By
        default `10 / in_size` and `5 / in_size`, which makes a layer with time constants
        near 20 and 5 ms fire when each source fires about once; `ej.init.calibrate`
        finds a scale for any data. For `RampIF` neurons take `mean=0.0` and
        `std=(2 / in_size) ** 0.5`, Kaiming's for rectifiers.
    - `dtype`: type of the weights; JAX's default float type if not given.
    - `key`: a `jax.random` key.
    """

    copies: ClassVar[int] = 1
    weight: Float[Array, "in out"]
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        mean: float | None = None,
        std: float | None = None,
        dtype=None,
        key: PRNGKeyArray,
    ):
        for name, size in (("in_size", in_size), ("out_size", out_size)):
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1, got {size}.")
        mean = 10 / in_size if mean is None else mean
        std = 5 / in_size if std is None else std
        dtype = jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype
        noise = jr.normal(key, (in_size, out_size), dtype)
        self.weight = mean + std * noise
        self.in_size = in_size
        self.out_size = out_size

    def rows(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        return jnp.take(self.weight, index, axis=0)

    def delays(self) -> None:
        return None

    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        if x.ndim < 1 or x.shape[-1] != self.in_size:
            raise ValueError(
                f"`Dense` takes values of shape [*batch, {self.in_size}], got shape "
                f"{x.shape}: put a `Flatten` before it if these are images, or give "
                "another `in_size`."
            )
        return jnp.tensordot(x, self.weight, axes=1)
