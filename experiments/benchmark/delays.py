"""What delays cost: a gradient step of W1 without delays, with one for each source and
with one for each synapse, all of them trained.

    python -m experiments.benchmark.delays

Delays are drawn evenly from 0 to `longest` ms in both layers. The gradient is with respect
to weights and delays, where there are any. All forms are compiled first and then timed in
turn, so that a busy machine slows down all of them alike; the fastest of many calls counts.
"""

import dataclasses
import json
import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tyro

import eventjax as ej
from experiments.benchmark import _measure, ours, workloads


RESULTS = pathlib.Path(__file__).resolve().parent / "results"


@dataclasses.dataclass(frozen=True)
class Delays:
    """Measure the cost of delays on W1."""

    longest: float = 5.0
    """Delays are between 0 and this, in ms."""
    rounds: int = 100
    """How often each form is timed."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


def delayed(network: ej.Network, kind: str, longest: float) -> ej.Network:
    """The network with delays of one kind: `none`, `axonal` or `synaptic`."""
    layers = []
    for k, layer in enumerate(network.layers):
        shape = layer.connection.in_size, layer.neuron.size
        delay = jr.uniform(jr.key(k), shape, maxval=longest)
        connection = {
            "none": lambda: layer.connection,
            "axonal": lambda: ej.AxonalDelay(layer.connection, delay[:, 0]),
            "synaptic": lambda: ej.SynapticDelay(layer.connection, delay),
        }[kind]()
        layers.append(ej.Layer(connection, layer.neuron, capacity=layer.capacity))
    return ej.Network(layers)


def gradient_step(spec, data, kind: str, longest: float):
    """The compiled gradient step, its arguments, and the seconds it took to compile."""
    network = delayed(ours.make_network(spec, data), kind, longest)
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    labels = jnp.asarray(data["labels"])
    arrays, rest = eqx.partition(
        [layer.connection for layer in network.layers], eqx.is_inexact_array
    )

    def loss(arrays):
        connections = eqx.combine(arrays, rest)
        net = eqx.tree_at(
            lambda n: [layer.connection for layer in n.layers], network, connections
        )
        sol = ej.simulate(net, spikes, t1=spec.t1)
        times = sol.first_spike_times
        losses = ej.losses.first_spike_cross_entropy(times, labels, tau0=spec.tau0)
        return losses.mean(), sol.num_spikes

    before = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(arrays).compile()
    return step, arrays, time.perf_counter() - before


def measure(config: Delays) -> list[dict]:
    """One row for each form."""
    spec = workloads.W1()
    data = workloads.make(spec)
    kinds = ["none", "axonal", "synaptic"]
    steps = {kind: gradient_step(spec, data, kind, config.longest) for kind in kinds}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(config.rounds + 3):
        for kind, (step, arrays, _) in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(arrays))
            times[kind].append(1e3 * (time.perf_counter() - start))
    rows = []
    for kind, (step, arrays, compile_s) in steps.items():
        (value, counts), gradients = step(arrays)
        rows.append(
            {
                "delays": kind,
                "grad_fastest_ms": round(min(times[kind][3:]), 3),
                "grad_ms": round(float(np.median(times[kind][3:])), 3),
                "times_axonal": round(
                    min(times[kind][3:]) / min(times["axonal"][3:]), 2
                ),
                "compile_s": round(compile_s, 1),
                "peak_mb": round(step.memory_analysis().temp_size_in_bytes / 1e6, 3),
                "spikes": [round(float(x.mean()), 2) for x in counts],
                "loss": float(value),
                "gradient_norms": [
                    float(jnp.linalg.norm(x)) for x in jax.tree.leaves(gradients)
                ],
            }
        )
    return rows


def main(config: Delays) -> None:
    rows = measure(config)
    for row in rows:
        print(json.dumps(row))
    if config.store:
        record = {"config": dataclasses.asdict(config), "rows": rows}
        record |= {"machine": _measure.machine()}
        record |= {"versions": _measure.versions("eventjax", "equinox")}
        path = RESULTS / "W1-delays-cpu.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Delays, description=__doc__))
