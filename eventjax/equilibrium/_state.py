"""What a network remembers from one window to the next."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._network import Network


class Activity(eqx.Module):
    """The state of a layer at the end of a window, each of shape `[batch, neurons]`.

    - `v`: membrane voltage.
    - `arrived`: the trace of the spikes that have come to the other side of the synapses,
        which is `x` one window ago.
    - `x`, `r`: the first and the second trace, in spikes per ms.
    - `spikes`: when each neuron spiked in the window that has ended, in ms after its start,
        or `inf`. These spikes are on their way: they arrive as long after the start of the
        next window, when the neuron's refractory time ends, too.
    """

    v: Float[Array, "batch neurons"]
    arrived: Float[Array, "batch neurons"]
    x: Float[Array, "batch neurons"]
    r: Float[Array, "batch neurons"]
    spikes: Float[Array, "batch neurons"]


def initial_state(network: Network, batch: int) -> tuple[Activity, ...]:
    """All layers at rest, without a spike.

    **Arguments:**

    - `network`: a `Network`.
    - `batch`: number of samples.

    **Returns:** an `Activity` for each layer.
    """
    state = []
    for size in network.layer_sizes:
        zeros = jnp.zeros((batch, size), network.dtype)
        state.append(Activity(zeros, zeros, zeros, zeros, zeros + jnp.inf))
    return tuple(state)
