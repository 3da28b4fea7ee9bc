"""From eligibility traces and errors to gradients."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._connection import AbstractConnection
from .._network import Network
from ..feedback import AbstractFeedback
from ._eligibility_traces import all_rows, Rows
from ._trace_network import Memory, Step


Errors = Float[Array, "batch outputs"]


class Sums(eqx.Module):
    """Gradients by the weights, over samples and perhaps over steps."""

    hidden: tuple[Float[Array, "_ _"], ...]  # all rows of each layer
    readout: Float[Array, "sources outputs"]
    bias: Float[Array, " outputs"]

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)


def no_sums(step: Step) -> Sums:
    """Before the first step."""
    dtype = step.readout_rows.dtype
    hidden = tuple(jnp.zeros((r.count, r.below.shape[1]), dtype) for r in step.rows)
    readout = jnp.zeros_like(step.readout_rows)
    return Sums(hidden, readout, readout[0])


def sums_of_step(
    feedback: Sequence[Float[Array, "_ outputs"]],
    memory: Memory,
    error: Errors,
    by_spikes: Sequence[Float[Array, "batch _"] | None],
) -> Sums:
    """Of one step: `error` is that of the outputs, which `feedback` brings to each hidden
    layer; `by_spikes` act on their layer as they are."""
    hidden = []
    for traces, matrix, own in zip(memory.traces, feedback, by_spikes, strict=True):
        terms = (error @ matrix.T)[None] * traces.filtered
        if own is not None:
            terms = terms + own[None] * traces.e
        hidden.append(jnp.sum(terms, axis=1))
    return Sums(tuple(hidden), memory.received.T @ error, jnp.sum(error, axis=0))


def matrices(
    network: Network, feedback: AbstractFeedback, rows: Float[Array, "sources outputs"]
) -> list[Float[Array, "_ outputs"]]:
    """What brings errors back to each hidden layer."""
    own = [layer.feedback for layer in network.layers[:-1]]
    own = [None if x is None else x.astype(rows.dtype) for x in own]
    return [feedback.matrix(rows, x) for x in own]


def gradient_of(
    network: Network, feedback: AbstractFeedback, rows: Sequence[Rows], sums: Sums
) -> Network:
    """A network of gradients, `None` for all that has none."""
    gradient: Any = eqx.filter(network, lambda x: False)
    *hidden, readout = network.layers
    for k, layer in enumerate(hidden):
        found = rows[k].split(sums.hidden[k])
        new = [_by_weights(layer.connection, found.below)]
        where = [lambda g, k=k: g.layers[k].connection]
        if layer.recurrent is not None:
            new.append(_by_weights(layer.recurrent, found.recurrent))
            where.append(lambda g, k=k: g.layers[k].recurrent)
        if layer.feedback is not None:
            new.append(_by_feedback(feedback, layer.feedback, sums.readout))
            where.append(lambda g, k=k: g.layers[k].feedback)
        for one, value in zip(where, new):
            gradient = eqx.tree_at(one, gradient, value, is_leaf=_is_none)
    last = lambda g: g.layers[-1]
    value = _by_weights(readout.connection, sums.readout)
    gradient = eqx.tree_at(lambda g: last(g).connection, gradient, value)
    neuron: Any = readout.neuron
    if eqx.is_array(neuron.bias):
        value = sums.bias if neuron.bias.ndim else jnp.sum(sums.bias)
        value = value.astype(neuron.bias.dtype)
        where = lambda g: last(g).neuron.bias
        gradient = eqx.tree_at(where, gradient, value, is_leaf=_is_none)
    return gradient


def _is_none(x: Any) -> bool:
    return x is None


def _by_weights(
    connection: AbstractConnection, rows: Float[Array, "rows out"]
) -> AbstractConnection:
    """From gradients by rows to those by what the connection has, masks included."""
    _, pull = eqx.filter_vjp(lambda c: all_rows(c, rows.dtype), connection)
    return pull(rows)[0]


def _by_feedback(
    feedback: AbstractFeedback, own: Array, readout: Float[Array, "sources outputs"]
) -> Array:
    """Where a feedback passes the gradient of the readout's weights; the one that layers of
    any size may have, `Random`, does not."""
    zeros = jnp.zeros_like(readout)
    _, pull = jax.vjp(lambda x: feedback.matrix(zeros, x.astype(zeros.dtype)), own)
    return pull(readout if own.shape == readout.shape else jnp.zeros_like(own))[0]
