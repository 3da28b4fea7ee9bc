"""W2 and W2F in eventjax: exact, with its defaults `ClosedForm()` and `Eventprop()`, and
on a time grid of 1 ms with surrogate gradients, the same loss under both.

The layer holds a tenth more spikes than the busiest sample emits. Where the grid changes
the number of hidden spikes by more than 3 %, the input's weights are multiplied by a
factor that restores it, which the note states. The gradient is with respect to all weight
matrices.

In single precision a neuron that grazes the threshold may spike elsewhere or not at all,
and recurrence passes that on: hence errors of single spikes far above the typical one.
In double precision every spike is within 1e-9 ms of its place.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej
from experiments.benchmark import _measure, exact, rates, workloads


DT = 1.0  # ms
EXACT = ej.ClosedForm(), ej.Eventprop()
CLOCKED = ej.Clocked(DT), ej.Surrogate()


def make_network(spec, data, capacity: int) -> ej.Network:
    """The network with the workload's weights."""
    taus = dict(tau_mem=spec.tau_mem, tau_syn=spec.tau_syn)
    reset = dict(v_threshold=spec.threshold, v_reset=spec.v_reset)

    def dense(name):
        connection = ej.Dense(*data[name].shape, key=jr.key(0))
        return eqx.tree_at(lambda c: c.weight, connection, jnp.asarray(data[name]))

    back = None
    if spec.delay is not None:
        back = ej.AxonalDelay(dense("w_recurrent"), spec.delay)
    hidden = ej.LIF(spec.num_hidden, **taus, **reset)
    return ej.Network(
        [
            ej.Layer(dense("w_hidden"), hidden, back, capacity=capacity),
            ej.Layer(dense("w_out"), ej.LeakyIntegrator(spec.num_outputs, **taus)),
        ]
    )


def weights_of(network: ej.Network) -> list[jax.Array]:
    """The weight matrices, the input's first."""
    hidden, output = network.layers
    found = [hidden.connection.weight, output.connection.weight]
    if hidden.recurrent is not None:
        found.append(hidden.recurrent.connection.weight)
    return found


def make_loss(
    network: ej.Network, t1: float, how: tuple[Any, Any], throw: bool = True
) -> Callable:
    """The loss of weights, input spikes and labels, and what else the run gives. `how` is
    the solver and the adjoint."""

    def loss(weights, spikes, labels):
        net = eqx.tree_at(weights_of, network, weights)
        sol = ej.simulate(
            net,
            spikes,
            t1,
            integrate=ej.weightings.Exponential(),
            solver=how[0],
            adjoint=how[1],
            throw=throw,
        )
        integrals = sol.voltage_integrals
        losses = ej.losses.integral_cross_entropy(integrals, labels)
        return losses.mean(), (sol.spikes[0], sol.num_spikes[0], integrals)

    return loss


def given(data) -> tuple[ej.Spikes, jax.Array]:
    """Input spikes and labels."""
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    return spikes, jnp.asarray(data["labels"])


def on_one_device(network: ej.Network, t1: float, how) -> tuple[Callable, Callable]:
    """The forward pass and a gradient step."""
    loss = make_loss(network, t1, how)
    return loss, jax.value_and_grad(loss, has_aux=True)


def _row(name: str, network, passes, inputs, spec, **extra) -> tuple[dict, tuple]:
    """Measure the forward pass and one gradient step."""
    run, step = passes
    weights = weights_of(network)
    forward, _ = _measure.measure(run, weights, *inputs)
    gradient, ((value, out), grads) = _measure.measure(step, weights, *inputs)
    versions = _measure.versions("eventjax", "equinox")
    extra = {"loss": float(value), "versions": versions} | extra
    spikes = float(out[1].mean())
    row = _measure.row(name, spec, forward, gradient, grads, spikes=spikes, **extra)
    return row, out


def exact_row(spec, data, name: str = "eventjax", make_passes=on_one_device) -> dict:
    """Exact spike times and gradients."""
    capacity = math.ceil(1.1 * float(data["hidden_spikes"].max()))
    network = make_network(spec, data, capacity)
    note = f"exact, to {spec.t1:g} ms"
    passes = make_passes(network, spec.t1, EXACT)
    row, out = _row(name, network, passes, given(data), spec, note=note)
    spikes, _, integrals = out
    times = exact.by_neuron(spikes.times, spikes.sources, spec.num_hidden)
    error = np.abs(np.asarray(integrals) - data["integrals"])
    return (
        row
        | _measure.spike_errors(times, data["spike_times"])
        | {"integral_error": float(np.median(error))}
    )


def clocked_row(spec, data, suffix: str = "", make_passes=on_one_device) -> dict:
    """Time steps and surrogate gradients."""
    network, inputs = make_network(spec, data, 1), given(data)
    run = jax.jit(make_loss(network, spec.t1, CLOCKED))
    into, *others = weights_of(network)

    def count(factor):
        return float(run([factor * into, *others], *inputs)[1][1].mean())

    factor = rates.equal_rates(count, float(data["hidden_spikes"].mean()))
    network = eqx.tree_at(weights_of, network, [factor * into, *others])
    scaled = "" if factor == 1 else f", input weights x {factor:.3f}"
    return _row(
        f"eventjax, Clocked({DT:g} ms), Surrogate{suffix}",
        network,
        make_passes(network, spec.t1, CLOCKED),
        inputs,
        spec,
        note=f"surrogate gradient, the same loss{scaled}",
    )[0]


def rows(spec, data) -> Iterator[dict]:
    """Measure both."""
    yield exact_row(spec, data)
    yield clocked_row(spec, data)


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
