import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import AbstractConnection, AbstractDelay, add_delays, check_delay, Delays


class SynapticDelay(AbstractDelay):
    """Delays every spike by a time of the synapse's own: a spike of source `k` arrives at
    neuron `n` after `delay[k, n]`.

    Each neuron then has an event list of its own, which takes time and memory for every
    spike and neuron: a gradient step of benchmark W1 takes 1.2 times as long as with
    `AxonalDelay`, and more than that where events are many. Exact solvers do not take it
    for a layer's `recurrent`.

    **Arguments:**

    - `connection`: the connection that the spikes arrive at.
    - `delay`: delays in ms, not negative, shape `[in_size, out_size]`; a leaf, so they can
        be trained.

    Raises a `ValueError` for another shape, and for values that are negative or NaN.
    """

    connection: AbstractConnection
    delay: Float[Array, "in out"]

    def __init__(self, connection: AbstractConnection, delay: Float[Array, "..."]):
        self.connection = connection
        shape, wanted = jnp.shape(delay), (connection.in_size, connection.out_size)
        if shape != wanted:
            raise ValueError(
                f"`delay` must have shape {wanted}, one delay for each source and neuron, "
                f"got shape {shape}: `AxonalDelay` takes one for each source."
            )
        check_delay("delay", delay)
        self.delay = delay

    def delays(self) -> Delays:
        return add_delays(self.delay, self.connection)
