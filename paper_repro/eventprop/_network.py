"""The recurrent network for spoken words, from its settings."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray, PyTree

import eventjax as ej

from ._config import Speech


# Of the shape of the gamma distribution that heterogeneous time constants come from.
_SHAPE = 3.0
# Time constants stay above these, and start below so many times their mean, in ms.
FLOORS = {"tau_mem": 3.0, "tau_syn": 1.0}
_MOST = 3.0


def make_network(
    config: Speech, num_units: int, num_classes: int, key: PRNGKeyArray
) -> ej.Network:
    """One hidden layer of LIF neurons and one readout neuron for each class."""
    keys = jr.split(key, 4)
    hidden = config.hidden
    mean, std = config.weight_in
    connection: Any = ej.Dense(
        num_units * config.copies, hidden, mean=mean, std=std, key=keys[0]
    )
    if config.copies > 1:
        lags = [config.copy_every * k for k in range(config.copies)]
        connection = ej.DelayLine(connection, lags)
    recurrent = None
    if config.recurrent:
        mean, std = config.weight_rec
        recurrent = ej.AxonalDelay(
            ej.Dense(hidden, hidden, mean=mean, std=std, key=keys[1]),
            config.recurrent_delay,
        )
    mean, std = config.weight_out
    readout = ej.Dense(hidden, num_classes, mean=mean, std=std, key=keys[2])
    taus: Any = dict(tau_mem=config.tau_mem, tau_syn=config.tau_syn)
    spikes_out = config.loss == "first_spike"
    neuron = (ej.LIF if spikes_out else ej.LeakyIntegrator)(num_classes, **taus)
    return ej.Network(
        [
            ej.Layer(
                connection,
                ej.LIF(hidden, **_hidden_taus(config, keys[3])),
                recurrent,
                capacity=config.spikes_per_neuron * hidden,
            ),
            ej.Layer(readout, neuron, capacity=64 if spikes_out else None),
        ]
    )


def _hidden_taus(config: Speech, key: PRNGKeyArray) -> dict[str, float | Array]:
    """Numbers, which are constants, unless each neuron has its own."""
    means = {"tau_mem": config.tau_mem, "tau_syn": config.tau_syn}
    if config.heterogeneous:
        return {
            name: jnp.clip(
                jr.gamma(jr.fold_in(key, k), _SHAPE, (config.hidden,)) * mean / _SHAPE,
                FLOORS[name],
                _MOST * mean,
            )
            for k, (name, mean) in enumerate(means.items())
        }
    if config.train_taus:
        return {name: jnp.full(config.hidden, mean) for name, mean in means.items()}
    return dict(means)


def input_weight(network: ej.Network) -> Array:
    connection: Any = network.layers[0].connection
    if isinstance(connection, ej.DelayLine):
        connection = connection.connection
    return connection.weight


def trainable(network: ej.Network, config: Speech) -> PyTree:
    """All arrays, but for time constants that are each neuron's own and stay."""
    mask = jax.tree.map(eqx.is_inexact_array, network)
    if config.heterogeneous and not config.train_taus:
        taus = lambda n: (n.layers[0].neuron.tau_mem, n.layers[0].neuron.tau_syn)
        mask = eqx.tree_at(taus, mask, (False, False))
    return mask
