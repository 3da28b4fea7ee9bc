"""Training that takes no time: a made-up simulation, and data for it."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import eventjax as ej


BATCH, T1 = 4, 40.0
SPIKES = ("times", "sources")
RATE = optax.exponential_decay(0.05, 3, 0.9, staircase=True)
OPTIMISER = optax.adam(RATE)


def simulate_toy(network, spikes):
    """A made-up simulation that compiles fast: a neuron whose input is above 1 fires
    once, and the more input the earlier. What is tested here is the loop around it."""
    times = spikes.first(network.in_size).times
    out, states, fits = [], [], jnp.ones(spikes.batch_shape, bool)
    for layer in network.layers:
        fired = jnp.isfinite(times)
        drive = jnp.where(fired, jnp.exp(-jnp.where(fired, times, 0.0) / 20), 0.0)
        v = drive @ layer.connection.weight
        times = jnp.where(v > 1, 20 - 10 * jnp.log(jnp.where(v > 1, v, 1.0)), jnp.inf)
        out.append(ej.Spikes.from_dense(times))
        states.append(ej.LayerState(ej.LIFState(v, v)))
        fits = fits & (out[-1].count() <= layer.capacity)
    full = ej.RESULTS.capacity_exceeded
    codes = jnp.where(fits, ej.RESULTS.successful._value, full._value)
    counts = tuple(spikes.count() for spikes in out)
    return ej.Solution(
        spikes=tuple(out),
        frames=(None,) * len(out),
        num_spikes=counts,
        num_clipped=counts,
        final_state=tuple(states),
        voltages=None,
        max_voltages=None,
        result=eqx.tree_at(lambda result: result._value, full, codes),
        t0=jnp.asarray(0.0),
        t1=jnp.asarray(T1),
    )


def make_network(capacity: int = 64, seed: int = 1) -> ej.Network:
    keys = jr.split(jr.key(seed), 2)
    one = ej.Dense(5, 6, mean=2.5, std=0.5, key=keys[0])
    two = ej.Dense(6, 3, mean=1.5, std=0.3, key=keys[1])
    return ej.Network(
        [
            ej.Layer(one, ej.LIF(6), capacity=capacity),
            ej.Layer(two, ej.LIF(3), capacity=capacity),
        ]
    )


def make_arrays(size: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    data = ej.data.yin_yang(size, seed)
    spikes = ej.encoders.latency(data["features"], 0.0, 20.0, bias=0.0)
    return {
        **{name: np.asarray(getattr(spikes, name)) for name in SPIKES},
        "label": data["label"],
        "factor": np.ones(size),
    }


def loss_fn(network, batch, key):
    sol = simulate_toy(network, ej.Spikes(*(batch[name] for name in SPIKES)))
    times, label = sol.first_spike_times, batch["label"]
    losses = ej.losses.first_spike_cross_entropy(times, label, tau0=2.0)
    metrics = {
        "accuracy": ej.losses.first_spike_correct(times, label),
        "has_key": jnp.full(losses.shape, key is not None),
    }
    return losses * batch["factor"], sol, metrics


def make_batches(arrays):
    return ej.data.Batches(arrays, BATCH, seed=0, drop_last=True)


def fit(
    network,
    arrays,
    *,
    log=None,
    epochs=2,
    loss=loss_fn,
    optimiser=OPTIMISER,
    **settings,
):
    return ej.train.fit(
        network,
        loss,
        make_batches(arrays),
        optimiser,
        epochs=epochs,
        learning_rate=RATE,
        log=log,
        progress=False,
        key=jr.key(2),
        **settings,
    )


def validation():
    return ej.data.padded_batches(make_arrays(6, 1), BATCH)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same(one, two):
    leaves = jax.tree.leaves(one), jax.tree.leaves(two)
    assert len(leaves[0]) == len(leaves[1])
    for x, y in zip(*leaves):
        np.testing.assert_array_equal(x, y)
