import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._linear_map import AbstractLinearMap, pair
from ._patches import check_patches, tiled, together


class AveragePool2d(AbstractLinearMap):
    """Means over patches of images `[*batch, channels, height, width]`.

    It is a connection with fixed weights. In a `Chain` with the next connection it is
    exact for spikes too: each source then has a part of the weight of its patch.

    **Arguments:** `size` and `stride` of the patches for both axes, or for height and
    width; the stride is the size by default. What is left over at the far borders is
    dropped. Raises a `ValueError` for sizes below 1, and for images smaller than a patch.
    """

    size: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
    ):
        self.size = pair("size", size, 1)
        self.stride = self.size if stride is None else pair("stride", stride, 1)

    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        check_patches("AveragePool2d", x.shape, self.size)
        if self.stride == self.size:
            sums = together(jnp.add, tiled(x, self.size))
            return sums / (self.size[0] * self.size[1])
        flat = x.reshape(-1, *x.shape[-2:])
        sums = lax.reduce_window(
            flat, 0.0, lax.add, (1, *self.size), (1, *self.stride), "VALID"
        )
        out = sums / (self.size[0] * self.size[1])
        return out.reshape(*x.shape[:-2], *out.shape[1:])
