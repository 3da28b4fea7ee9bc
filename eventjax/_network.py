"""Layers in sequence. Parameters only: the state goes in and out of `simulate`."""

from collections.abc import Sequence

import equinox as eqx
from jaxtyping import Array, Float

from ._connection import AbstractConnection
from ._neuron import AbstractNeuron


class Layer(eqx.Module):
    """A connection, the neurons it reaches, and how these are connected to each other.

    **Arguments:**

    - `connection`: carries the spikes of the layer before, or the input.
    - `neuron`: the population.
    - `recurrent`: carries the layer's own spikes back to it, with or without delay.
    - `capacity`: how many spikes one sample may emit in this layer. More are an error,
        never dropped; `ej.init.suggest_capacity` finds a tight value for given data. By
        default twice the number of neurons, at least 32. With `SynapticDelay` at the input
        and recurrence it also bounds the number of steps of the exact solver.
    - `feedback`: weights that bring errors of the network's outputs to these neurons, for
        `EProp` with `Random()` or `Adaptive()` feedback. `ej.init.add_feedback` draws them.

    Raises a `ValueError` if the sizes do not fit.
    """

    connection: AbstractConnection
    neuron: AbstractNeuron
    recurrent: AbstractConnection | None
    feedback: Float[Array, "neurons outputs"] | None
    capacity: int = eqx.field(static=True)

    def __init__(
        self,
        connection: AbstractConnection,
        neuron: AbstractNeuron,
        recurrent: AbstractConnection | None = None,
        *,
        capacity: int | None = None,
        feedback: Float[Array, "neurons outputs"] | None = None,
    ):
        size = neuron.size
        if connection.out_size != size:
            raise ValueError(
                f"`connection` reaches {connection.out_size} neurons, but `neuron` has "
                f"{size}: give both one size."
            )
        if recurrent is not None and (recurrent.in_size, recurrent.out_size) != (
            size,
            size,
        ):
            raise ValueError(
                f"`recurrent` must connect the layer's {size} neurons to themselves, "
                f"got {recurrent.in_size} to {recurrent.out_size}."
            )
        capacity = max(32, 2 * size) if capacity is None else capacity
        if capacity < 1:
            raise ValueError(f"`capacity` must be at least 1, got {capacity}.")
        self.connection = connection
        self.neuron = neuron
        self.recurrent = recurrent
        if feedback is not None and (feedback.ndim != 2 or len(feedback) != size):
            raise ValueError(
                f"`feedback` must have shape [{size}, outputs], one row for each neuron, "
                f"got {feedback.shape}."
            )
        self.feedback = feedback
        self.capacity = capacity


class Network(eqx.Module):
    """Layers in sequence; the spikes of each are the input of the next.

    **Arguments:**

    - `layers`: a sequence of `Layer`.

    Raises a `ValueError` if a layer does not take what the one before gives.
    """

    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]):
        self.layers = tuple(layers)
        if not self.layers:
            raise ValueError("`layers` must hold at least one `Layer`, got none.")
        for k, (one, two) in enumerate(zip(self.layers[:-1], self.layers[1:])):
            if one.neuron.size != two.connection.in_size:
                raise ValueError(
                    f"`layers[{k}]` has {one.neuron.size} neurons, but the connection "
                    f"of `layers[{k + 1}]` takes {two.connection.in_size} sources."
                )

    @property
    def in_size(self) -> int:
        """Number of input sources."""
        return self.layers[0].connection.in_size
