"""The five networks, of the same width and with the same readout."""

import equinox as eqx
import jax
import jax.random as jr

import eventjax as ej

from ._config import Settings


def make_network(
    config: Settings, inputs: int, outputs: int, key: jax.Array
) -> ej.graded.Classifier:
    quantiser = lambda: ej.graded.Quantiser(config.bits, config.dead_zone)
    encoder = ej.graded.Encoder(inputs, quantiser()) if config.spikes else None
    layers, before = [], inputs
    for k in range(config.layers):
        layers.append(_layer(config, before, jr.fold_in(key, k)))
        before = config.units
    readout = ej.graded.Readout(before, outputs, key=jr.fold_in(key, config.layers))
    return ej.graded.Classifier(encoder, layers, readout)


def _layer(config: Settings, inputs: int, key: jax.Array) -> ej.graded.AbstractLayer:
    g, rest = ej.graded, dict(dropout=config.dropout, key=key)
    if config.kind in ("gru", "lstm"):
        cell = eqx.nn.GRUCell if config.kind == "gru" else eqx.nn.LSTMCell
        return g.Cells(cell, inputs, config.units, memory=config.memory, **rest)
    quantiser = g.Quantiser(config.bits, config.dead_zone)
    if (
        config.kind == "conventional"
    ):  # whose decay is 1 to begin with: `memory` is long
        return g.Conventional(inputs, config.units, quantiser, **rest)
    recurrent = config.kind == "v2"
    return g.Gated(
        inputs,
        config.units,
        quantiser,
        recurrent=recurrent,
        memory=config.memory,
        gain=config.gain,
        **rest,
    )
