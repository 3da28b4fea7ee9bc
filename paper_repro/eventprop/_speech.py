"""Trains and tests a network for spoken words: what all rows of SHD, SSC and spoken digits
share.

A run follows the paper, but for what its README lists: spike times are real numbers
between arrivals on the grid of the binned input, and gradients are exact.
"""

import dataclasses
import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import eventjax as ej
from experiments._common import Record as RunFolder
from paper_repro._row import Record, Where

from ._config import Speech
from ._loss import judge, make_loss, simulate
from ._network import FLOORS, input_weight, make_network, trainable
from ._pictures import draw_pictures


_EVALUATED_TOGETHER = 64  # examples


def train(config: Speech, where: Where) -> Record:
    """Train a network, and test the epoch that the selection rule chooses.

    **Arguments:**

    - `config`: all settings.
    - `where`: see `Where`.

    **Returns:** the record of the run. Its `"test"` has accuracy, loss and the confusion
    matrix: for each class how often it was taken for each.

    **Raises:** `FileNotFoundError` if the data are not there; `ValueError` for settings
    that do not fit each other.
    """
    parts, places = load(config, where)
    batches = _batches(parts["train"], config, places)
    validation = parts.get("validation")
    init_key, train_key = jr.split(jr.key(config.seed))
    events = parts["train"]
    network = make_network(config, events.num_units, events.num_classes, init_key)
    loss_fn = make_loss(config.shared)
    rate, optimiser = make_optimiser(config.shared, len(batches))
    folder = RunFolder(where.folder, config, resume=True)
    with folder.log:
        fitted = ej.train.fit(
            network,
            loss_fn,
            batches,
            optimiser,
            epochs=config.epochs,
            validation=None
            if validation is None
            else lambda: ej.data.padded_event_batches(
                validation,
                min(_EVALUATED_TOGETHER, len(validation)),
                config.t1,
                places,
            ),
            select_best=None if config.select == "last" else "accuracy",
            select_on="train" if config.select == "train" else "validation",
            trainable=trainable(network, config),
            learning_rate=rate,
            log=folder.log,
            checkpoints=folder.checkpoints,
            progress=where.progress,
            key=train_key,
        )
    test, example = _test(fitted.model, parts["test"], config, places)
    record = folder.finish(fitted, test)
    names = parts["test"].label_names
    ej.train.save_arrays(where.folder / "arrays.npz", **example)
    draw_pictures(where.folder, np.array(test["confusion"]), names)
    metric = "held-out speaker" if config.held_out is not None else "test"
    metrics = {f"{metric} accuracy %": 100 * test["accuracy"]}
    return record | {"metrics": metrics, "label_names": names}


def load(config: Speech, where: Where) -> tuple[dict[str, ej.data.EventSet], int]:
    """Training and test data, and validation data if the run looks at some; and how many
    places all of them need for an example without augmentation.

    A speaker that is held out is looked at in each epoch, for the learning curve, and
    decides nothing.
    """
    if config.held_out is not None and config.select == "validation":
        raise ValueError(
            "`select` must not be 'validation' with `held_out`: the speaker that is "
            "tested on would choose the epoch."
        )

    def part(split: str) -> ej.data.EventSet:
        events = ej.data.load_events(
            config.dataset,
            split,
            data_dir=where.data_dir,
            prepared_dir=where.prepared_dir,
        ).crop(config.t1)
        events = _every_channel(events, config.every_channel)
        return events if config.dt_bin is None else events.binned(config.dt_bin)

    events = part("train")
    if config.held_out is not None:
        rest, held_out = events.leave_one_out(config.held_out)
        parts = {"train": rest, "validation": held_out, "test": held_out}
        # The same whoever is held out.
        return parts, _round_up(int(events.counts.max()))
    parts = {"train": events, "test": part("test")}
    if config.select == "validation":
        parts["validation"] = part("validation")
    return parts, _round_up(max(int(x.counts.max()) for x in parts.values()))


