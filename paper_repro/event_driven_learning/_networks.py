"""The same layers as a network of first spikes, with rectifiers, and on a time grid."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import eventjax as ej

from ._config import Pictures


Shape = tuple[int, int, int]  # channels, height, width


class OnGrid(eqx.Module):
    """Layers of `AdaptiveLIF`, and a readout of the mean number of their last spikes: the
    mean input of integrators without leak."""

    network: ej.Network
    readout: ej.ImageConnection


def first_spike_network(
    config: Pictures, shape: Shape, classes: int, key: jax.Array
) -> ej.FirstSpikeNetwork:
    """Under the falling threshold, or a fixed one."""
    start, end = config.threshold
    if config.rule == "fixed_threshold":
        end = start
    neuron = ej.RampIF(config.window, threshold=ej.LinearRamp(start, end))
    layers: list[Any] = []
    for step in _steps(config, shape, classes, key):
        if step == "pool":
            layers.append(ej.EarliestPool2d(2))
        else:
            layers.append(ej.FirstSpikeLayer(step, neuron))
    # After a warm start read where potentials are the activations of the twin
    readout = ej.PotentialReadout(
        layers.pop().connection, config.window, at_end=config.warm_start == 0
    )
    return ej.FirstSpikeNetwork([*layers, readout])


def clipped_relu(
    network: ej.FirstSpikeNetwork, x: Float[Array, "*batch channels height width"]
) -> Float[Array, "*batch classes"]:
    """The twin of a network of first spikes: activations clipped to [0, 1] in place of
    spike times, a maximum in place of the earliest spike, and the same weights."""
    for layer in network.layers:
        if isinstance(layer, ej.EarliestPool2d):
            always = jnp.ones(x.shape, bool)
            x = 1 - layer(ej.FirstSpikes(1 - x, always)).times
        elif isinstance(layer, ej.PotentialReadout):
            return layer.connection.apply(x)
        else:
            x = jnp.clip(layer.connection.apply(x), 0, 1)
    raise ValueError("`network` must end with a `PotentialReadout`.")


def grid_network(
    config: Pictures, shape: Shape, classes: int, key: jax.Array
) -> OnGrid:
    """With average pools, which are part of the next connection."""
    start, end = config.fall
    threshold = ej.ThresholdFall(start, end, duration=float(config.steps))
    layers: list[ej.Layer] = []
    size: tuple[int, ...] = shape
    before: list[ej.AbstractLinearMap] = []
    for step in _steps(config, shape, classes, key):
        if step == "pool":
            before.append(ej.AveragePool2d(2))
            continue
        linear_map = ej.Chain([*before, step]) if before else step
        connection = ej.ImageConnection(linear_map, size)
        neuron = ej.AdaptiveLIF(connection.out_size, threshold, tau_mem=config.tau_mem)
        layers.append(ej.Layer(connection, neuron))
        before, size = [], connection.out_shape
    readout = layers.pop().connection
    return OnGrid(ej.Network(layers), readout)


def _steps(config: Pictures, shape: Shape, classes: int, key: jax.Array) -> list[Any]:
    """Linear maps and the word "pool", in order; the last map is the readout's."""
    steps: list[Any] = []
    channels, height, width = shape
    for k, size in enumerate(config.plan):
        if size == "pool":
            steps.append(size)
            height, width = height // 2, width // 2
            continue
        std = config.gain * (2 / (9 * channels)) ** 0.5
        key_k = jr.fold_in(key, k)
        conv = ej.Conv2d(
            channels, size, 3, stride=config.stride, padding=1, std=std, key=key_k
        )
        steps.append(conv)
        channels = size
        height, width = ((n - 1) // config.stride + 1 for n in (height, width))
    size = math.prod((channels, height, width))
    for k, following in enumerate((*config.hidden, classes), len(config.plan)):
        std = config.gain * (2 / size) ** 0.5
        dense = ej.Dense(size, following, mean=0.0, std=std, key=jr.fold_in(key, k))
        is_first = k == len(config.plan)
        steps.append(ej.Chain([ej.Flatten(), dense]) if is_first else dense)
        size = following
    return steps
