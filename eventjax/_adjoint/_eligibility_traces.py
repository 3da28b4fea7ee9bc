"""Eligibility traces of one layer, forward in time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal
from jaxtyping import Array, Float, Int, PyTree

from .._connection import AbstractConnection
from .._network import Layer
from ._clocked_loop import NeuronStep


class Rows(eqx.Module):
    """The weights of all that arrives at a layer: of what comes from below, and of its own
    spikes in the step before."""

    below: Float[Array, "sources neurons"]
    recurrent: Float[Array, "neurons neurons"] | None

    def sources(self, below: Array, spikes: Array) -> Float[Array, "batch rows"]:
        """What arrives, in the order of the rows."""
        if self.recurrent is None:
            return below
        return jnp.concatenate([below, spikes], axis=1)

    def split(self, rows: Float[Array, "rows neurons"]) -> "Rows":
        """One value for each weight, as the weights themselves."""
        num = len(self.below)
        return Rows(rows[:num], None if self.recurrent is None else rows[num:])

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.below) + (0 if self.recurrent is None else len(self.recurrent))


def all_rows(connection: AbstractConnection, dtype: Any) -> Float[Array, "rows out"]:
    """The weights of a connection without copies."""
    index = jnp.arange(connection.in_size, dtype=jnp.int32)
    return connection.rows(index).astype(dtype)


def layer_rows(layer: Layer, dtype: Any) -> Rows:
    """The weights of a layer."""
    back = layer.recurrent
    recurrent = None if back is None else all_rows(back, dtype)
    return Rows(all_rows(layer.connection, dtype), recurrent)


class Activity(eqx.Module):
    """What a layer's neurons do: their state, and who spiked in the last step."""

    state: PyTree[Float[Array, "batch neurons"]]
    spikes: Float[Array, "batch neurons"]


def go_on(
    take: NeuronStep,
    number: Int[Array, ""],
    activity: Activity,
    below: Float[Array, "batch sources"],
    rows: Rows,
) -> tuple[Activity, Float[Array, "batch neurons"]]:
    """One step, and the current that arrived in it."""
    current = below @ rows.below
    if rows.recurrent is not None:
        current = current + activity.spikes @ rows.recurrent
    state, spikes = take(number, activity.state, current)
    # Compiled as a piece of its own, or with and without traces the same step could be
    # rounded in two ways, and neurons near their threshold spike in the one only.
    state, spikes, current = lax.optimization_barrier((state, spikes, current))
    return Activity(state, spikes), current


class Traces(eqx.Module):
    """How the weights of a layer have acted on it so far, each on its own neuron.

    `vector` is the derivative of the neurons' state by the weights, `None` for parts that
    no input reaches; `e` is that of the last step's spikes, and `filtered` the same through
    the filter of the readout."""

    vector: PyTree[Float[Array, "rows batch neurons"] | None]
    e: Float[Array, "rows batch neurons"]
    filtered: Float[Array, "rows batch neurons"]


def no_traces(take: NeuronStep, state: PyTree, rows: int) -> Traces:
    """Those of a layer of so many `rows` of weights at rest."""
    reached = _reached(take, state)
    batch, neurons = jax.tree.leaves(state)[0].shape
    zeros = jnp.zeros((rows, batch, neurons), jax.tree.leaves(state)[0].dtype)
    vector = jax.tree.map(lambda x, is_in: zeros if is_in else None, state, reached)
    return Traces(vector, zeros, zeros)


def trace_on(
    take: NeuronStep,
    number: Int[Array, ""],
    before: Activity,
    after: Activity,
    current: Float[Array, "batch neurons"],
    sources: Float[Array, "batch rows"],
    traces: Traces,
    kappa: Float[Array, ""],
) -> Traces:
    """The traces after a step: it is linearised, and what comes out is applied to those of
    all weights at once. `sources` are what `current` came from."""
    is_in = jax.tree.map(lambda x: x is not None, traces.vector, is_leaf=_is_none)
    moving, rest = eqx.partition(before.state, is_in)

    def step(moving: PyTree, current: Array) -> tuple[PyTree, Array]:
        state = eqx.combine(moving, rest)
        state, spikes = take(number, state, current, after.spikes)
        assert spikes is not None
        return eqx.filter(state, is_in), spikes

    _, derivative = jax.linearize(step, moving, current)

    def of_row(vector: PyTree, source: Float[Array, " batch"]) -> tuple[PyTree, Array]:
        return derivative(vector, jnp.broadcast_to(source[:, None], current.shape))

    vector, e = jax.vmap(of_row)(traces.vector, sources.T)
    return Traces(vector, e, kappa * traces.filtered + e)


def _is_none(x: Any) -> bool:
    return x is None


def _reached(take: NeuronStep, state: PyTree) -> PyTree[bool]:
    """Which parts of the state a current ever acts on, by the structure of the step: the
    time since the last spike, for one, has no derivative."""
    leaves, structure = jax.tree.flatten(state)
    reached = [False] * len(leaves)

    def flat(leaves: list[Array], current: Array) -> list[Array]:
        state = jax.tree.unflatten(structure, leaves)
        return jax.tree.leaves(take(jnp.zeros((), jnp.int32), state, current)[0])

    def look(leaves: list[Array], current: Array) -> None:
        _, derivative = jax.linearize(flat, leaves, current)
        jaxpr = jax.make_jaxpr(derivative)(leaves, current).jaxpr
        for _ in leaves:  # enough steps for what goes from part to part
            found = _depend(jaxpr, [*reached, True])  # the last input is the current
            reached[:] = [a or b for a, b in zip(reached, found, strict=True)]

    jax.eval_shape(look, leaves, leaves[0])
    return jax.tree.unflatten(structure, reached)


def _depend(jaxpr: Any, marked: list[bool]) -> list[bool]:
    """Which outputs of a program depend on the inputs that are marked, or may do so."""
    seen = {x for x, is_marked in zip(jaxpr.invars, marked) if is_marked}
    is_seen = lambda x: not isinstance(x, Literal) and x in seen
    for equation in jaxpr.eqns:
        if any(map(is_seen, equation.invars)):
            seen.update(equation.outvars)
    return [is_seen(x) for x in jaxpr.outvars]