def _every_channel(events: ej.data.EventSet, step: int) -> ej.data.EventSet:
    """Only the events of channels 0, `step`, 2 `step` and so on."""
    if step == 1:
        return events
    keep = events.units % step == 0
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    return dataclasses.replace(
        events,
        times=events.times[keep],
        units=events.units[keep] // step,
        offsets=kept_before[events.offsets],
        num_units=-(-events.num_units // step),
    )


def _round_up(count: int) -> int:
    return -(-max(count, 1) // 32) * 32


def _batches(
    events: ej.data.EventSet, config: Speech, places: int
) -> ej.data.EventBatches:
    augment = []
    if config.shift:
        augment.append(ej.data.ShiftChannels(config.shift))
    if config.blend:
        augment.append(ej.data.Blend((0.5, 0.5)))
    return ej.data.EventBatches(
        events,
        config.batch,
        t1=config.t1,
        seed=config.seed,
        drop_last=True,
        # Blends may need more, and know how much.
        capacity=None if config.blend else places,
        augment=tuple(augment),
        like_size=config.like_size,
    )


@ft.cache
def make_optimiser(
    config: Speech, steps: int
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """The learning rate; Adam, and the paper's rules beside the gradient."""
    rate = optax.constant_schedule(config.learning_rate)
    if config.decay:
        rate = optax.cosine_decay_schedule(config.learning_rate, steps * config.epochs)
    if config.ease_in:
        rate = ej.train.ease_in(rate)
    parts: list[Any] = [optax.adam(rate, eps=1e-8 * config.loss_scale)]
    if config.plateau is not None:
        parts.append(ej.train.plateau(config.plateau))
    if config.lift:
        parts.append(
            ej.train.lift_silent(
                input_weight, 0, steps_per_epoch=steps, amount=config.lift
            )
        )
    if config.train_taus:
        for name, floor in FLOORS.items():
            parts.append(ej.train.keep_above(_tau(name), floor))
    return rate, optax.chain(*parts)


def _tau(name: str) -> Callable[[ej.Network], Any]:
    return lambda network: getattr(network.layers[0].neuron, name)


@eqx.filter_jit
def _evaluate(network: ej.Network, batch: dict[str, jax.Array], config: Speech):
    sol = simulate(network, batch, config)
    return sol, *judge(sol, batch["label"], config)


def _test(
    network: ej.Network, events: ej.data.EventSet, config: Speech, places: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Accuracy, loss and confusion matrix, and the spikes of the first examples."""
    losses, label, predicted = [], [], []
    example: dict[str, np.ndarray] = {}
    together = min(_EVALUATED_TOGETHER, len(events))
    for batch, is_real in ej.data.padded_event_batches(
        events, together, config.t1, places
    ):
        sol, loss, named = _evaluate(network, batch, config.shared)
        while not sol.okay:
            needed = [None if n is None else int(n.max()) for n in sol.num_spikes]
            grown = ej.train.grow(network, tuple(needed))
            if eqx.tree_equal(grown, network):
                raise RuntimeError(f"The test failed: {ej.RESULTS[_worst(sol)]}")
            network = grown
            sol, loss, named = _evaluate(network, batch, config.shared)
        if not example:
            example = _example(network, batch, sol)
        losses.append(np.asarray(loss)[is_real])
        label.append(np.asarray(batch["label"])[is_real])
        predicted.append(np.asarray(named)[is_real])
    loss, label, predicted = map(np.concatenate, (losses, label, predicted))
    confusion = np.zeros((events.num_classes, events.num_classes), int)
    np.add.at(confusion, (label[predicted >= 0], predicted[predicted >= 0]), 1)
    return {
        "accuracy": float(np.mean(label == predicted)),
        "loss": float(np.mean(loss)),
        "examples": len(label),
        "confusion": confusion.tolist(),
    }, example


def _worst(sol: ej.Solution) -> Any:
    bad = np.asarray(sol.result != ej.RESULTS.successful)
    return jax.tree.map(lambda x: x[int(np.argmax(bad))], sol.result)


def _example(
    network: ej.Network, batch: dict[str, np.ndarray], sol: ej.Solution, count: int = 10
) -> dict[str, np.ndarray]:
    """What `eventjax.plot.raster` draws."""
    sizes = [network.in_size, *(layer.neuron.size for layer in network.layers)]
    out = {
        "sizes": np.array(sizes),
        "label": batch["label"][:count],
        "times_0": batch["times"][:count],
        "sources_0": batch["sources"][:count],
    }
    for k, (spikes, frames) in enumerate(zip(sol.spikes, sol.frames), 1):
        if frames is not None:
            few = jax.tree.map(lambda x: x[:count], frames)
            spikes = few.to_spikes(int(jnp.max(jnp.sum(few.counts, axis=(1, 2)))))
        if spikes is not None:
            out |= {f"times_{k}": spikes.times[:count]}
            out |= {f"sources_{k}": spikes.sources[:count]}
    return {name: np.asarray(value) for name, value in out.items()}
