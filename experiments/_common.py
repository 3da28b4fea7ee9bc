"""What the experiments share: the command line, batches of spikes, records of a run."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import eventjax as ej


Arrays = dict[str, np.ndarray]
_Settings = TypeVar("_Settings")


def from_command_line(
    default: _Settings, paper: _Settings, doc: str
) -> tuple[_Settings, bool]:
    """The settings, each of which can be given by an option, and whether to resume."""
    arguments = sys.argv[1:]
    settings = tyro.cli(
        type(default),
        default=paper if "--paper" in arguments else default,
        args=[x for x in arguments if x not in ("--paper", "--resume")],
        description=f"{doc}\n\nWith --paper the defaults are the paper's settings. With "
        "--resume a run goes on from the last epoch whose checkpoint is in its output "
        "folder, if there is one; without, it starts anew.",
    )
    return settings, "--resume" in arguments


def spike_arrays(spikes: ej.Spikes, label: np.ndarray) -> Arrays:
    """Encoded samples as arrays by name, which is what `ej.data.Batches` cuts up."""
    times, sources = np.asarray(spikes.times), np.asarray(spikes.sources)
    return {"times": times, "sources": sources, "label": label.astype(np.int32)}


def spikes_of(batch: dict[str, Any]) -> ej.Spikes:
    return ej.Spikes(jnp.asarray(batch["times"]), jnp.asarray(batch["sources"]))


def dense_layers(sizes, weights, neurons, capacities, key: jax.Array) -> ej.Network:
    """Fully connected layers, their weights normal with a mean and standard deviation."""
    layers = []
    parts = zip(weights, neurons, capacities, strict=True)
    for k, ((mean, std), neuron, capacity) in enumerate(parts):
        connection = ej.Dense(
            sizes[k], sizes[k + 1], mean=mean, std=std, key=jax.random.fold_in(key, k)
        )
        layers.append(ej.Layer(connection, neuron, capacity=capacity))
    return ej.Network(layers)


@eqx.filter_jit
def _simulate(network: ej.Network, spikes: ej.Spikes, t1: float, record, throw: bool):
    return ej.simulate(network, spikes, t1, record=record, throw=throw)


def simulate(network: ej.Network, arrays: Arrays, t1: float, record=None):
    """A trained network on further samples, with more capacity if these need it."""
    spikes = spikes_of(arrays)
    while True:
        sol = _simulate(network, spikes, t1, record, False)
        if sol.okay:
            return sol
        needed = [None if n is None else int(n.max()) for n in sol.num_spikes]
        grown = ej.train.grow(network, tuple(needed))
        if eqx.tree_equal(grown, network):  # something else is wrong: say what
            return _simulate(network, spikes, t1, record, True)
        network = grown


def first_spike_times(network: ej.Network, arrays: Arrays, t1: float) -> np.ndarray:
    """When the output neurons fire for all samples, in ms, `[samples, outputs]`."""

    def parts() -> Iterator[np.ndarray]:
        for batch, is_real in ej.data.padded_batches(arrays, 500):
            yield np.asarray(simulate(network, batch, t1).first_spike_times)[is_real]

    return np.concatenate(list(parts()))


def example_arrays(network: ej.Network, arrays: Arrays, t1: float) -> Arrays:
    """All spikes, and the output voltages, of a few samples: what the plots draw."""
    times = np.linspace(0, t1, 601)
    sol = simulate(network, arrays, t1, times)
    sizes = [network.in_size, *(layer.neuron.size for layer in network.layers)]
    stored = {"sizes": np.array(sizes), "label": arrays["label"]}
    for k, spikes in enumerate([spikes_of(arrays), *sol.spikes]):
        if spikes is not None:
            stored |= {f"times_{k}": spikes.times, f"sources_{k}": spikes.sources}
    stored |= {"voltage_times": times, "voltages": sol.voltages[-1]}
    if sol.spikes[-1] is not None:
        stored["threshold"] = network.layers[-1].neuron.v_threshold
        stored["voltage_spikes"] = sol.first_spike_times
    return {name: np.asarray(value) for name, value in stored.items()}


class Record:
    """The folder of one run: `config.json`, `metrics.jsonl` and `checkpoints/` while it
    lasts, `results.json` at its end.

    What an earlier run has left in the same folder is removed at the start, so that what
    is there always belongs together. To resume a run its checkpoints are kept; then
    `settings` must be those of before, but for the number of epochs and for paths.
    """

    def __init__(self, folder: Path, settings: Any, *, resume: bool):
        self.folder = folder
        self.results = folder / "results.json"
        self.checkpoints = folder / "checkpoints"
        self._settings = settings
        self._resume = resume
        config = folder / "config.json"
        if not resume:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        elif config.exists():
            self._check(config)
        self.results.unlink(missing_ok=True)
        self.log = ej.train.MetricsLog(folder / "metrics.jsonl")
        ej.train.save_json(config, dataclasses.asdict(settings))

    def _check(self, config: Path) -> None:
        before = json.loads(config.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(dataclasses.asdict(self._settings), default=str))
        may_change = ("epochs", "data_dir", "output")
        other = [
            f"{name} was {before.get(name)}, now {value}"
            for name, value in now.items()
            if name not in may_change and before.get(name) != value
        ]
        if other:
            raise ValueError(
                f"The run in {self.folder} has other settings and cannot be resumed with "
                f"these: {'; '.join(other)}. Give the same settings or another output."
            )

    def finish(self, fitted: ej.train.Fitted, test: dict[str, float]) -> dict[str, Any]:
        results = {
            "config": dataclasses.asdict(self._settings),
            "seed": self._settings.seed,
            **ej.train.environment(),
            "history": fitted.history,
            "selection": {"rule": fitted.selection, "epoch": fitted.epoch},
            "test": test,
            "resumed": self._resume,
            "seconds": sum(row["seconds"] for row in fitted.history),
        }
        ej.train.save_json(self.results, results)
        return results
