"""Normalisation over the valid frames of a batch, and what is left of it in use."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._tracked import Tracked


class AbstractNormalisation(eqx.Module):
    """What happens to the product of inputs and weights."""

    @abc.abstractmethod
    def __call__(
        self,
        x: Float[Array, "batch frames features"],
        valid: Bool[Array, "batch frames"],
        *,
        training: bool,
    ) -> tuple[Float[Array, "batch frames features"], Float[Array, ""]]:
        """The result, and a `drift` to add to the loss."""

    @abc.abstractmethod
    def folded(
        self, weight: Float[Array, "inputs features"]
    ) -> tuple[Float[Array, "inputs features"], "Shift"]:
        """A weight and a shift that do the same in evaluation."""


class Normalisation(AbstractNormalisation):
    r"""Each feature to mean 0 and variance 1 over frames and batch together, then
    $\gamma x + \beta$.

    In training these are the moments of the batch, through which gradients flow; in
    evaluation those it tracks. Frames that are not valid have no part in them. (The code
    of Ponghiran and Roy lets padding take part. The variance it tracks is the unbiased
    one, here it is that of the batch.)

    **Arguments:**

    - `size`: number of features.
    - `epsilon`: what is added to the variance, so that a feature with one value is zero.

    **Raises:** `ValueError` for values out of range.
    """

    scale: Float[Array, " features"]
    shift: Float[Array, " features"]
    mean: Tracked
    variance: Tracked
    epsilon: float = eqx.field(static=True)

    def __init__(self, size: int, *, epsilon: float = 1e-5):
        if size < 1:
            raise ValueError(f"`size` must be at least 1, got {size}.")
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be positive, got {epsilon}.")
        self.scale, self.shift = jnp.ones(size), jnp.zeros(size)
        self.mean, self.variance = Tracked(jnp.zeros(size)), Tracked(jnp.ones(size))
        self.epsilon = epsilon

    def __call__(
        self,
        x: Float[Array, "batch frames features"],
        valid: Bool[Array, "batch frames"],
        *,
        training: bool,
    ) -> tuple[Float[Array, "batch frames features"], Float[Array, ""]]:
        mean, variance, drift = self.mean.held, self.variance.held, jnp.zeros(())
        if training:
            mean, variance = _moments(x, valid)
            drift = self.mean.drift(mean) + self.variance.drift(variance)
        factor = self.scale / jnp.sqrt(variance + self.epsilon)
        shift = self.shift - mean * factor
        return x * factor[None, None] + shift[None, None], drift

    def folded(
        self, weight: Float[Array, "inputs features"]
    ) -> tuple[Float[Array, "inputs features"], "Shift"]:
        factor = self.scale / jnp.sqrt(self.variance.held + self.epsilon)
        shift = self.shift - self.mean.held * factor
        return weight * factor[None], Shift(shift)


class Shift(AbstractNormalisation):
    """What is left of a `Normalisation` that has been folded into weights. It is for use
    only: in training it raises a `ValueError`."""

    shift: Float[Array, " features"]

    def __call__(
        self,
        x: Float[Array, "batch frames features"],
        valid: Bool[Array, "batch frames"],
        *,
        training: bool,
    ) -> tuple[Float[Array, "batch frames features"], Float[Array, ""]]:
        if training:
            raise ValueError(
                "Normalisation has been folded into the weights of this model, so it "
                "cannot be trained: train the one it was made of, or leave out `key`."
            )
        return x + self.shift[None, None], jnp.zeros(())

    def folded(
        self, weight: Float[Array, "inputs features"]
    ) -> tuple[Float[Array, "inputs features"], "Shift"]:
        return weight, self


def _moments(x: Array, valid: Array) -> tuple[Array, Array]:
    """Mean and variance of each feature over valid frames."""
    count = jnp.sum(valid).astype(x.dtype)
    mean_of = lambda y: jnp.sum(jnp.where(valid[..., None], y, 0), (0, 1)) / count
    mean = mean_of(x)
    return mean, mean_of((x - mean[None, None]) ** 2)
