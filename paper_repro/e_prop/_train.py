"""Trains and tests a network on phones: what all rows of speech share."""

import jax.random as jr
import numpy as np
import optax

import eventjax as ej
from experiments._common import Record as RunFolder
from paper_repro._confusion import draw_confusion
from paper_repro._row import Record, Where
from paper_repro._speech_frames import load_frames

from ._config import Phones
from ._judge import judge
from ._loss import make_loss
from ._network import is_readout, make_readers, Readers, trainable


METRIC = "test accuracy %"


def train(config: Phones, where: Where) -> Record:
    """Train a network, and test the epoch that is best on validation data.

    **Arguments:**

    - `config`: all settings.
    - `where`: see `Where`.

    **Returns:** the record of the run. Its `"test"` is that of `judge`, and `"dataset"`
    which set it was.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    corpus = load_frames(config.dataset, where)
    init_key, train_key = jr.split(jr.key(config.seed))
    readers = make_readers(config, corpus.inputs, len(ej.data.PHONES), init_key)
    size = min(config.batch, len(corpus.parts["train"]["label"]))
    batches = ej.data.Batches(
        corpus.parts["train"], size, seed=config.seed, drop_last=True
    )
    rate, optimiser = make_optimiser(readers, config, len(batches))
    folder = RunFolder(where.folder, config, resume=True)
    validation = corpus.parts["validation"]
    with folder.log:
        fitted = ej.train.fit(
            readers,
            make_loss(config.shared),
            batches,
            optimiser,
            epochs=config.epochs,
            validation=lambda: ej.data.padded_batches(
                validation, min(16, len(validation["label"]))
            ),
            select_best="accuracy",
            trainable=trainable(readers),
            learning_rate=rate,
            log=folder.log,
            checkpoints=folder.checkpoints,
            progress=where.progress,
            key=train_key,
        )
    test = judge(fitted.model, corpus.parts["test"], config)
    record = folder.finish(fitted, test)
    ej.plot.learning_curve(
        where.folder / "results.json", save=where.folder / "learning_curve.png"
    )
    confusion = np.array(test["confusion"])
    draw_confusion(
        confusion, ej.data.FOLDED_PHONES, where.folder / "confusion.png", counts=False
    )
    metrics = {METRIC: 100 * test["utterance_accuracy"]}
    return record | {"metrics": metrics, "dataset": corpus.name}


def make_optimiser(
    readers: Readers, config: Phones, steps: int
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Adam with a learning rate that rises during the first epochs; under adaptive
    feedback the weights of readout and feedback shrink after each step."""
    rise = max(round(config.warm_up * steps), 1)
    rate = optax.linear_schedule(0.0, config.learning_rate, rise)
    parts = [optax.adam(rate, eps=1e-5)]
    if config.rule == "eprop" and config.feedback == "adaptive":
        shrink = optax.add_decayed_weights(-config.decay, is_readout(readers))
        parts.append(shrink)
    return rate, optax.chain(*parts)
