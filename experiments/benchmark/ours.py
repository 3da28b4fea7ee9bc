"""W1 in eventjax, with its defaults: `ClosedForm()` and `Eventprop()`; and on a time grid.

Layers hold a tenth more spikes than the busiest sample emits, as they would after
`ej.init.suggest_capacity`. The gradient is with respect to both weight matrices, like
that of the other libraries.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import eventjax as ej
from experiments.benchmark import _measure, ours_clocked, workloads


def make_network(spec, data) -> ej.Network:
    """The network with the workload's weights."""
    key = jr.key(0)  # of weights that are replaced
    layers = []
    for name, count in (("w_hidden", "hidden_spikes"), ("w_out", "output_spikes")):
        neuron = ej.LIF(
            data[name].shape[1],
            tau_mem=spec.tau_mem,
            tau_syn=spec.tau_syn,
            v_threshold=spec.threshold,
            v_reset=spec.v_reset,
        )
        connection = ej.Dense(*data[name].shape, key=key)
        weight = jnp.asarray(data[name])
        connection = eqx.tree_at(lambda c: c.weight, connection, weight)
        capacity = math.ceil(1.1 * float(data[count].max()))
        layers.append(ej.Layer(connection, neuron, capacity=capacity))
    return ej.Network(layers)


def rows(spec, data) -> list[dict]:
    """Measure the forward pass and one gradient step."""
    network = make_network(spec, data)
    is_weight = eqx.tree_at(
        lambda n: [layer.connection.weight for layer in n.layers],
        jax.tree.map(lambda _: False, network),
        replace=[True] * len(network.layers),
    )
    weights, rest = eqx.partition(network, is_weight)
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    labels = jnp.asarray(data["labels"])

    def loss(weights):
        sol = ej.simulate(eqx.combine(weights, rest), spikes, t1=spec.t1)
        times = sol.first_spike_times
        losses = ej.losses.first_spike_cross_entropy(times, labels, tau0=spec.tau0)
        return losses.mean(), (times, sol.num_spikes)

    forward, _ = _measure.measure(loss, weights)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, (times, counts)), grads) = _measure.measure(step, weights)
    return [
        _measure.row(
            "eventjax",
            spec,
            forward,
            gradient,
            jax.tree.leaves(grads),
            spikes=float(counts[0].mean()),
            output_spikes=float(counts[1].mean()),
            loss=float(value),
            first_spike_error_ms=_measure.first_spike_error(
                times, data["first_spikes"]
            ),
            note=f"exact, to {spec.t1:g} ms",
            versions=_measure.versions("eventjax", "equinox"),
        ),
        ours_clocked.row(spec, weights, rest, spikes, labels),
    ]


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
