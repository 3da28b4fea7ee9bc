"""What a gradient step of layers with graded spikes costs, beside Equinox's GRU.

    python -m experiments.benchmark.graded
    python -m experiments.benchmark.graded --store

Two layers of 550 units and a readout of 61 classes for each frame, 64 sequences of 100
frames with 40 values each, in float32: the sizes of a network for phones. Weights and
inputs are random. Equinox's GRU is two `equinox.nn.GRUCell` under `jax.lax.scan` with a
linear readout and no normalisation; all others are `eventjax.graded.Classifier` in
training, with normalisation, ranges and dropout.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import eventjax as ej
from experiments.benchmark import _measure


INPUTS, OUTPUTS, LAYERS = 40, 61, 2


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measure the gradient step of each kind of network."""

    units: int = 550
    """Of each of the two layers."""
    frames: int = 100
    batch: int = 64
    seconds: float = 10.0
    """About how long to time each step, after compilation and warm-up."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


class PlainGRU(eqx.Module):
    """What a user of Equinox would write."""

    cells: list[eqx.nn.GRUCell]
    readout: eqx.nn.Linear

    def __init__(self, units: int, key: jax.Array):
        keys = jr.split(key, LAYERS + 1)
        sizes = [INPUTS] + [units] * LAYERS
        self.cells = [
            eqx.nn.GRUCell(a, b, key=k) for a, b, k in zip(sizes, sizes[1:], keys)
        ]
        self.readout = eqx.nn.Linear(units, OUTPUTS, key=keys[-1])

    def __call__(self, frames: jax.Array) -> jax.Array:
        """Of one sequence, `[frames, inputs]`."""
        x = frames
        for cell in self.cells:

            def step(state, x, cell=cell):
                new = cell(x, state)
                return new, new

            _, x = jax.lax.scan(step, jnp.zeros(cell.hidden_size, x.dtype), x)
        return jax.vmap(self.readout)(x)


def make_classifier(kind: str, units: int, key: jax.Array) -> ej.graded.Classifier:
    """With 6 bits and a dead zone of 3 quanta, the settings of the paper's code."""
    g = ej.graded
    quantiser = lambda: g.Quantiser(6, 3)
    layers, before = [], INPUTS
    for k in jr.split(key, LAYERS):
        rest = dict(dropout=0.2, key=k)
        if kind in ("gru", "lstm"):
            cell = eqx.nn.GRUCell if kind == "gru" else eqx.nn.LSTMCell
            layers.append(g.Cells(cell, before, units, **rest))
        elif kind == "conventional":
            layers.append(g.Conventional(before, units, quantiser(), **rest))
        else:
            recurrent = kind == "v2"
            layers.append(
                g.Gated(before, units, quantiser(), recurrent=recurrent, **rest)
            )
        before = units
    encoder = None if kind in ("gru", "lstm") else g.Encoder(INPUTS, quantiser())
    return g.Classifier(encoder, layers, g.Readout(units, OUTPUTS, key=key))


def gradient_step(network: Any) -> tuple[Callable, Any]:
    """A function of weights, frames and classes, and the weights."""
    weights, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(weights, frames, classes):
        network = eqx.combine(weights, rest)
        if isinstance(network, PlainGRU):
            y, drift = jax.vmap(network)(frames), jnp.zeros(())
        else:
            passed = network(frames, key=jr.key(1))
            y, drift = passed.outputs, passed.drift
        found = optax.softmax_cross_entropy_with_integer_labels(y, classes)
        return found.mean() + drift

    return jax.value_and_grad(loss), weights


def times(config: Costs) -> Iterator[dict[str, Any]]:
    """A row for each network; `ratio` is that of CPU times, to Equinox's GRU."""
    rng, key = np.random.default_rng(0), jr.key(0)
    shape = config.batch, config.frames
    frames = jnp.asarray(rng.normal(size=(*shape, INPUTS)), jnp.float32)
    classes = jnp.asarray(rng.integers(OUTPUTS, size=shape))
    first = None
    for who in ("Equinox GRU", "v2", "v1", "conventional", "gru", "lstm"):
        if who == "Equinox GRU":
            network = PlainGRU(config.units, key)
        else:
            network = make_classifier(who, config.units, key)
            network = ej.graded.calibrate(network, frames, key=key)
        step, weights = gradient_step(network)
        timing, (value, grads) = _measure.measure(
            step, weights, frames, classes, seconds=config.seconds
        )
        if not all(
            np.isfinite(x).all() for x in map(np.asarray, jax.tree.leaves(grads))
        ):
            raise ValueError(f"the gradient of {who} is not finite")
        jax.clear_caches()
        first = first or timing
        yield {
            "who": who,
            "grad_ms": round(timing.wall_ms, 3),
            "grad_fastest_ms": round(timing.fastest_ms, 3),
            "cpu_ms": round(timing.cpu_ms, 3),
            "ratio": round(timing.cpu_ms / first.cpu_ms, 3),
            "compile_s": round(timing.compile_s, 2),
            "peak_mb": round(timing.memory_mb, 3),
            "loss": float(value),
        }


def table(config: Costs, rows: list[dict[str, Any]]) -> Table:
    size = f"{config.batch} x {config.frames} x {config.units}"
    out = Table(title=f"gradient step, {size}")
    for name in ("network", "ms", "CPU ms", "to Equinox's GRU", "MB"):
        out.add_column(name, justify="left" if name == "network" else "right")
    for row in rows:
        figures = row["grad_ms"], row["cpu_ms"], row["ratio"], row["peak_mb"]
        out.add_row(row["who"], *(f"{x:.2f}" for x in figures))
    return out


def main(config: Costs) -> None:
    rows = []
    for row in times(config):
        print(json.dumps(row), flush=True)
        rows.append(row)
    Console(stderr=True).print(table(config, rows))
    if config.store:
        print(f"stored in {_measure.store('graded', config, rows)}")


if __name__ == "__main__":
    main(tyro.cli(Costs, description=__doc__))
