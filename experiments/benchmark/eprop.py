"""What a gradient step of e-prop costs, beside backpropagation through time (BPTT).

    python -m experiments.benchmark.eprop
    python -m experiments.benchmark.eprop --store

One recurrent layer of 400 adaptive neurons, `SteppedALIF`, that is given 39 values in each
step of 1 ms, and a readout of 61 classes, which is asked in each step: the sizes of a
network for phones. Weights and input are random; the input's weights are such that neurons
fire at a few per cent of the steps. Values are float32. BPTT is `Surrogate` with the same
pseudo-derivative; the two forms of e-prop give the same gradient.

- Memory: temporary bytes of the compiled gradient step at 100, 1,000 and 10,000 steps, one
  sample. What of it the layer takes is the difference to the same program with a single
  neuron in its place: both hold the input, the readout's voltages and their derivatives.
  Nothing is run.
- Time: a gradient step of 2,000 steps at batch 1 and 32. That of the trace form, which is
  for learning while a network runs, is taken at batch 1 only.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import eventjax as ej
from experiments.benchmark import _measure


TRIANGLE = ej.surrogates.Triangle(1.6, 0.3)
HOW = {
    "BPTT": ej.Surrogate(TRIANGLE),
    "factorised": ej.EProp(shape=TRIANGLE),
    "traces": ej.EProp(shape=TRIANGLE, form="traces"),
}
INPUTS, OUTPUTS = 39, 61
MEMORY_STEPS = 100, 1000, 10_000
BATCHES = 1, 32


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measure memory and time of a gradient step of e-prop."""

    neurons: int = 400
    """Of the recurrent layer."""
    steps: int = 2000
    """Of which a time is taken."""
    seconds: float = 5.0
    """About how long to time each step, after compilation and warm-up."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


def make_network(neurons: int) -> ej.Network:
    """With a recurrence whose strength does not depend on the number of neurons."""
    k1, k2, k3 = jax.random.split(jax.random.key(0), 3)
    dense, size = ej.Dense, neurons**-0.5
    layer = ej.Layer(
        dense(INPUTS, neurons, mean=0.0, std=0.7 * INPUTS**-0.5, key=k1),
        ej.SteppedALIF(neurons),
        dense(neurons, neurons, mean=0.0, std=size, key=k2),
    )
    readout = ej.DeltaIntegrator(OUTPUTS, tau_mem=3.0, bias=[0.0] * OUTPUTS)
    return ej.Network(
        [layer, ej.Layer(dense(neurons, OUTPUTS, mean=0.0, std=size, key=k3), readout)]
    )


def gradient_step(neurons: int, steps: int, rule: Any) -> tuple[Callable, ej.Network]:
    """A function of weights, input and classes, and the weights."""
    weights, rest = eqx.partition(make_network(neurons), eqx.is_array)

    def loss(weights, values, classes):
        sol = ej.simulate(
            eqx.combine(weights, rest),
            ej.Frames(values, 1.0),
            float(steps),
            record=jnp.arange(1.0, steps + 1),
            solver=ej.Clocked(1.0),
            adjoint=rule,
        )
        y = sol.voltages[-1]
        found = optax.softmax_cross_entropy_with_integer_labels(y, classes)
        return found.mean(), sol.num_spikes[0]

    return jax.value_and_grad(loss, has_aux=True), weights


def inputs(steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Values that change as slowly as features of speech do, and classes."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(batch, -(-steps // 10), INPUTS)).repeat(10, axis=1)
    classes = rng.integers(OUTPUTS, size=(batch, steps))
    return values[:, :steps].astype(np.float32), classes


def temporary(neurons: int, steps: int, rule: Any) -> float:
    """MB of the compiled program for one sample."""
    step, weights = gradient_step(neurons, steps, rule)
    memory = jax.jit(step).lower(weights, *inputs(steps, 1)).compile().memory_analysis()
    jax.clear_caches()
    return memory.temp_size_in_bytes / 1e6


def memory(config: Costs) -> Iterator[dict[str, Any]]:
    """A row for each rule and number of steps."""
    for who, rule in HOW.items():
        for steps in MEMORY_STEPS:
            peak = temporary(config.neurons, steps, rule)
            layer = peak - temporary(1, steps, rule)
            found = {"peak_mb": round(peak, 3), "layer_mb": round(layer, 3)}
            yield {"what": "memory", "who": who, "batch": 1, "steps": steps} | found


def times(config: Costs) -> Iterator[dict[str, Any]]:
    """A row for each rule and batch; `ratio` is that of CPU times, to BPTT."""
    beside = {}
    for batch in BATCHES:
        given = inputs(config.steps, batch)
        for who, rule in HOW.items():
            if who == "traces" and batch > 1:
                continue
            step, weights = gradient_step(config.neurons, config.steps, rule)
            arguments = weights, *map(jnp.asarray, given)
            timing, out = _measure.measure(step, *arguments, seconds=config.seconds)
            (value, spikes), grads = out
            if not all(
                np.isfinite(x).all() for x in map(np.asarray, jax.tree.leaves(grads))
            ):
                raise ValueError(
                    f"the gradient of {who} is not finite at batch {batch}"
                )
            jax.clear_caches()
            beside.setdefault(batch, timing)
            rate = float(spikes.mean()) / config.neurons / config.steps
            yield {
                "what": "time",
                "who": who,
                "batch": batch,
                "steps": config.steps,
                "grad_ms": round(timing.wall_ms, 3),
                "grad_fastest_ms": round(timing.fastest_ms, 3),
                "cpu_ms": round(timing.cpu_ms, 3),
                "ratio": round(timing.cpu_ms / beside[batch].cpu_ms, 3),
                "compile_s": round(timing.compile_s, 2),
                "peak_mb": round(timing.memory_mb, 3),
                "loss": float(value),
                "spikes_per_step": round(rate, 4),
            }


def table(rows: list[dict[str, Any]]) -> Table:
    """What was measured, times and memory under one another."""
    out = Table(title="gradient step")
    names = "who", "batch", "steps", "ms", "CPU ms", "to BPTT", "MB", "of the layer"
    for name in names:
        out.add_column(name, justify="left" if name == "who" else "right")
    show = lambda row, name, digits: f"{row[name]:.{digits}f}" if name in row else "-"
    for row in rows:
        out.add_row(
            row["who"],
            f"{row['batch']}",
            f"{row['steps']}",
            show(row, "grad_ms", 1),
            show(row, "cpu_ms", 1),
            show(row, "ratio", 2),
            show(row, "peak_mb", 2),
            show(row, "layer_mb", 2),
        )
    return out


def main(config: Costs) -> None:
    rows = []
    for measured in (memory(config), times(config)):
        for row in measured:
            print(json.dumps(row), flush=True)
            rows.append(row)
    Console(stderr=True).print(table(rows))
    if config.store:
        print(f"stored in {_measure.store('eprop', config, rows)}")


if __name__ == "__main__":
    main(tyro.cli(Costs, description=__doc__))
