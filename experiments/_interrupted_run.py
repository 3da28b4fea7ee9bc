"""The run that `experiments.interruptions` kills, and what is left of it when it is done.

A layer is trained exactly. The loss draws random numbers, and one of the samples makes the
layer emit more spikes than its buffer takes.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
import optax
import orbax.checkpoint as ocp

import eventjax as ej

from ._common import Arrays, spike_arrays, spikes_of


EPOCHS, SAMPLES, BATCH = 4, 2400, 100
CHECKPOINT_EVERY, KEEP = 10, 2  # an epoch has 24 steps
T1 = 40.0  # ms
CAPACITY, LOUD = 12, 1746  # enough for all samples but that one, of step 15
RATE = optax.exponential_decay(0.01, 24, 0.9, staircase=True)
OPTIMISER = optax.adam(RATE)


def train(folder: Path, cache: Path, ready: Any) -> None:
    """Train, or go on with it; says when its programs are compiled, or read from a
    cache."""
    jax.config.update("jax_platforms", "cpu")
    # The programs are large and run for a moment only.
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _fit(epochs=1)
    ready.send(None)
    with ej.train.MetricsLog(folder / "metrics.jsonl") as log:
        fitted = _fit(
            epochs=EPOCHS,
            checkpoints=folder / "checkpoints",
            checkpoint_every=CHECKPOINT_EVERY,
            keep=KEEP,
            log=log,
        )
    weight = fitted.model.layers[0].connection.weight
    ej.train.save_arrays(folder / "best.npz", weight=weight)
    ej.train.save_json(folder / "fitted.json", fitted._replace(model=None)._asdict())


def is_done(folder: Path) -> bool:
    return (folder / "fitted.json").exists()


def left_by(folder: Path) -> dict[str, Any]:
    """Everything that a run which is done has left, by name, without how long it took.

    Arrays are as bytes, beside their type and shape: they are the same only if every bit
    of them is.
    """
    with np.load(folder / "best.npz") as stored:
        out = {f"best, {name}": _bits(stored[name]) for name in stored.files}
    fitted = json.loads((folder / "fitted.json").read_text(encoding="utf-8"))
    for row in fitted.pop("history"):
        out |= {f"epoch {row['epoch']}, {k}": x for k, x in row.items()}
    args = ocp.args.Composite(
        arrays=ocp.args.StandardRestore(), notes=ocp.args.JsonRestore()
    )
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        last = manager.restore(manager.latest_step(), args=args)
        out["last checkpoint"] = manager.latest_step()
    notes = last.notes["notes"]
    names = (name for name, (_, shape) in notes["arrays"].items() if 0 not in shape)
    arrays = zip(names, last.arrays, strict=True)
    out |= {f"last checkpoint, {name}": _bits(x) for name, x in arrays}
    # That it was resumed is what makes the difference; all else has to be the same.
    events = [x for x in notes["run"].pop("events") if x["event"] != "resumed"]
    out |= {
        f"event {k}, {name}": x for k, y in enumerate(events) for name, x in y.items()
    }
    out |= fitted | notes["run"] | {"capacities": notes["capacities"]}
    return {name: x for name, x in out.items() if not name.endswith(", seconds")}


def events(folder: Path) -> list[dict[str, Any]]:
    """The lines of its log."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _bits(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    array = np.asarray(array)
    return str(array.dtype), array.shape, array.tobytes()


def _fit(**settings: Any) -> ej.train.Fitted:
    connection = ej.Dense(6, 6, mean=2.5, std=0.5, key=jr.key(1))
    return ej.train.fit(
        ej.Network([ej.Layer(connection, ej.LIF(6), capacity=CAPACITY)]),
        _loss,
        ej.data.Batches(_arrays(), BATCH, seed=0, drop_last=True),
        OPTIMISER,
        select_best="loss",  # the highest: that of an early epoch, not of the last
        select_on="train",
        learning_rate=RATE,
        progress=False,
        key=jr.key(2),
        **settings,
    )


def _loss(network: ej.Network, batch: Arrays, key: Any):
    spikes = spikes_of(batch)
    delay = jr.uniform(key, (BATCH, 1), spikes.times.dtype, 0.0, 3.0)
    spikes = ej.Spikes(spikes.times + delay, spikes.sources)
    sol = ej.simulate(network, spikes, T1, throw=False)
    times = sol.first_spike_times[:, :3]
    losses = ej.losses.first_spike_cross_entropy(times, batch["label"], tau0=2.0)
    return losses, sol, {}


def _arrays() -> Arrays:
    """Yin-Yang, and in one of the samples a spike of an input that is silent else."""
    data = ej.data.yin_yang(SAMPLES, 0)
    spikes = ej.encoders.latency(data["features"], 0.0, 20.0, bias=0.0)
    arrays = spike_arrays(spikes, data["label"])
    times = np.pad(arrays["times"], ((0, 0), (0, 1)), constant_values=np.inf)
    times[LOUD, -1] = 25.0
    sources = np.pad(arrays["sources"], ((0, 0), (0, 1)), constant_values=5)
    return arrays | {"times": times, "sources": sources}
