"""From the spikes of the last layer to outputs, frame by frame."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ._base import uniform_matrix
from ._normalisation import AbstractNormalisation, Normalisation


class Readout(eqx.Module):
    """A matrix and a `Normalisation`, without memory. It sees what the last layer puts
    out, not its currents.

    **Arguments:**

    - `inputs`: units of the last layer.
    - `classes`: number of outputs.
    - `key`: a `jax.random` key for the weights, uniform within
        `sqrt(0.01 / (inputs + classes))`.

    **Raises:** `ValueError` for sizes below 1.
    """

    weight: Float[Array, "inputs classes"]
    normalisation: AbstractNormalisation

    def __init__(self, inputs: int, classes: int, *, key: PRNGKeyArray):
        for name, value in (("inputs", inputs), ("classes", classes)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        limit = (0.01 / (inputs + classes)) ** 0.5
        self.weight = uniform_matrix((inputs, classes), limit, key)
        self.normalisation = Normalisation(classes)

    @property
    def classes(self) -> int:
        return self.weight.shape[1]

    def __call__(
        self,
        spikes: Float[Array, "batch frames inputs"],
        valid: Bool[Array, "batch frames"],
        *,
        training: bool,
    ) -> tuple[Float[Array, "batch frames classes"], Float[Array, ""]]:
        """Outputs, zero where a frame is not valid, and the `drift` of the statistics."""
        out, drift = self.normalisation(spikes @ self.weight, valid, training=training)
        return jnp.where(valid[..., None], out, 0), drift

    def folded(self) -> "Readout":
        """A readout that does the same in evaluation, without normalisation."""
        new = self.normalisation.folded(self.weight)
        return eqx.tree_at(lambda x: (x.weight, x.normalisation), self, new)
