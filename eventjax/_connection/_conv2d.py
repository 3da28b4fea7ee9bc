from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._linear_map import AbstractLinearMap, check_image, pair


class Conv2d(AbstractLinearMap):
    """Convolution of images `[*batch, channels, height, width]`, without bias.

    The border that `padding` adds holds silent sources, not spikes at time zero.

    **Arguments:**

    - `in_channels`, `out_channels`: numbers of channels.
    - `kernel_size`, `stride`, `padding`: for both axes, or for height and width.
    - `std`: weights are drawn from a normal distribution with this and mean zero. By
        default `sqrt(2 / fan_in)`, Kaiming's for rectifiers, with `fan_in` the number
        of weights of one output.
    - `dtype`: type of the weights; JAX's default float type if not given.
    - `key`: a `jax.random` key.

    Raises a `ValueError` for sizes that are no whole numbers in range, and, when it is
    applied, for images of another number of channels or smaller than the kernel.
    """

    weight: Float[Array, "out in height width"]
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        std: float | None = None,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        for name, size in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
        ):
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1, got {size}.")
        height, width = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        std = (2 / (in_channels * height * width)) ** 0.5 if std is None else std
        dtype = jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype
        shape = out_channels, in_channels, height, width
        self.weight = std * jr.normal(key, shape, dtype)

    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        check_image("Conv2d", x.shape, self.weight.shape[1])
        bordered = [n + 2 * p for n, p in zip(x.shape[-2:], self.padding)]
        kernel = self.weight.shape[2:]
        if any(n < k for n, k in zip(bordered, kernel)):
            raise ValueError(
                f"`Conv2d` has a kernel of {kernel}, larger than images of "
                f"{x.shape[-2:]} with `padding` {self.padding}: give larger images or "
                "more `padding`."
            )
        flat = x.reshape(-1, *x.shape[-3:])
        out = lax.conv_general_dilated(
            flat,
            self.weight,
            window_strides=self.stride,
            padding=[(p, p) for p in self.padding],
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )
        return out.reshape(*x.shape[:-3], *out.shape[1:])
