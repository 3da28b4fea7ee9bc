import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import AbstractConnection, AbstractDelay, add_delays, check_delay, Delays


class AxonalDelay(AbstractDelay):
    """Delays every spike of a source by that source's own time.

    **Arguments:**

    - `connection`: the connection that the spikes arrive at.
    - `delay`: delay in ms, not negative; a float for all sources (a constant), or an
        array of shape `[in_size]` (a leaf, so it can be trained).

    Raises a `ValueError` for another shape, and for values that are negative or NaN.
    """

    connection: AbstractConnection
    delay: Float[Array, " in"] | float

    def __init__(
        self, connection: AbstractConnection, delay: Float[Array, " in"] | float
    ):
        self.connection = connection
        self.delay = delay
        shape = jnp.shape(self.delay)
        if shape not in ((), (self.connection.in_size,)):
            raise ValueError(
                f"`delay` must be a float or have shape ({self.connection.in_size},), "
                f"one delay for each source, got shape {shape}."
            )
        check_delay("delay", delay)

    def delays(self) -> Delays:
        return add_delays(self.delay, self.connection)
