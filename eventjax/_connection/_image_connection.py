import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int

from ._base import AbstractConnection
from ._linear_map import AbstractLinearMap


class ImageConnection(AbstractConnection):
    """A linear map of images, as `Conv2d`, between layers whose neurons are in a row.

    Source `k` is place `k` of the image in C order, and so are the neurons. Under
    `Clocked` the map is applied to whole images; exact solvers take it spike by spike,
    by the image that one pixel makes.

    **Arguments:**

    - `linear_map`: a `Conv2d`, `AveragePool2d`, or `Chain` of linear maps.
    - `in_shape`: shape of the images it takes, `(channels, height, width)`.

    `out_shape` is that of what it makes. Raises a `ValueError` for an `in_shape` that the
    map does not take.
    """

    copies: ClassVar[int] = 1
    linear_map: AbstractLinearMap
    in_shape: tuple[int, ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, linear_map: AbstractLinearMap, in_shape: Sequence[int]):
        self.linear_map = linear_map
        self.in_shape = tuple(in_shape)
        image = jax.ShapeDtypeStruct(self.in_shape, _float_type(linear_map))
        self.out_shape = jax.eval_shape(linear_map.apply, image).shape

    @property
    def in_size(self) -> int:
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        return math.prod(self.out_shape)

    def carry(self, values: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """The currents that values of all sources make."""
        batch, dtype = values.shape[:-1], values.dtype
        cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
        linear_map = jax.tree.map(cast, self.linear_map)
        made = linear_map.apply(values.reshape(*batch, *self.in_shape))
        return made.reshape(*batch, self.out_size)

    def rows(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        dtype = _float_type(self.linear_map)
        return self.carry(jax.nn.one_hot(index, self.in_size, dtype=dtype))

    def delays(self) -> None:
        return None


def _float_type(linear_map: AbstractLinearMap) -> Any:
    """That of the weights, JAX's default if there are none."""
    dtypes = [x.dtype for x in jax.tree.leaves(linear_map) if eqx.is_inexact_array(x)]
    return dtypes[0] if dtypes else jax.dtypes.canonicalize_dtype(float)
