"""What solving a layer of any neurons event by event is given, and what it gives back."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._neuron import AbstractNeuron, AbstractStepped, Refractory


class Attempt(eqx.Module):
    """How far one sample may go at once, decided without derivatives."""

    h: Float[Array, ""]  # ms
    accepted: Bool[Array, ""]
    crosses: Bool[Array, ""]  # `mask` reach their threshold at the end of `h`
    standing: Bool[Array, ""]  # they stood there from the start on, and `h` is 0
    mask: Bool[Array, " neurons"]
    state: PyTree  # after `h`
    memory: PyTree  # for the next attempt
    failed: Bool[Array, ""]  # nothing that could be tried would be accepted


class AbstractEngine(eqx.Module):
    """How neurons go from event to event. Written for one sample."""

    @abc.abstractmethod
    def start(self, neuron: AbstractNeuron, t0, t1, state: PyTree, drive) -> PyTree:
        """The memory for the first attempt."""

    @abc.abstractmethod
    def attempt(
        self, neuron: AbstractNeuron, t, state: PyTree, drive, limit, memory: PyTree
    ) -> Attempt:
        """Go on from `t`, at most to `limit`, at most to the first crossing."""

    @abc.abstractmethod
    def advance(self, neuron: AbstractNeuron, t, state: PyTree, drive, h) -> PyTree:
        """The state after `h`, to be differentiated."""

    @abc.abstractmethod
    def any_mode(self) -> "AbstractEngine":
        """The same, with an `advance` that can be differentiated forwards as well."""

    @abc.abstractmethod
    def max_steps(self, num_events: int) -> int:
        """A bound on the number of steps, where `num_events` is one on that of events."""


class EventProblem(eqx.Module):
    """A layer of any neurons and all that arrives at it, of one float type."""

    neuron: AbstractNeuron
    rows: Float[Array, "rows neurons"]  # the last one marks times of record
    recurrent: Float[Array, "neurons neurons"] | None
    recurrent_delay: Float[Array, " neurons"] | None
    drive: Float[Array, "batch neurons"]
    state: PyTree[Float[Array, "batch neurons"]]
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, "batch events"]  # ascending, +inf where empty
    index: Int[Array, "batch events"]
    num_records: int = eqx.field(static=True)


class EventRun(eqx.Module):
    """As `LayerRun`, for any neurons. `voltages` are those at the times of record."""

    times: Float[Array, "batch capacity"]
    sources: Int[Array, "batch capacity"]
    num_spikes: Int[Array, " batch"]
    state: PyTree[Float[Array, "batch neurons"]]
    voltages: Float[Array, "batch records neurons"]
    failed: Bool[Array, " batch"]  # no step could be taken
    exhausted: Bool[Array, " batch"]  # too many steps


def never_spikes(neuron: AbstractNeuron) -> bool:
    state = jax.eval_shape(neuron.initial_state)
    return jax.eval_shape(neuron.threshold, 0.0, state) is None


def is_spike(neuron: AbstractNeuron, state: PyTree) -> Bool[Array, " neurons"]:
    """Whether an event of each neuron would be a spike: the end of a refractory time is
    an event too."""
    if isinstance(neuron, (Refractory, AbstractStepped)):
        return neuron.is_spike(state)
    return jnp.ones(jax.tree.leaves(state)[0].shape, bool)


def threshold_and_slope(
    neuron: AbstractNeuron, t: Array, state: PyTree, drive: Any
) -> tuple[Array, Array]:
    """The event condition and its time derivative on the neurons' course."""
    flow = neuron.vector_field(t, state, drive)
    return jax.jvp(neuron.threshold, (t, state), (jnp.ones_like(t), flow))
