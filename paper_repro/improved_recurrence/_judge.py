"""How well a network does, and what it costs."""

from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eventjax as ej
from paper_repro._speech_frames import Arrays

from ._config import Settings
from ._loss import CLOSE, respond


Batches = Iterable[tuple[Arrays, np.ndarray]]


def judge(
    network: ej.graded.Classifier, part: Arrays, config: Settings
) -> dict[str, Any]:
    """Of a part of the data, padded to one length. See `judge_batches`."""
    return judge_batches(network, _together(part), config)


def judge_batches(
    network: ej.graded.Classifier, batches: Batches, config: Settings
) -> dict[str, Any]:
    """Of batches, each with a mask of the sequences that are real:

    - `accuracy`: share of right frames of those that are asked for; of sums, that of those
        no further off than `CLOSE`, with the mean square error, `error`;
    - `folded_accuracy`, of phones: of the 39 classes; `majority`: of the most frequent
        answer always;
    - `multiplications`: of a valid frame, `published` and `corrected`;
    - `active`: share of values that are not zero, by layer, that of the encoder first.
    """
    answers, wanted, cost = [], [], []
    is_sum = config.task == "adding"
    for batch, is_real, outputs, counts in _respond(network, batches, config):
        asked = batch["asked"] & is_real[:, None]
        answer = outputs[asked]
        answers.append(answer[:, 0] if is_sum else answer.argmax(axis=1))
        wanted.append(batch["target" if is_sum else "label"][asked])
        cost.append(counts[:, is_real].sum(axis=1))
    answer, want = np.concatenate(answers), np.concatenate(wanted)
    frames, published, corrected, *active = np.sum(cost, axis=0)
    out: dict[str, Any] = {
        "multiplications": {
            "published": float(published / frames),
            "corrected": float(corrected / frames),
        },
        "active": [float(x / frames) for x in active],
    }
    if is_sum:
        error = answer - want
        right, always = np.abs(error) <= CLOSE, np.abs(want - 1) <= CLOSE
        out |= {"error": float(np.mean(error**2)), "majority": float(always.mean())}
    else:
        right = answer == want
        out["majority"] = float(np.bincount(want).max() / len(want))
    if config.task == "phones":
        fold = ej.data.fold_phones
        out["folded_accuracy"] = float(np.mean(fold(answer) == fold(want)))
    return {"accuracy": float(right.mean()), **out}


def respond_to(
    network: ej.graded.Classifier, part: Arrays, config: Settings
) -> Iterator[tuple[Arrays, np.ndarray, np.ndarray, np.ndarray]]:
    """Of a part, in batches: the batch, which of its sequences are real, and `_run`'s
    outputs and counts. On speech, of the network for use, without normalisation."""
    return _respond(network, _together(part), config)


def _together(part: Arrays) -> Batches:
    return ej.data.padded_batches(part, min(16, len(part["valid"])))


def _respond(
    network: ej.graded.Classifier, batches: Batches, config: Settings
) -> Iterator[tuple[Arrays, np.ndarray, np.ndarray, np.ndarray]]:
    speech = config.task in ("phones", "states")
    folded = ej.graded.fold(network) if speech else network
    for batch, is_real in batches:
        yield batch, is_real, *jax.device_get(_run(folded, batch))


@eqx.filter_jit
def _run(network: ej.graded.Classifier, batch: Arrays) -> tuple[jax.Array, jax.Array]:
    """Outputs, and of each sequence: frames, multiplications, and by layer the sum over
    frames of the share that is active."""
    passed, valid = respond(network, batch, None), jnp.asarray(batch["valid"])
    frames = jnp.asarray(batch["frames"]).astype(passed.outputs.dtype)
    number = jnp.sum(valid, axis=1).astype(passed.outputs.dtype)
    counted = ej.graded.count_multiplications(network, frames, passed, valid)
    active = [(1 - share) * number for share in ej.graded.sparsity(passed, valid)]
    counts = [number, counted.published, counted.corrected, *active]
    return passed.outputs, jnp.stack(counts)
