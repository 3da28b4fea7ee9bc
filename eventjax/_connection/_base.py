"""What a connection is: rows of weights, and when they arrive."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int


# In ms; a float for all, one for each row, or one for each row and neuron. Floats and NumPy
# arrays are constants.
Delays = (
    Float[Array, " rows"]
    | Float[Array, "rows out"]
    | Float[np.ndarray, " rows"]
    | Float[np.ndarray, "rows out"]
    | float
)


class AbstractConnection(eqx.Module):
    """Carries spikes of `in_size` sources to `out_size` neurons.

    A spike arrives as `copies` arrivals (1, but for a `DelayLine`). Copy `c` of source `k`
    is row `c * in_size + k` of what `rows` and `delays` give.
    """

    in_size: eqx.AbstractVar[int]
    out_size: eqx.AbstractVar[int]
    copies: eqx.AbstractVar[int]

    @abc.abstractmethod
    def rows(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        """The current that an arrival of each row adds to every neuron."""

    @abc.abstractmethod
    def delays(self) -> Delays | None:
        """Time in ms between a spike and the arrival of each row, everywhere at once or
        at each neuron by itself, or `None` for none."""


class AbstractWrapped(AbstractConnection):
    """Another connection, changed in one way."""

    connection: eqx.AbstractVar[AbstractConnection]

    @property
    def in_size(self) -> int:
        return self.connection.in_size

    @property
    def out_size(self) -> int:
        return self.connection.out_size

    @property
    def copies(self) -> int:
        return self.connection.copies


class AbstractDelay(AbstractWrapped):
    """Changes when the spikes of another connection arrive, not what they bring."""

    def rows(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        return self.connection.rows(index)


def check_delay(name: str, delay: Delays) -> None:
    """Raise a `ValueError` for delays that are negative or NaN, where they are known;
    `simulate` checks those that are traced."""
    if isinstance(delay, Tracer) or not eqx.is_array_like(delay):
        return
    if not np.all(np.asarray(delay) >= 0):
        raise ValueError(
            f"`{name}` must not be negative or NaN, got {delay}: a spike cannot arrive "
            "before it was sent."
        )


def add_delays(delay: Any, connection: AbstractConnection) -> Delays:
    """Delays of the sources of a connection, as those of an `AxonalDelay` or of a
    `SynapticDelay`, and its own."""
    inner: Any = connection.delays()
    if jnp.ndim(delay) > 0 and connection.copies > 1:
        tile = np.tile if isinstance(delay, np.ndarray) else jnp.tile
        delay = tile(delay, (connection.copies, *(1,) * (jnp.ndim(delay) - 1)))
    if inner is None:
        return delay
    ndims = jnp.ndim(delay), jnp.ndim(inner)
    if ndims == (1, 2):
        delay = delay[:, None]
    elif ndims == (2, 1):
        inner = inner[:, None]
    return delay + inner
