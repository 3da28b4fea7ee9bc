"""The same files of NIR in eventjax and in spyx: do they spike alike?

Four networks of two layers, with and without synaptic currents, feed-forward and
recurrent, are written to files of NIR, one for each length of spyx's time step. Both
libraries read each file. Ours runs on the same time grid (`Clocked`) and exactly
(`ClosedForm`). What is compared is when each neuron of each layer spikes.

Networks without synaptic currents have no inhibition, and inputs come one at a time: there
several spikes that arrive at the same moment have no order on a time grid, and one after
the other they lead to as many spikes only if none of them inhibits.

    python -m experiments.benchmark.make_peers spyx
    python -m experiments.interchange --store
"""

import dataclasses
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import eventjax as ej

from .benchmark import make_peers


ROOT = Path(__file__).resolve().parents[1]
KINDS = ("LIF", "recurrent LIF", "DeltaLIF", "recurrent DeltaLIF")
# Steps by which a spike of a layer is later in spyx than under `Clocked`, apart from
# differences in the voltages themselves. spyx looks for spikes before it adds the input,
# so that each layer adds a step. With synaptic currents the voltage follows the current
# within the step, and `Clocked` puts arrivals at the end of theirs: there it is earlier.
LAGS = {"LIF": (-1, -2), "DeltaLIF": (1, 2)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in ms. Steps must be powers of two, so that input times are grid points
    of each."""

    inputs: int = 20
    hidden: int = 30
    outputs: int = 10
    t1: float = 100.0
    steps: tuple[float, ...] = (0.5, 0.25, 0.125, 0.0625, 0.03125)
    spikes: int = 100
    tau_mem: float = 20.0
    tau_syn: float = 5.0
    window: float = 3.0
    """Spikes of one neuron that are further apart do not match."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Options:
    store: bool = False
    """Write the figures to `experiments/results/nir/spyx.json`."""


def make_inputs(settings: Settings) -> ej.Spikes:
    """No two spikes at one time, each at a grid point of the coarsest grid."""
    rng = np.random.default_rng(settings.seed)
    coarse = max(settings.steps)
    places = round(settings.t1 / coarse)
    times = coarse * np.sort(rng.choice(places, settings.spikes, replace=False))
    sources = rng.integers(0, settings.inputs, settings.spikes, np.int32)
    return ej.Spikes(jnp.asarray(times, jnp.float32), jnp.asarray(sources))


def make_network(kind: str, settings: Settings) -> ej.Network:
    """Each with a few spikes for each neuron."""
    keys = iter(jax.random.split(jax.random.key(settings.seed), 3))
    delta = kind.endswith("DeltaLIF")

    def dense(before: int, after: int, mean: float, std: float) -> ej.Dense:
        made = ej.Dense(before, after, mean=mean, std=std, key=next(keys))
        weight = jnp.abs(made.weight) if delta else made.weight
        return jax.tree.map(lambda _: weight, made)

    def neuron(size: int) -> Any:
        if delta:
            return ej.DeltaLIF(size, tau_mem=settings.tau_mem)
        return ej.LIF(size, tau_mem=settings.tau_mem, tau_syn=settings.tau_syn)

    sizes = settings.inputs, settings.hidden, settings.outputs
    means = (0.1, 2.0 / sizes[1]) if delta else (1.0, 6.0 / sizes[1])
    stds = (0.3, 1.0 / sizes[1]) if delta else (1.0, 3.0 / sizes[1])
    layers = []
    for k in range(2):
        back = None
        if kind.startswith("recurrent") and k == 0:
            spread = 0.2 if delta else 1.0
            back = dense(sizes[1], sizes[1], 0.0, spread / sizes[1])
        to_it = dense(sizes[k], sizes[k + 1], means[k], stds[k])
        layer = ej.Layer(to_it, neuron(sizes[k + 1]), back, capacity=4096)
        layers.append(layer)
    return ej.Network(layers)


def of_neurons(times: np.ndarray, sources: np.ndarray, size: int) -> list[np.ndarray]:
    return [np.sort(times[sources == k]) for k in range(size)]


def of_raster(raster: np.ndarray, dt: float, lag: int = 0) -> list[np.ndarray]:
    """The start of each step with a spike, `lag` steps earlier."""
    step, neuron = np.nonzero(raster)
    return of_neurons((step - lag) * dt, neuron, raster.shape[1])


def compare(ours: list, theirs: list, window: float) -> dict[str, Any]:
    """Match the spikes of each neuron in order, at most `window` apart."""
    found = []
    for a, b in zip(ours, theirs, strict=True):
        j, k = 0, 0
        while j < len(a) and k < len(b):
            if abs(a[j] - b[k]) <= window:
                found.append(abs(a[j] - b[k]))
                j, k = j + 1, k + 1
            elif a[j] < b[k]:
                j += 1
            else:
                k += 1
    return {
        "ours": sum(map(len, ours)),
        "theirs": sum(map(len, theirs)),
        "matched": len(found),
        "median_difference_ms": float(np.median(found)) if found else None,
        "largest_difference_ms": float(np.max(found)) if found else None,
    }


def in_spyx(jobs: list[dict[str, Any]], folder: Path) -> tuple[list, dict[str, str]]:
    """The rasters of the layers for each job, and versions. Raises a `RuntimeError` if
    spyx's environment is not there or its run fails."""
    if not make_peers.is_made("spyx"):
        raise RuntimeError(
            "spyx is not installed: run `python -m experiments.benchmark.make_peers spyx`."
        )
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    script = "experiments.benchmark.peers.spyx_nir"
    done = subprocess.run(
        [str(make_peers.python("spyx")), "-m", script, str(file)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"The run in spyx failed:\n{done.stderr}")
    rasters = []
    for job in jobs:
        with np.load(job["out"]) as arrays:
            rasters.append([arrays[f"layer_{k}"] for k in range(len(arrays))])
    return rasters, json.loads(done.stdout.splitlines()[-1])


def run(
    settings: Settings, kinds: tuple[str, ...] = KINDS
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each kind of network and length of step, and versions of spyx's side."""
    spikes = make_inputs(settings)
    cases = [(kind, dt) for kind in kinds for dt in settings.steps]
    with tempfile.TemporaryDirectory() as name:
        folder, jobs, networks = Path(name), [], []
        for n, (kind, dt) in enumerate(cases):
            files = {x: str(folder / f"{n}-{x}") for x in ("graph", "inputs", "out")}
            files = {"out": files.pop("out") + ".npz", **files}
            dialect = ej.interop.Dialect(dt, subtract=True)
            graph = ej.interop.to_nir(make_network(kind, settings), dialect)
            ej.interop.write_nir(files["graph"], graph)
            frames = ej.Frames.from_spikes(spikes, settings.inputs, dt, settings.t1)
            with open(files["inputs"], "wb") as file:
                np.save(file, np.asarray(frames.counts))
            jobs.append(files | {"dt": dt / 1000.0})
            graph = ej.interop.read_nir(files["graph"])
            networks.append(ej.interop.from_nir(graph, dialect, capacity=4096))
        theirs, versions = in_spyx(jobs, folder)
    rows = []
    for (kind, dt), network, rasters in zip(cases, networks, theirs, strict=True):
        rows.append(_row(kind, dt, network, spikes, rasters, settings))
    return rows, versions


def _row(
    kind: str,
    dt: float,
    network: ej.Network,
    spikes: ej.Spikes,
    rasters: list[np.ndarray],
    settings: Settings,
) -> dict[str, Any]:
    clocked = ej.simulate(
        network,
        spikes,
        settings.t1,
        solver=ej.Clocked(dt),
        adjoint=ej.Surrogate(),
    )
    exact = ej.simulate(network, spikes, settings.t1)
    layers = []
    for k, lag in enumerate(LAGS[kind.removeprefix("recurrent ")]):
        frames, events = clocked.frames[k], exact.spikes[k]
        assert frames is not None and events is not None
        there = np.isfinite(events.times)
        times, sources = np.asarray(events.times), np.asarray(events.sources)
        size = network.layers[k].neuron.size
        same = of_raster(np.asarray(frames.counts), dt)
        of_exact = of_neurons(times[there], sources[there], size)
        at_once, late = (of_raster(rasters[k], dt, x) for x in (0, lag))
        layers.append(
            {
                "same_grid": compare(same, late, settings.window),
                "lag_steps": lag,
                "exact": compare(of_exact, at_once, settings.window),
            }
        )
    return {"kind": kind, "dt": dt, "layers": layers}


def main(options: Options) -> None:
    settings = Settings()
    rows, versions = run(settings)
    for row in rows:
        for k, layer in enumerate(row["layers"]):
            for what in ("same_grid", "exact"):
                of = layer[what]
                print(
                    f"{row['kind']:>18} {row['dt']:8g} ms, layer {k}, {what:9}: "
                    f"{of['ours']:4} and {of['theirs']:4} spikes, {of['matched']:4} match, "
                    f"the median {of['median_difference_ms']:.4f} ms apart, at most "
                    f"{of['largest_difference_ms']:.4f}"
                )
    if options.store:
        path = ROOT / "experiments" / "results" / "nir" / "spyx.json"
        record = {
            "config": dataclasses.asdict(settings),
            "rows": rows,
            **ej.train.environment(),
            "spyx": versions,
        }
        ej.train.save_json(path, record)
        print(f"stored in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
