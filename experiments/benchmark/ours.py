"""W1 and W3 in eventjax, with its defaults: `ClosedForm()` and `Eventprop()`.

Layers hold a tenth more spikes than the busiest sample emits, as they would after
`ej.init.suggest_capacity`. The gradient is with respect to both weight matrices, like
that of the other libraries. W3 is measured a second time with outputs that spike and the
loss of W1, because jaxsnn has no others.
"""

import dataclasses
import math
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import eventjax as ej
from experiments.benchmark import _measure, ours_clocked, workloads


def make_network(spec, data) -> ej.Network:
    """The network with the workload's weights."""
    taus = dict(tau_mem=spec.tau_mem, tau_syn=spec.tau_syn)
    reset = dict(v_threshold=spec.threshold, v_reset=spec.v_reset)
    hidden = ej.LIF(spec.num_hidden, **taus, **reset)
    if spec.spiking_outputs:
        output = ej.LIF(spec.num_outputs, **taus, **reset)
    else:
        output = ej.LeakyIntegrator(spec.num_outputs, **taus)
    layers = []
    for neuron, name, count in (
        (hidden, "w_hidden", "hidden_spikes"),
        (output, "w_out", "output_spikes"),
    ):
        key = jr.key(0)  # of weights that are replaced
        connection = ej.Dense(*data[name].shape, key=key)
        weight = jnp.asarray(data[name])
        connection = eqx.tree_at(lambda c: c.weight, connection, weight)
        capacity = math.ceil(1.1 * float(data[count].max()))
        layers.append(ej.Layer(connection, neuron, capacity=capacity))
    return ej.Network(layers)


def parts(spec, data) -> tuple:
    """The network's weights and its rest, input spikes and labels."""
    network = make_network(spec, data)
    is_weight = eqx.tree_at(
        lambda n: [layer.connection.weight for layer in n.layers],
        jax.tree.map(lambda _: False, network),
        replace=[True] * len(network.layers),
    )
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    return *eqx.partition(network, is_weight), spikes, jnp.asarray(data["labels"])


def measure(spec, data) -> dict:
    """Measure the forward pass and one gradient step."""
    weights, rest, spikes, labels = parts(spec, data)

    def loss(weights):
        sol = ej.simulate(eqx.combine(weights, rest), spikes, t1=spec.t1)
        if spec.spiking_outputs:
            out = sol.first_spike_times
            losses = ej.losses.first_spike_cross_entropy(out, labels, tau0=spec.tau0)
        else:
            out = sol.max_voltages
            losses = ej.losses.max_voltage_cross_entropy(out, labels)
        return losses.mean(), (out, sol.num_spikes)

    forward, _ = _measure.measure(loss, weights)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, (out, counts)), grads) = _measure.measure(step, weights)
    if spec.spiking_outputs:
        checked = {
            "output_spikes": float(counts[1].mean()),
            "first_spike_error_ms": _measure.median_error(out, data["first_spikes"]),
        }
    else:
        checked = {"voltage_error": _measure.median_error(out, data["max_voltages"])}
    return _measure.row(
        "eventjax",
        spec,
        forward,
        gradient,
        jax.tree.leaves(grads),
        spikes=float(counts[0].mean()),
        loss=float(value),
        **checked,
        note=f"exact, to {spec.t1:g} ms",
        versions=_measure.versions("eventjax", "equinox"),
    )


def rows(spec, data) -> Iterator[dict]:
    """Measure the workload's network, and that with outputs that spike."""
    yield measure(spec, data)
    if spec.spiking_outputs:
        yield ours_clocked.row(spec, *parts(spec, data))
    if not spec.spiking_outputs:
        spiking = dataclasses.replace(spec, spiking_outputs=True)
        yield measure(spiking, data) | {"library": "eventjax, LIF outputs"}


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
