"""Patches of images, for pools.

XLA on CPU reduces and differentiates windows, strided slices and inner axes tens of times
slower than it adds slices up, so patches that lie side by side are taken apart here.
"""

import functools as ft
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._linear_map import check_image


def check_patches(who: str, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """A `ValueError` unless a shape is that of images that hold a patch."""
    check_image(who, shape)
    if shape[-2] < size[0] or shape[-1] < size[1]:
        raise ValueError(
            f"`{who}` has patches of {size}, larger than images of {shape[-2:]}: give a "
            "smaller `size`, or use fewer pools."
        )


def tiled(
    x: Float[Array, "*batch height width"], size: tuple[int, int]
) -> Float[Array, "*batch rows patch_height columns patch_width"]:
    """Patches side by side; what is left over at the far borders is dropped."""
    rows, columns = (n // k for n, k in zip(x.shape[-2:], size, strict=True))
    x = x[..., : rows * size[0], : columns * size[1]]
    return x.reshape(*x.shape[:-2], rows, size[0], columns, size[1])


def together(
    function: Callable[[Array, Array], Array],
    tiles: Float[Array, "*batch rows patch_height columns patch_width"],
) -> Float[Array, "*batch rows columns"]:
    """All places of a patch, two by two."""
    height, _, width = tiles.shape[-3:]
    parts = [tiles[..., i, :, j] for i in range(height) for j in range(width)]
    return ft.reduce(function, parts)


@jax.custom_jvp
def smallest(
    tiles: Float[Array, "*batch rows patch_height columns patch_width"],
) -> Float[Array, "*batch rows columns"]:
    """The smallest value of each patch. Its derivative goes to that, in equal parts to all
    that are as small, and nowhere if it is infinite."""
    return together(jnp.minimum, tiles)


@smallest.defjvp
def _smallest_jvp(primals, tangents):
    (tiles,), (change,) = primals, tangents
    out = smallest(tiles)
    is_it = (tiles == out[..., :, None, :, None]).astype(tiles.dtype)
    share = jnp.where(out < jnp.inf, 1 / together(jnp.add, is_it), 0.0)
    # As one sum over the tiles: what it is transposed to is a product, and no slices.
    part = is_it * share[..., :, None, :, None] * change
    return out, jnp.sum(part, axis=(-3, -1))
