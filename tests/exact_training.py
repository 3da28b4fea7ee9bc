"""A tiny network with exact spike times to train, and data for it."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import eventjax as ej


BATCH, INPUTS, SPIKES = 4, 5, 12
OPTIMISER = optax.adam(0.01)


def exact_network(capacity: int = 16) -> ej.Network:
    keys = jr.split(jr.key(1), 2)
    hidden = ej.Dense(INPUTS, 6, mean=0.9, std=0.4, key=keys[0])
    out = ej.Dense(6, 2, mean=0.2, std=0.3, key=keys[1])
    return ej.Network(
        [
            ej.Layer(hidden, ej.LIF(6), capacity=capacity),
            ej.Layer(out, ej.LeakyIntegrator(2)),
        ]
    )


def exact_batches() -> ej.data.Batches:
    rng, size = np.random.default_rng(0), 3 * BATCH
    times = np.sort(rng.uniform(0.0, 30.0, (size, SPIKES)), axis=1)
    sources = rng.integers(0, INPUTS, (size, SPIKES), dtype=np.int32)
    arrays = {"times": times, "sources": sources, "label": np.arange(size) % 2}
    return ej.data.Batches(arrays, BATCH, seed=0, drop_last=True)


def exact_loss(network, batch, key):
    """`ClosedForm` and `Eventprop`."""
    spikes = ej.Spikes(jnp.asarray(batch["times"]), jnp.asarray(batch["sources"]))
    sol = ej.simulate(network, spikes, 40.0, throw=False)
    losses = ej.losses.max_voltage_cross_entropy(sol.max_voltages, batch["label"])
    return losses, sol, {}


def exact_fit(*, epochs: int, batches=None, **settings) -> ej.train.Fitted:
    return ej.train.fit(
        exact_network(),
        exact_loss,
        exact_batches() if batches is None else batches,
        OPTIMISER,
        epochs=epochs,
        key=jr.key(0),
        **settings,
    )
