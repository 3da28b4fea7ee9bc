"""Layers of `RampIF` neurons for tests, and what they should do, from the definition."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej


def ramp_dense(weight) -> ej.Dense:
    weight = jnp.asarray(weight)
    dense = ej.Dense(*weight.shape, mean=0.0, std=1.0, key=jr.key(0))
    return eqx.tree_at(lambda c: c.weight, dense, weight)


def random_first_spikes(rng, shape, window: float = 1.0) -> ej.FirstSpikes:
    """About a quarter of the sources is silent."""
    fired = rng.random(shape) < 0.75
    times = np.where(fired, rng.uniform(0, window, shape), np.inf)
    return ej.FirstSpikes(jnp.asarray(times), jnp.asarray(fired))


def brute_force(times, weights, neuron: ej.RampIF, start: float, end: float):
    """When neurons (rows of both arrays) first reach a threshold that falls from `start`
    to `end`, from the start of the input's window: the voltage is added up input by input
    on a fine grid, and the first step in which it crosses is halved again and again."""
    window, rise = neuron.window, neuron.rise

    def above(t):
        psp = np.maximum(t - np.where(np.isfinite(times), times, np.inf), 0.0)
        v = np.sum(weights * np.where(np.isfinite(times), psp, 0.0), -1) / rise
        return v - (start + (end - start) * (t[..., 0] - window) / window)

    grid = window * (1 + np.linspace(0, 1, 41))
    column = lambda t: np.broadcast_to(np.asarray(t), (len(times),))[:, None]
    there = np.stack([above(column(t)) >= 0 for t in grid])
    there[-1] &= above(column(grid[-1])) > 0  # to touch it at the very end is silence
    found = there.any(0)
    first = np.argmax(there, 0)
    low, high = grid[np.maximum(first - 1, 0)], grid[first]
    for _ in range(60):
        middle = 0.5 * (low + high)
        reached = above(middle[:, None]) >= 0
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(found, np.where(first == 0, window, high), np.inf)


def conv_network(
    window: float = 2.0, at_end: bool = True, seed: int = 36
) -> ej.FirstSpikeNetwork:
    """A convolution, both pools, a dense layer and a readout."""
    keys = jr.split(jr.key(seed), 4)
    neuron = ej.RampIF(window, threshold=ej.LinearRamp(jnp.array(1.2), jnp.array(0.1)))
    pooled = ej.Chain(
        [
            ej.AveragePool2d((2, 1), stride=1),
            ej.Conv2d(4, 6, (2, 1), std=0.5, key=keys[1]),
            ej.Flatten(),
        ]
    )
    dense = ej.Dense(12, 5, mean=0.0, std=0.4, key=keys[2])
    readout = ej.Dense(5, 3, mean=0.0, std=0.6, key=keys[3])
    return ej.FirstSpikeNetwork(
        [
            ej.FirstSpikeLayer(ej.Conv2d(2, 4, 3, padding=1, key=keys[0]), neuron),
            ej.EarliestPool2d(2),
            ej.FirstSpikeLayer(pooled, ej.RampIF(window)),
            ej.FirstSpikeLayer(dense, ej.RampIF(window)),
            ej.PotentialReadout(readout, window, at_end=at_end),
        ]
    )
