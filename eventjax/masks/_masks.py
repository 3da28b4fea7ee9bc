import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class AbstractMask(eqx.Module):
    """A function of the distances to the threshold."""

    @property
    @abc.abstractmethod
    def at_spikes_only(self) -> bool:
        """Whether the mask is 0 wherever there is no spike."""

    @abc.abstractmethod
    def __call__(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """1 where the neuron takes part in the backward pass, else 0."""


class Spike(AbstractMask):
    """Where the neuron spikes: the backward pass is made of events only."""

    @property
    def at_spikes_only(self) -> bool:
        return True

    def __call__(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return (distance >= 0).astype(distance.dtype)


class NearThreshold(AbstractMask):
    """Where the voltage is less than `width` (dimensionless) from the threshold, on either
    side. Raises a `ValueError` for a width that is not positive."""

    width: float = eqx.field(static=True)

    def __check_init__(self):
        _check_width(self.width)

    @property
    def at_spikes_only(self) -> bool:
        return False

    def __call__(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return (jnp.abs(distance) < self.width).astype(distance.dtype)


class Both(AbstractMask):
    """Where the neuron spikes and its voltage is less than `width` above the threshold.
    Raises a `ValueError` for a width that is not positive."""

    width: float = eqx.field(static=True)

    def __check_init__(self):
        _check_width(self.width)

    @property
    def at_spikes_only(self) -> bool:
        return True

    def __call__(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        here = (distance >= 0) & (distance < self.width)
        return here.astype(distance.dtype)


class Dense(AbstractMask):
    """Everywhere: the plain surrogate gradient."""

    @property
    def at_spikes_only(self) -> bool:
        return False

    def __call__(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.ones_like(distance)


def _check_width(width: float) -> None:
    if not (np.isfinite(width) and width > 0):
        raise ValueError(
            f"`width` must be positive and finite, got {width}: the mask would be empty, "
            "and no neuron would learn. Give the distance from the threshold, such as "
            "0.5, or take `masks.Dense()`."
        )
