"""What a connection is: rows of weights, and when they arrive."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Int


class AbstractConnection(eqx.Module):
    """Carries spikes of `in_size` sources to `out_size` neurons."""

    in_size: eqx.AbstractVar[int]
    out_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def rows(self, sources: Int[Array, "*shape"]) -> Float[Array, "*shape out"]:
        """The current that a spike of each source adds to every neuron."""

    @abc.abstractmethod
    def delays(self) -> Float[Array, " in"] | float | None:
        """Time in ms between a source's spike and its arrival, or `None` for none."""
