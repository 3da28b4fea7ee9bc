"""Rates of neurons with constant input: what networks without spikes are made of."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._neuron import Neuron


def hard_sigmoid(current: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The input itself, between 0 and 1: what Scellier and Bengio (2017) take."""
    return jnp.clip(current, 0, 1)


class FiringRate(eqx.Module):
    r"""The rate at which a neuron with constant input fires, in spikes per ms:

    $$f(I) = \frac{1}{t_{ref} + \tau_{mem} \ln \frac{I}{I - \theta}}$$

    for $I > \theta$, and 0 below. A network of such rates is what a network of spikes
    becomes where filters are long: its fixed points are those of $r = f(W r + b)$, and the
    symmetric weights make them stationary points of an energy, so equilibrium propagation
    holds for it with no factor of $f'$.

    **Arguments:**

    - `neuron`: the `Neuron` whose constants are taken.
    """

    neuron: Neuron

    def __call__(self, current: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Of currents, in units of the threshold's."""
        neuron = self.neuron
        fires = current > neuron.v_threshold
        safe = jnp.where(fires, current, 2 * neuron.v_threshold)
        interval = -neuron.tau_mem * jnp.log1p(-neuron.v_threshold / safe)
        return jnp.where(fires, 1 / (neuron.refractory + interval), 0)
