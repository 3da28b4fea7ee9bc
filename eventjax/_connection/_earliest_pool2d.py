import equinox as eqx
import jax.numpy as jnp

from .._spikes import FirstSpikes
from ._linear_map import pair
from ._patches import check_patches, smallest, tiled


class EarliestPool2d(eqx.Module):
    """The earliest spike of each patch of an image goes on, a max-pool in time.

    A patch that is silent makes no spike. The gradient goes to the earliest spike, in
    equal parts to all that share its time.

    **Arguments:** `size` and `stride` of the patches for both axes, or for height and
    width; the stride is the size by default. What is left over at the far borders is
    dropped. Raises a `ValueError` for sizes below 1, and for images smaller than a patch.

    ??? cite

        Wei et al., Temporal-coded spiking neural networks with dynamic firing threshold,
        ICCV (2023), for the max-pool over spike times.
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

    def __call__(self, spikes: FirstSpikes) -> FirstSpikes:
        """Spikes of images `[*batch, channels, height, width]`, pooled."""
        times = jnp.where(spikes.fired, spikes.times, jnp.inf)
        check_patches("EarliestPool2d", times.shape, self.size)
        if self.stride == self.size:
            earliest = smallest(tiled(times, self.size))
        else:
            earliest = jnp.min(_patches(times, self.size, self.stride), axis=0)
        return FirstSpikes(earliest, earliest < jnp.inf)


def _patches(x, size: tuple[int, int], stride: tuple[int, int]):
    """The places of a patch along a new first axis. Slices, since a window reduction has
    no gradient for infinite times."""
    height, width = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[-2:], size, stride, strict=True)
    )
    shifted = [
        x[..., i : i + (height - 1) * stride[0] + 1 : stride[0], :][
            ..., j : j + (width - 1) * stride[1] + 1 : stride[1]
        ]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return jnp.stack(shifted)
