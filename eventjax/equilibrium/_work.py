"""What a phase costs a chip that works only when there are spikes."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._network import Network


class Work(eqx.Module):
    """How much happens in a phase, for each sample, `[batch]`.

    - `spikes`: of all neurons.
    - `synaptic`: weights that spikes passed, in both directions.
    - `updates`: weights that spikes changed.
    """

    spikes: Float[Array, " batch"]
    synaptic: Float[Array, " batch"]
    updates: Float[Array, " batch"]

    def energy(
        self, spike: float, synaptic: float, update: float = 0.0
    ) -> Float[Array, " batch"]:
        """The energy of a sample.

        **Arguments:**

        - `spike`, `synaptic`, `update`: of one of each, in any unit of energy. There are no
            defaults, for those of the paper are unconfirmed.

        **Returns:** their sum in that unit, `[batch]`.
        """
        return self.spikes * spike + self.synaptic * synaptic + self.updates * update


def work(
    network: Network, counts: tuple[Int[Array, "batch _"], ...], *, learns: bool = False
) -> Work:
    """Count spikes and what they set off.

    Inputs are constant currents without spikes, so the input weights take no part: nor in
    the updates, of which they have one each at the end of a phase.

    **Arguments:**

    - `network`: a `Network`.
    - `counts`: `Phase.counts`, `Outcome.counts` or `Contrast.counts`.
    - `learns`: whether spikes update the weights they pass, as in the nudged phase.

    **Returns:** a `Work`.
    """
    sizes = network.layer_sizes
    reached = [sum(sizes[max(k - 1, 0) : k + 2]) - n for k, n in enumerate(sizes)]
    spikes = [jnp.sum(c, axis=1).astype(network.dtype) for c in counts]
    synaptic = sum((s * n for s, n in zip(spikes, reached)), jnp.zeros_like(spikes[0]))
    updates = synaptic if learns else jnp.zeros_like(synaptic)
    return Work(sum(spikes[1:], spikes[0]), synaptic, updates)
