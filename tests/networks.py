"""Networks and input from plain arrays, for tests that compare them with something."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import reference
from jaxtyping import Array

import eventjax as ej


def dense(weight: Array, delay: Array | None = None) -> ej.AbstractConnection:
    weight = jnp.asarray(weight)
    connection = ej.Dense(*weight.shape, dtype=weight.dtype, key=jr.key(0))
    connection = eqx.tree_at(lambda c: c.weight, connection, weight)
    return connection if delay is None else ej.AxonalDelay(connection, delay)


def random_lif(rng: np.random.Generator, size: int, taus: str = "mixed") -> dict:
    """Parameters of `LIF`, one value for each neuron."""
    tau_mem, tau_syn = rng.uniform(5, 25, size), rng.uniform(2, 10, size)
    if taus == "equal":
        tau_syn = tau_mem
    elif taus == "near":
        tau_syn = tau_mem * (1 + 10 ** rng.uniform(-16, -2, size))
    elif taus == "swapped":
        tau_mem, tau_syn = tau_syn, tau_mem
    parameters = dict(
        tau_mem=tau_mem,
        tau_syn=tau_syn,
        v_threshold=rng.uniform(0.8, 1.2, size),
        v_reset=rng.uniform(-0.5, 0.1, size),
        bias=rng.uniform(-0.3, 0.6, size),
    )
    return {name: jnp.asarray(x) for name, x in parameters.items()}


def random_weight(rng, lif: dict, in_size: int, mean: float, std: float) -> Array:
    """Weights scaled so that time constants do not change the number of spikes."""
    scale = 0.6 * np.asarray(lif["tau_mem"] / lif["tau_syn"])
    return jnp.asarray(rng.normal(mean, std, (in_size, len(scale))) * scale)


def random_spikes(rng, batch: int, capacity: int, sources: int, t1: float) -> ej.Spikes:
    """Sorted random input with a few places empty."""
    times = np.sort(rng.uniform(0, t1, (batch, capacity)), axis=1)
    for row in times:
        row[capacity - rng.integers(0, 4) :] = np.inf
    index = rng.integers(0, sources, times.shape, dtype=np.int32)
    return ej.Spikes(jnp.asarray(times), jnp.where(jnp.isfinite(times), index, 0))


def reference_run(
    layer: ej.Layer, times, sources, t1: float, v=0.0, i=0.0
) -> reference.Run:
    """What the reference simulator says of one layer and one sample. `layer` is made of
    `dense` connections."""

    def weight_and_delay(connection):
        delay = connection.delays()
        if delay is not None:
            connection = connection.connection
        return connection.weight, np.zeros(1) if delay is None else np.asarray(delay)

    times, sources = np.asarray(times), np.asarray(sources)
    there = np.isfinite(times)
    rows, delay = weight_and_delay(layer.connection)
    recurrent = recurrent_delay = None
    if layer.recurrent is not None:
        recurrent, recurrent_delay = weight_and_delay(layer.recurrent)
    arrival = times[there] + np.broadcast_to(delay, len(rows))[sources[there]]
    neuron = layer.neuron
    return reference.simulate(
        rows,
        arrival,
        sources[there],
        t1,
        tau_mem=neuron.tau_mem,
        tau_syn=neuron.tau_syn,
        v_threshold=getattr(neuron, "v_threshold", np.inf),
        v_reset=getattr(neuron, "v_reset", 0.0),
        bias=neuron.bias,
        v=v,
        i=i,
        recurrent=recurrent,
        recurrent_delay=0.0 if recurrent_delay is None else recurrent_delay,
    )
