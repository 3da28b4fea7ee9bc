import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float


class AbstractLinearMap(eqx.Module):
    """What carries all values of a layer at once, without bias: convolutions, pools, or
    a matrix. It takes any leading batch axes."""

    @abc.abstractmethod
    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        """The sums that values `x` make, linear in `x` and in the weights."""


class Chain(AbstractLinearMap):
    """Linear maps one after the other, without neurons in between: a pool before a
    convolution, a `Flatten` before a `Dense`.

    **Arguments:** `maps`, a sequence of `AbstractLinearMap`, at least one.
    """

    maps: tuple[AbstractLinearMap, ...]

    def __init__(self, maps: Sequence[AbstractLinearMap]):
        self.maps = tuple(maps)
        if not self.maps:
            raise ValueError("`maps` must hold at least one linear map, got none.")

    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        for one in self.maps:
            x = one.apply(x)
        return x


class Flatten(AbstractLinearMap):
    """Images `[*batch, channels, height, width]` as `[*batch, sources]`, in C order."""

    def apply(self, x: Float[Array, "*given"]) -> Float[Array, "*made"]:
        check_image("Flatten", x.shape)
        return x.reshape(*x.shape[:-3], -1)


def check_image(who: str, shape: tuple[int, ...], channels: int | None = None) -> None:
    """A `ValueError` unless a shape is that of images with so many channels."""
    if len(shape) < 3:
        raise ValueError(
            f"`{who}` takes images of shape [*batch, channels, height, width], got shape "
            f"{shape}: add the axis of channels, also if there is one channel only."
        )
    if channels is not None and shape[-3] != channels:
        raise ValueError(
            f"`{who}` takes images of shape [*batch, {channels}, height, width], got "
            f"shape {shape} with {shape[-3]} channels: channels come before height and "
            "width; move that axis, or give another `in_channels`."
        )


def pair(name: str, value: Any, smallest: int) -> tuple[int, int]:
    """A number for both axes of an image, or one for each, as two."""
    two = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(x, int) and x >= smallest for x in two)
    if len(two) != 2 or not whole:
        raise ValueError(
            f"`{name}` must be a whole number of at least {smallest}, or two, for height "
            f"and width; got {value}."
        )
    return two
