"""Trains and tests a network: what all rows but operations share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

import eventjax as ej
from experiments._common import Record as RunFolder
from paper_repro._row import Record, Where

from ._config import Settings
from ._data import load
from ._decode import decode
from ._judge import Batches, judge
from ._loss import make_loss
from ._network import make_network


METRIC = "test accuracy %"


def train(config: Settings, where: Where) -> Record:
    """Train a network, and test the epoch that is best on validation data.

    **Arguments:**

    - `config`: all settings.
    - `where`: see `Where`.

    **Returns:** the record of the run. Its `"test"` is that of `judge` and, of phones, of
    `decode`, `"dataset"` says which set it was, and `"parameters"` how many there are.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    data = load(config, where)
    validation = data.parts["validation"]

    def test(network: ej.graded.Classifier) -> Record:
        out = judge(network, data.parts["test"], config)
        if config.task == "phones":
            out |= decode(network, data.parts, config)
        return out

    size = min(config.batch, len(data.parts["train"]["valid"]))
    batches = ej.data.Batches(
        data.parts["train"], size, seed=config.seed, drop_last=True
    )
    return train_on(
        config,
        where,
        batches,
        validation=lambda: ej.data.padded_batches(
            validation, min(16, len(validation["valid"]))
        ),
        test=test,
        dataset=data.name,
        inputs=data.inputs,
        outputs=data.outputs,
    )


def train_on(
    config: Settings,
    where: Where,
    batches: Any,
    *,
    validation: Callable[[], Batches],
    test: Callable[[ej.graded.Classifier], Record],
    dataset: str,
    inputs: int,
    outputs: int,
) -> Record:
    """Train a network on batches that are made already.

    **Arguments:**

    - `batches`, `validation`: as for `eventjax.train.fit`.
    - `test`: gives the record's `"test"` of the network that was best.
    - `dataset`, `inputs`, `outputs`: what they are of.

    **Returns:** as `train`.
    """
    keys = jr.split(jr.key(config.seed), 3)
    network = make_network(config, inputs, outputs, keys[0])
    first = next(iter(batches.epoch(0)))
    network = ej.graded.calibrate(
        network,
        jnp.asarray(first["frames"], jax.dtypes.canonicalize_dtype(float)),
        jnp.asarray(first["valid"]),
        key=keys[1],
    )
    folder = RunFolder(where.folder, config, resume=True)
    with folder.log:
        fitted = ej.train.fit(
            network,
            make_loss(config.shared),
            batches,
            make_optimiser(config),
            epochs=config.epochs,
            validation=validation,
            select_best="accuracy",
            log=folder.log,
            checkpoints=folder.checkpoints,
            progress=where.progress,
            key=keys[2],
        )
    tested = test(fitted.model)
    record = folder.finish(fitted, tested)
    ej.plot.learning_curve(
        where.folder / "results.json", save=where.folder / "learning_curve.png"
    )
    counted = ej.graded.count_parameters(network)
    return record | {
        "metrics": {METRIC: 100 * float(tested["accuracy"])},
        "dataset": dataset,
        "parameters": dataclasses.asdict(counted),
        "sizes": {"inputs": inputs, "outputs": outputs},
    }


def make_optimiser(config: Settings) -> optax.GradientTransformation:
    """Adam, and what goes before and after it."""
    parts = [optax.adam(config.learning_rate)]
    if config.clip is not None:
        parts = [optax.clip_by_global_norm(config.clip), *parts]
    if config.limit_decay:
        parts.append(_within_limits())
    return ej.graded.following(optax.chain(*parts), config.momentum)


def _within_limits() -> optax.GradientTransformation:
    """Keeps decays of conventional layers in [0, 1], as the code means to but does not."""

    def update(updates, params):
        def one(u, p):
            if not isinstance(u, ej.graded.Conventional):
                return u
            step = jnp.clip(p.tau + u.tau, 0, 1) - p.tau
            return eqx.tree_at(lambda layer: layer.tau, u, step)

        is_layer = lambda x: isinstance(x, ej.graded.AbstractLayer)
        return jax.tree.map(one, updates, params, is_leaf=is_layer)

    return optax.stateless(update)
