"""What delays cost.

    python -m experiments.benchmark.delays
    python -m experiments.benchmark.delays --of line

On W1: a gradient step without delays, with one for each source and with one for each
synapse in both layers, drawn evenly from 0 to `longest` ms, by weights and delays.

Of a delay line: a gradient step by the weights of one layer whose input arrives at ten
lags, as a `DelayLine` and as ten times as many input spikes with a delay for each source.

All forms are compiled first and then timed in turn, so that a busy machine slows down all
of them alike; the fastest call counts.
"""

import dataclasses
import json
import pathlib
import time
from typing import Literal

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
    """Measure the cost of delays."""

    of: Literal["W1", "line"] = "W1"
    """Which comparison."""
    longest: float = 5.0
    """Delays on W1 are between 0 and this, in ms."""
    rounds: int = 100
    """How often each form is timed; a tenth of it for a delay line."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Input like that of spoken digits through a delay line, to LIF neurons."""

    num_inputs: int = 700
    events: int = 8000  # input spikes of a sample
    num_neurons: int = 256
    batch: int = 8
    lags: tuple[float, ...] = tuple(30.0 * k for k in range(10))  # ms
    last: float = 700.0  # ms, of the input
    t1: float = 1000.0  # ms
    mean: float = 0.0025  # of the weights
    std: float = 0.003
    capacity: int = 8000
    seed: int = 0


def _is_trained(x) -> bool:
    """NumPy arrays are constants."""
    return isinstance(x, jax.Array) and eqx.is_inexact_array(x)


class Step:
    """A compiled gradient step of some network, by its connections."""

    def __init__(self, network: ej.Network, spikes: ej.Spikes, loss):
        where = lambda n: [layer.connection for layer in n.layers]
        self.arrays, rest = eqx.partition(where(network), _is_trained)

        def value(arrays, spikes):
            net = eqx.tree_at(where, network, eqx.combine(arrays, rest))
            return loss(net, spikes)

        before = time.perf_counter()
        step = jax.jit(jax.value_and_grad(value, has_aux=True))
        self.step = step.lower(self.arrays, spikes).compile()
        self.compile_s = time.perf_counter() - before
        self.spikes, self.times = spikes, []

    def __call__(self):
        before = time.perf_counter()
        out = jax.block_until_ready(self.step(self.arrays, self.spikes))
        self.times.append(1e3 * (time.perf_counter() - before))
        return out

    def row(self, name: str, beside: "Step") -> dict:
        (value, counts), gradients = self()
        norms = [float(jnp.linalg.norm(x)) for x in jax.tree.leaves(gradients)]
        memory = self.step.memory_analysis().temp_size_in_bytes
        return {
            "delays": name,
            "grad_fastest_ms": round(min(self.times), 3),
            "grad_ms": round(float(np.median(self.times)), 3),
            "ratio": round(min(self.times) / min(beside.times), 2),
            "compile_s": round(self.compile_s, 1),
            "peak_mb": round(memory / 1e6, 3),
            "spikes": [round(float(x.mean()), 2) for x in counts],
            "loss": float(value),
            "gradient_norms": norms,
        }


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


def of_w1(config: Delays) -> tuple[dict[str, Step], str]:
    """The steps, and the name of that beside which they are put."""
    spec = workloads.W1()
    data = workloads.make(spec)
    network = ours.make_network(spec, data)
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    labels = jnp.asarray(data["labels"])

    def loss(network, spikes):
        sol = ej.simulate(network, spikes, t1=spec.t1)
        times = sol.first_spike_times
        losses = ej.losses.first_spike_cross_entropy(times, labels, tau0=spec.tau0)
        return losses.mean(), sol.num_spikes

    kinds = ["none", "axonal", "synaptic"]
    networks = {kind: delayed(network, kind, config.longest) for kind in kinds}
    return {kind: Step(net, spikes, loss) for kind, net in networks.items()}, "axonal"


def of_line(spec: Line) -> tuple[dict[str, Step], str]:
    """The steps, and the name of that beside which they are put."""
    rng = np.random.default_rng(spec.seed)
    shape, copies = (spec.batch, spec.events), len(spec.lags)
    times = np.sort(rng.uniform(0, spec.last, shape), axis=1).astype(np.float32)
    sources = rng.integers(0, spec.num_inputs, shape, dtype=np.int32)
    num_rows = copies * spec.num_inputs
    weights = ej.Dense(
        num_rows, spec.num_neurons, mean=spec.mean, std=spec.std, key=jr.key(spec.seed)
    )
    lags = np.repeat(np.float32(spec.lags), spec.num_inputs)  # constants
    first = np.arange(copies, dtype=np.int32) * spec.num_inputs
    repeated = (sources[:, :, None] + first).reshape(spec.batch, -1)

    def step(connection, times, sources):
        neuron = ej.LIF(spec.num_neurons)
        layer = ej.Layer(connection, neuron, capacity=spec.capacity)
        spikes = ej.Spikes(jnp.asarray(times), jnp.asarray(sources))
        return Step(ej.Network([layer]), spikes, loss)

    def loss(network, spikes):
        sol = ej.simulate(network, spikes, t1=spec.t1)
        return 1e-3 * jnp.sum(sol.final_state[0].v), sol.num_spikes

    return {
        "copies": step(
            ej.AxonalDelay(weights, lags),
            np.repeat(times, copies, axis=1),
            repeated,
        ),
        "line": step(ej.DelayLine(weights, spec.lags), times, sources),
    }, "copies"


def main(config: Delays) -> None:
    spec = workloads.W1() if config.of == "W1" else Line()
    steps, beside = of_w1(config) if config.of == "W1" else of_line(spec)
    for _ in range(config.rounds if config.of == "W1" else config.rounds // 10):
        for step in steps.values():
            step()
    rows = [step.row(name, steps[beside]) for name, step in steps.items()]
    for row in rows:
        print(json.dumps(row))
    if config.store:
        record = {
            "config": dataclasses.asdict(config),
            "spec": dataclasses.asdict(spec),
        }
        record |= {"rows": rows, "machine": _measure.machine()}
        record |= {"versions": _measure.versions("eventjax", "equinox")}
        path = RESULTS / f"delays-{config.of}-cpu.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Delays, description=__doc__))
