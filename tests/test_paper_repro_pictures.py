"""Networks for pictures: twins, what is counted of them, and what it costs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eventjax as ej
from paper_repro.event_driven_learning._activity import activity
from paper_repro.event_driven_learning._config import Pictures
from paper_repro.event_driven_learning._networks import (
    clipped_relu,
    first_spike_network,
    grid_network,
)
from paper_repro.event_driven_learning._sources import Events, Still
from paper_repro.event_driven_learning.rows import energy


SHAPE, CLASSES = (1, 6, 6), 3
TINY = Pictures(plan=(2, "pool"), stride=1, steps=2, gain=2.0)


def pictures(count: int = 5) -> Still:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (count, *SHAPE), np.uint8)
    return Still({"image": image, "label": np.arange(count, dtype=np.int32) % CLASSES})


def test_the_twin_is_a_network_of_clipped_rectifiers():
    network = first_spike_network(TINY, SHAPE, CLASSES, jr.key(0))
    x = pictures().arrays["image"] / 255
    conv, _, readout = network.layers
    hidden = np.clip(conv.connection.apply(jnp.asarray(x)), 0, 1)
    pooled = hidden.reshape(5, 2, 3, 2, 3, 2).max((3, 5))
    dense = readout.connection.maps[-1].weight
    expected = pooled.reshape(5, -1) @ np.asarray(dense)
    found = jax.jit(clipped_relu)(network, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_first_spikes_are_the_twin_where_weights_sum_to_zero():
    """Then the firing window's formula is the clipped rectifier itself; outputs are read
    when their window opens."""
    config = dataclasses.replace(TINY, warm_start=1)
    network = first_spike_network(config, SHAPE, CLASSES, jr.key(0))
    # Without border all inputs of a neuron fire, if no pixel is black.
    conv = ej.Conv2d(1, 2, 3, key=jr.key(1))
    weight = conv.weight - conv.weight.mean(axis=(1, 2, 3), keepdims=True)
    conv = eqx.tree_at(lambda c: c.weight, conv, weight)
    x = jnp.asarray(np.random.default_rng(0).uniform(0.01, 1, (4, *SHAPE)))
    layers = [ej.FirstSpikeLayer(conv, ej.RampIF(1.0)), *network.layers[1:]]
    readout = ej.Dense(8, CLASSES, mean=0.0, std=1.0, key=jr.key(2))
    layers[-1] = ej.PotentialReadout(
        ej.Chain([ej.Flatten(), readout]), 1.0, at_end=False
    )
    network = ej.FirstSpikeNetwork(layers)
    spikes = ej.encoders.first_spikes(x, 1.0)
    sol = jax.jit(ej.simulate_first_spikes)(network, spikes)
    assert 5 < int(sol.spikes[0].fired.sum()) < sol.spikes[0].fired.size
    np.testing.assert_allclose(sol.potentials, clipped_relu(network, x), rtol=1e-9)


@pytest.mark.parametrize("rule", ["std_ed", "mpd_ed", "surrogate"])
def test_activity_of_each_layer(rule):
    config = dataclasses.replace(TINY, rule=rule)
    make = grid_network if config.on_grid else first_spike_network
    hidden, outputs = activity(
        make(config, SHAPE, CLASSES, jr.key(0)), pictures(), config
    )
    assert hidden["neurons"] == 2 * 36 and outputs["neurons"] == CLASSES
    steps = config.steps if config.on_grid else 1
    synapses = 2 * 16 * 16  # of a 3 by 3 kernel with a border, on 6 by 6 pixels
    assert 0 < hidden["firing"] <= 72 and hidden["firing"] <= hidden["spikes"]
    assert 0.9 * synapses * steps < hidden["forward"] <= synapses * steps
    assert hidden["error"] == hidden["dense_error"] == 0  # pictures need none
    if rule == "std_ed":
        shares = hidden["active"] + hidden["saturated"] + hidden["silent"]
        assert shares == pytest.approx(1)
        assert hidden["dense_weight"] == synapses
        assert outputs["dense_weight"] == 18 * CLASSES  # of the pooled pictures
    if rule == "surrogate":
        for layer in (hidden, outputs):
            assert layer["weight"] == layer["dense_weight"]
            assert layer["error"] == layer["dense_error"]
    else:
        assert 0 < hidden["weight"] < hidden["dense_weight"]
        assert 0 < outputs["error"] < outputs["dense_error"]


def test_a_network_without_spikes_has_no_activity():
    config = dataclasses.replace(TINY, rule="clipped_relu")
    assert activity(None, pictures(), config) == []


def test_cost_of_a_sample():
    energies = energy.Energies("mnist", None, addition=1.0, multiplication=3.0)
    first = {"forward": 10.0, "error": 0.0, "weight": 4.0, "spikes": 2.0}
    second = {"forward": 20.0, "error": 6.0, "weight": 5.0}
    grid = energy.cost([first, second], energies)
    assert grid["events"] == 2 and grid["forward"] == 30
    # The first layer of a network on a grid is given brightness, and multiplies.
    assert grid["forward_nj"] == pytest.approx(1e-3 * (30 + 3 * 10))
    assert grid["backward_nj"] == pytest.approx(1e-3 * 4 * 15)
    spiking = energy.cost([{**first, "active": 0.5}, second], energies)
    assert spiking["forward_nj"] == pytest.approx(1e-3 * 30)


def test_pictures_of_a_camera_are_not_moved():
    events = ej.data.EventSet(
        times=np.zeros(0, np.float32),
        units=np.zeros(0, np.uint16),
        offsets=np.zeros(2, np.int64),
        label=np.zeros(1, np.int64),
        speaker=np.zeros(1, np.int64),
        num_units=2312,
        num_classes=10,
    )
    source = Events(events, (2, 34, 34), 300.0, 8)
    with pytest.raises(ValueError, match="`crop`.*still pictures; got 2"):
        source.batches(dataclasses.replace(TINY, crop=2))
