"""A tiny network with exact spike times to train, and data for it."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import eventjax as ej


BATCH, INPUTS, SPIKES = 4, 5, 12
OPTIMISER = optax.adam(0.01)


def exact_network() -> ej.Network:
    """One layer: what compiles fastest."""
    connection = ej.Dense(INPUTS, 2, mean=1.2, std=0.4, key=jr.key(1))
    return ej.Network([ej.Layer(connection, ej.LIF(2), capacity=16)])


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
    times, label = sol.first_spike_times, jnp.asarray(batch["label"])
    losses = ej.losses.first_spike_cross_entropy(times, label, tau0=2.0)
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
