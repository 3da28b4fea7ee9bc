import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._base import AbstractConnection


class AxonalDelay(AbstractConnection):
    """Delays every spike of a source by that source's own time.

    **Arguments:**

    - `connection`: the connection that the spikes arrive at.
    - `delay`: delay in ms, not negative; a float for all sources (a constant), or an
        array of shape `[in_size]` (a leaf, so it can be trained).
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
        if isinstance(self.delay, (int, float, np.ndarray)) and np.any(
            ~(np.asarray(self.delay) >= 0)
        ):
            raise ValueError(
                f"`delay` must not be negative or NaN, got {self.delay}: a spike "
                "cannot arrive before it was sent."
            )

    @property
    def in_size(self) -> int:
        return self.connection.in_size

    @property
    def out_size(self) -> int:
        return self.connection.out_size

    def rows(self, sources: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        return self.connection.rows(sources)

    def delays(self) -> Float[Array, " in"] | float:
        inner = self.connection.delays()
        return self.delay if inner is None else self.delay + inner
