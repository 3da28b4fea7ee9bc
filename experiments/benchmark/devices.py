"""What it costs and gives to divide a gradient step between devices of one CPU.

    python -m experiments.benchmark.devices
    python -m experiments.benchmark.devices --store

The step is that of `eventjax.train.make_step` with `devices=`, on W2F (or W2) of a quarter
of its length, its batch on the host as in training. Each number of devices has a process of
its own. They are virtual: they share the machine's cores, so more of them than it has
cores cannot be faster, and show what dividing costs. The gradients are compared with those
of one device; an optimiser that changes nothing has them for its state.
"""

import concurrent.futures
import dataclasses
import functools as ft
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import eventjax as ej
from experiments.benchmark import _measure, ours_spoken, workloads


@dataclasses.dataclass(frozen=True)
class Devices:
    """Measure a gradient step on several numbers of devices."""

    workload: Literal["W2F", "W2"] = "W2F"
    counts: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices; the first is what the others are compared with."""
    batch: int = 32
    """Samples; each number of devices must divide it."""
    events: int = 2000
    """Input spikes of a sample."""
    hidden: int = 256
    t1: float = 250.0
    """ms"""
    capacity: int = 2048
    """Of the hidden layer, spikes of a sample."""
    seconds: float = 20.0
    """About how long to time each step, after compilation and warm-up."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


KEEP_GRADIENT = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
)


def loss_fn(network: ej.Network, batch: dict, key: None, *, t1: float) -> tuple:
    """The loss of `ours_spoken`, as `fit` wants it."""
    sol = ej.simulate(
        network,
        ej.Spikes(batch["times"], batch["sources"]),
        t1,
        integrate=ej.weightings.Exponential(),
        throw=False,
    )
    labels = batch["labels"]
    return ej.losses.integral_cross_entropy(sol.voltage_integrals, labels), sol, {}


def measured(config: Devices, count: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The row of one number of devices, and the gradients. For a new process: the number
    of devices cannot be changed later."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
    sizes = dict(batch=config.batch, events=config.events, num_hidden=config.hidden)
    spec = workloads.WORKLOADS[config.workload](**sizes, t1=config.t1)
    data = workloads.arrays(spec)
    network = ours_spoken.make_network(spec, data, config.capacity)
    batch = {name: data[name] for name in ("times", "sources", "labels")}
    state = KEEP_GRADIENT.init(eqx.filter(network, eqx.is_inexact_array))
    devices = None if count == 1 else jax.devices()
    loss = ft.partial(loss_fn, t1=config.t1)
    step = ej.train.make_step(loss, KEEP_GRADIENT, devices=devices)

    def once():
        nonlocal network, state
        wall, cpu = time.perf_counter(), time.process_time()
        report, network, state = step((batch, None), network, state)
        jax.block_until_ready(state)
        return report, time.perf_counter() - wall, time.process_time() - cpu

    report, first, _ = once()
    if not (bool(report.simulated) and bool(report.finite)):
        raise ValueError(
            f"the step failed; spikes needed: {report.needed[0]}, `capacity` is "
            f"{config.capacity}"
        )
    _, estimate, _ = once()
    runs = [once()[1:] for _ in range(int(np.clip(config.seconds / estimate, 3, 200)))]
    walls, cpus = zip(*runs, strict=True)
    row = {
        "devices": count,
        "step_ms": round(1e3 * statistics.median(walls), 3),
        "step_fastest_ms": round(1e3 * min(walls), 3),
        "cpu_ms": round(1e3 * statistics.fmean(cpus), 3),
        "first_s": round(first, 2),
        "spikes": float(jnp.sum(report.spike_counts[0])) / config.batch,
    }
    return row, [np.asarray(x) for x in ours_spoken.weights_of(state)]


def rows(config: Devices) -> Iterator[dict[str, Any]]:
    """A row for each number of devices; `gradient_difference` is the largest difference
    from the first one's gradients, in units of the largest gradient."""
    first = None
    for count in config.counts:
        fresh = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, fresh) as executor:
            row, grads = executor.submit(measured, config, count).result()
        first = grads if first is None else first
        different = max(np.max(np.abs(x - y)) for x, y in zip(grads, first))
        largest = max(np.max(np.abs(x)) for x in first)
        if not (np.isfinite(different) and largest > 0):
            raise ValueError(
                f"nothing to compare: the largest gradient is {largest}, with "
                f"{row['spikes']} spikes per sample"
            )
        yield row | {"gradient_difference": float(different / largest)}


def table(config: Devices, rows: list[dict[str, Any]]) -> Table:
    out = Table(title=f"gradient step, {config.workload}, batch {config.batch}")
    for name in ("devices", "ms", "times faster", "CPU ms", "gradients differ by"):
        out.add_column(name, justify="right")
    for row in rows:
        faster = rows[0]["step_ms"] / row["step_ms"]
        figures = f"{row['step_ms']:.1f}", f"{faster:.2f}", f"{row['cpu_ms']:.1f}"
        different = f"{row['gradient_difference']:.0e}"
        out.add_row(str(row["devices"]), *figures, different)
    return out


def main(config: Devices) -> None:
    found = []
    for row in rows(config):
        print(json.dumps(row), flush=True)
        found.append(row)
    Console(stderr=True).print(table(config, found))
    if config.store:
        print(f"stored in {_measure.store('devices', config, found)}")


if __name__ == "__main__":
    main(tyro.cli(Devices, description=__doc__))
