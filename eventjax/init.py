"""Weights that make networks fire, and buffers that hold what they fire."""

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ._adjoint import AbstractAdjoint, Eventprop
from ._connection import AbstractConnection, AbstractDelay, Dense
from ._network import Layer, Network
from ._simulate import simulate
from ._solver import AbstractSolver, ClosedForm
from ._spikes import Spikes


def _with_capacity(layer: Layer, capacity: int) -> Layer:
    return Layer(
        layer.connection,
        layer.neuron,
        layer.recurrent,
        capacity=capacity,
        feedback=layer.feedback,
    )


def _counts(
    network: Network, spikes: Spikes, t1: float, how: tuple
) -> tuple[Network, list]:
    """Spike counts `[*batch]` of each layer, in buffers that hold them. `how` is the
    solver and the adjoint."""
    while True:
        sol = _run(network, spikes, t1, *how)
        counts = [None if n is None else np.asarray(n) for n in sol.num_spikes]
        layers = [
            y
            if n is None or n.max(initial=0) <= y.capacity
            else _with_capacity(y, max(int(n.max()), 2 * y.capacity))
            for y, n in zip(network.layers, counts)
        ]
        if all(one is two for one, two in zip(layers, network.layers)):
            return network, counts
        network = Network(layers)


@eqx.filter_jit
def _run(network: Network, spikes: Spikes, t1, solver, adjoint):
    return simulate(network, spikes, t1, solver=solver, adjoint=adjoint, throw=False)


def suggest_capacity(
    network: Network,
    spikes: Spikes,
    t1: float,
    margin: float = 1.5,
    *,
    solver: AbstractSolver = ClosedForm(),
    adjoint: AbstractAdjoint = Eventprop(),
) -> Network:
    """The network with the capacity of each layer set to `margin` times the largest
    number of spikes that a sample of `spikes` (a batch) makes in it under the solver (and
    an adjoint that works with it), at least 16.

    Raises a `ValueError` if `margin` is below 1.
    """
    if not margin >= 1:
        raise ValueError(f"`margin` must be at least 1, got {margin}.")
    network, counts = _counts(network, spikes, t1, (solver, adjoint))
    layers = [
        y
        if n is None
        else _with_capacity(y, max(16, int(np.ceil(margin * n.max(initial=0)))))
        for y, n in zip(network.layers, counts)
    ]
    return Network(layers)


def add_feedback(network: Network, std: float = 1.0, *, key: PRNGKeyArray) -> Network:
    """The network with weights of feedback from its readout, its last layer, to all others,
    drawn from a normal distribution with the given standard deviation, for `EProp`.

    Raises a `ValueError` if `std` is not positive.
    """
    if not std > 0:
        raise ValueError(f"`std` must be positive, got {std}.")
    *hidden, readout = network.layers
    outputs, layers = readout.neuron.size, []
    for layer, key_k in zip(hidden, jr.split(key, len(hidden))):
        dtype = jax.tree.leaves(eqx.filter(layer.connection, eqx.is_inexact_array))
        draw = jr.normal(key_k, (layer.neuron.size, outputs), dtype[0].dtype)
        layers.append(
            Layer(
                layer.connection,
                layer.neuron,
                layer.recurrent,
                capacity=layer.capacity,
                feedback=std * draw,
            )
        )
    return Network([*layers, readout])


def _innermost(connection: AbstractConnection) -> AbstractConnection:
    """The connection that holds the weights."""
    while isinstance(connection, AbstractDelay):
        connection = connection.connection
    return connection


def _scaled(layer: Layer, factor: float) -> Layer:
    dense = _innermost(layer.connection)
    if not isinstance(dense, Dense):
        raise ValueError(
            "`calibrate` scales the weights of `Dense` connections, also of delayed ones, "
            f"got `{type(dense).__name__}`."
        )
    where = lambda y: _innermost(y.connection).weight
    return eqx.tree_at(where, layer, dense.weight * factor)


def calibrate(
    network: Network,
    spikes: Spikes,
    t1: float,
    spikes_per_neuron: float = 1.0,
    *,
    tolerance: float = 0.1,
    solver: AbstractSolver = ClosedForm(),
    adjoint: AbstractAdjoint = Eventprop(),
) -> Network:
    """Scale the weights of each layer's connection, layer by layer, until its neurons
    fire `spikes_per_neuron` times in a sample of `spikes` (a batch) on average, under the
    solver (and an adjoint that works with it).

    Starts from the weights given, so it keeps their pattern. Layers that never spike are
    left alone; capacities grow where they must. Raises a `ValueError` if no scale between
    1e-4 and 1e4 comes within `tolerance` (relative), as with weights below zero only.
    """
    for k, layer in enumerate(network.layers):
        lo, hi = -4.0, 4.0  # exponents of ten
        for _ in range(24):
            exponent = 0.5 * (lo + hi)
            layers = list(network.layers)
            layers[k] = _scaled(layer, 10**exponent)
            trial = Network(layers[: k + 1])
            trial, counts = _counts(trial, spikes, t1, (solver, adjoint))
            if counts[k] is None:
                trial = None
                break
            rate = counts[k].mean() / layer.neuron.size
            if abs(rate - spikes_per_neuron) <= tolerance * spikes_per_neuron:
                break
            lo, hi = (lo, exponent) if rate > spikes_per_neuron else (exponent, hi)
        else:
            raise ValueError(
                f"No scale of the weights of `layers[{k}]` gives {spikes_per_neuron} "
                f"spikes per neuron; the last try gave {rate}. Are there enough input "
                "spikes, and positive weights?"
            )
        if trial is not None:
            network = Network([*trial.layers, *network.layers[k + 1 :]])
    return network
