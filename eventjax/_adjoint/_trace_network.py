"""A network and its eligibility traces, one step at a time."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._network import Network
from .._solver import Clocked
from .._solver._grid import Grid
from ._clocked_loop import NeuronStep
from ._eligibility_traces import (
    Activity,
    all_rows,
    go_on,
    layer_rows,
    no_traces,
    Rows,
    trace_on,
    Traces,
)
from ._eprop import EProp


Drives = Sequence[Float[Array, "batch _"] | None]  # of each layer


class Course(eqx.Module):
    """What the network does; all of it is constant in size."""

    hidden: tuple[Activity, ...]
    readout: PyTree[Float[Array, "batch outputs"]]


class Memory(eqx.Module):
    """What a gradient needs of the past."""

    traces: tuple[Traces, ...]  # of each hidden layer
    received: Float[Array, "batch sources"]  # by the readout, through its filter


class Step(eqx.Module):
    """How the network takes a step: all that stays the same meanwhile."""

    hidden: tuple[NeuronStep, ...]
    rows: tuple[Rows, ...]  # of each hidden layer
    readout: NeuronStep
    readout_rows: Float[Array, "sources outputs"]
    kappa: Float[Array, ""]  # what the readout keeps

    def go_on(
        self, number: Int[Array, ""], course: Course, below: Array
    ) -> tuple[Course, tuple[Array, ...]]:
        """The next step, and the currents that arrived at each hidden layer."""
        done = []
        for take, rows, activity in zip(self.hidden, self.rows, course.hidden):
            done.append(go_on(take, number, activity, below, rows))
            below = done[-1][0].spikes
        hidden, currents = zip(*done, strict=True)
        readout, _ = self.readout(number, course.readout, below @ self.readout_rows)
        return Course(hidden, readout), currents

    def learn(
        self,
        number: Int[Array, ""],
        before: Course,
        after: Course,
        currents: tuple[Array, ...],
        below: Array,
        memory: Memory,
    ) -> Memory:
        """The memory after the step from `before` to `after`."""
        traces = []
        for k, take in enumerate(self.hidden):
            sources = self.rows[k].sources(below, before.hidden[k].spikes)
            states = before.hidden[k], after.hidden[k]
            given = currents[k], sources, memory.traces[k], self.kappa
            traces.append(trace_on(take, number, *states, *given))
            below = after.hidden[k].spikes
        return Memory(tuple(traces), self.kappa * memory.received + below)

    def no_memory(self, course: Course) -> Memory:
        """That of a run that starts."""
        layers = zip(self.hidden, self.rows, course.hidden)
        traces = tuple(no_traces(take, x.state, r.count) for take, r, x in layers)
        return Memory(traces, jnp.zeros_like(course.hidden[-1].spikes))


def step_of(
    network: Network, rule: EProp, solver: Clocked, grid: Grid, drives: Drives, dtype
) -> Step:
    """The step of a network that `check_for_traces` has let pass."""
    takes = [
        NeuronStep(rule, _cast(layer.neuron, dtype), solver.integrator, grid, drive)
        for layer, drive in zip(network.layers, drives, strict=True)
    ]
    *hidden, readout = network.layers
    neuron: Any = readout.neuron
    return Step(
        hidden=tuple(takes[:-1]),
        rows=tuple(layer_rows(layer, dtype) for layer in hidden),
        readout=takes[-1],
        readout_rows=all_rows(readout.connection, dtype),
        kappa=jnp.exp(jnp.asarray(-grid.dt / neuron.tau_mem, dtype)),
    )


def rest_of(network: Network, batch: int, dtype: Any) -> Course:
    """The network at rest."""

    def full(x: Array) -> Array:
        return jnp.broadcast_to(x.astype(dtype), (batch, *x.shape))

    rest = [
        jax.tree.map(full, layer.neuron.initial_state()) for layer in network.layers
    ]
    hidden = tuple(
        Activity(state, jnp.zeros((batch, layer.neuron.size), dtype))
        for state, layer in zip(rest[:-1], network.layers)
    )
    return Course(hidden, rest[-1])


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
    return jax.tree.map(cast, tree)
