"""WD in eventjax: the same network by event detection and in closed form, each with
`Eventprop()`.

The layer holds a tenth more spikes than the busiest sample emits. The gradient is with
respect to input and recurrent weights, like that of the other library.
"""

import math
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import eventjax as ej
from experiments.benchmark import _measure, exact, workloads


def make_layer(spec, data) -> ej.Layer:
    """The layer with the workload's weights."""
    neuron = ej.LIF(
        spec.num_hidden,
        tau_mem=spec.tau_mem,
        tau_syn=spec.tau_syn,
        v_threshold=spec.threshold,
        v_reset=spec.v_reset,
    )

    def dense(weight):
        connection = ej.Dense(*weight.shape, key=jr.key(0))
        return eqx.tree_at(lambda c: c.weight, connection, jnp.asarray(weight))

    capacity = math.ceil(1.1 * float(data["hidden_spikes"].max()))
    into, back = dense(data["w_hidden"]), dense(data["w_recurrent"])
    return ej.Layer(into, neuron, back, capacity=capacity)


def measure(name: str, solver, spec, data) -> dict:
    """Measure the forward pass and one gradient step."""
    layer = make_layer(spec, data)
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    where = lambda layer: (layer.connection.weight, layer.recurrent.weight)

    def loss(weights):
        network = ej.Network([eqx.tree_at(where, layer, weights)])
        sol = ej.simulate(
            network, spikes, t1=spec.t1, solver=solver, adjoint=ej.Eventprop()
        )
        times = sol.spikes[0].times
        part = jnp.where(jnp.isfinite(times), times, 0.0) / spec.t1
        losses = jnp.sum(part**2, axis=1) / spec.num_hidden
        return losses.mean(), (sol.spikes[0], sol.num_spikes[0])

    forward, _ = _measure.measure(loss, where(layer))
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, (out, counts)), grads) = _measure.measure(step, where(layer))
    times = exact.by_neuron(out.times, out.sources, spec.num_hidden)
    return _measure.row(
        name,
        spec,
        forward,
        gradient,
        list(grads),
        spikes=float(counts.mean()),
        loss=float(value),
        **_measure.spike_errors(times, data["spike_times"]),
        note=f"{type(solver).__name__}, to {spec.t1:g} ms",
        versions=_measure.versions("eventjax", "diffrax", "equinox"),
    )


def rows(spec, data) -> Iterator[dict]:
    """Measure both solvers."""
    yield measure("eventjax, closed form", ej.ClosedForm(), spec, data)
    yield measure("eventjax", ej.DiffraxEvent(), spec, data)


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
