"""How well a network tells phones, by frame and by phone."""

import equinox as eqx
import jax
import numpy as np

import eventjax as ej
from paper_repro._speech_frames import Arrays

from ._config import Phones
from ._loss import respond
from ._network import Readers


_PHONES, _FOLDED = len(ej.data.PHONES), len(ej.data.FOLDED_PHONES)


def judge(readers: Readers, part: Arrays, config: Phones) -> dict[str, object]:
    """Accuracies of a part of the data, of the 61 phones unless folded is said:

    - `utterance_accuracy`: share of right frames in an utterance, mean over utterances, as
        in the code that is likely to be the author's;
    - `frame_accuracy`: share of all frames; `folded_accuracy` the same of 39 classes, and
        `majority` that of the most frequent phone always;
    - `phone_accuracy`: share of phones, stretches of frames with one label, whose label has
        the largest sum of log-probabilities;
    - `confusion`: frames of each of the 39 classes that were taken for each;
    - `rate`: spikes of a neuron in a step.
    """
    confusion = np.zeros((_PHONES, _PHONES), np.int64)
    phones, shares, spikes, steps = [], [], 0.0, 0
    together = min(16, len(part["label"]))
    for batch, is_real in ej.data.padded_batches(part, together):
        log_p, rate = jax.device_get(_outputs(readers, batch, config.shared))
        for k in np.flatnonzero(is_real):
            n = int(batch["valid"][k].sum())
            label, found = batch["label"][k, :n], log_p[k, :n]
            best = found.argmax(axis=1)
            np.add.at(confusion, (label, best), 1)
            shares.append(np.mean(label == best))
            phones += _phones(label, found)
            spikes, steps = spikes + float(rate[k, :n].sum()), steps + n
    folded = _fold(confusion)
    total = confusion.sum()
    return {
        "utterance_accuracy": float(np.mean(shares)),
        "frame_accuracy": float(np.trace(confusion) / total),
        "folded_accuracy": float(np.trace(folded) / total),
        "majority": float(confusion.sum(axis=1).max() / total),
        "phone_accuracy": float(np.mean(phones)),
        "confusion": folded.tolist(),
        "rate": spikes / (steps * config.repeats),
    }


@eqx.filter_jit
def _outputs(readers: Readers, batch: Arrays, config: Phones):
    """Log-probabilities, and spikes of a mean neuron in each frame."""
    logits, sols = respond(readers, batch, config)
    hidden = [x.counts.mean(axis=2) for sol in sols for x in sol.frames[:-1]]
    rate = sum(hidden) / len(hidden)
    rate = rate.reshape(*logits.shape[:2], config.repeats).sum(axis=2)
    return jax.nn.log_softmax(logits, axis=-1), rate


def _phones(label: np.ndarray, log_p: np.ndarray) -> list[bool]:
    """Whether each phone is found. Two of a kind in a row count as one."""
    starts = np.concatenate([[0], 1 + np.flatnonzero(np.diff(label))])
    total = np.add.reduceat(log_p, starts, axis=0)
    return list(total.argmax(axis=1) == label[starts])


def _fold(confusion: np.ndarray) -> np.ndarray:
    fold = ej.data.fold_phones(np.arange(_PHONES))
    out = np.zeros((_FOLDED, _FOLDED), np.int64)
    np.add.at(out, (fold[:, None], fold[None, :]), confusion)
    return out
