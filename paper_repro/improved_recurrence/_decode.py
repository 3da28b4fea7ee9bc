"""From frames to phones: the phone error rate of a network."""

import itertools as it
from typing import Any

import jax
import numpy as np

import eventjax as ej
from paper_repro._speech_frames import Arrays

from ._config import Settings
from ._judge import respond_to


# What is tried on validation data. The paper's code weighs what is heard by 0.2 on TIMIT,
# in another decoder, and takes priors off whole. Of phones that 80 sentences hardly have,
# posteriors are too large for that.
ACOUSTIC_WEIGHTS = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
PRIOR_SCALES = (0.0, 0.5, 1.0)


def decode(
    network: ej.graded.Classifier, parts: dict[str, Arrays], config: Settings
) -> dict[str, Any]:
    """Phones of the test part, found by a phone bigram of the training part, against those
    that its frames are labelled with, folded to 39 classes as `ej.decoding.scored_phones`
    does it, silence among them.

    The paper's figures are those of Kaldi's decoder, with states of triphones.

    **Returns:** `phone_error_rate` in percent, and `decoding`: the `acoustic_weight` and
    `prior_scale` that are best on the validation part, with its rate there. Of equal ones
    the first.
    """
    train = parts["train"]
    phones = len(ej.data.PHONES)
    given = (train["label"], train["valid"], phones)
    model = (ej.decoding.count_bigram(*given), ej.decoding.count_priors(*given))

    def rate(heard: list[Arrays], weight: float, scale: float) -> float:
        wanted, found = [], []
        for batch in heard:
            decoded = ej.decoding.viterbi(
                batch["logs"],
                batch["valid"],
                *model,
                acoustic_weight=weight,
                prior_scale=scale,
            )
            real = batch["is_real"]
            found += ej.decoding.collapse(np.asarray(decoded.path)[real])
            wanted += ej.decoding.collapse(batch["label"][real])
        scored = ej.decoding.scored_phones
        return 100 * ej.decoding.phone_error_rate(
            *([scored(x) for x in sequences] for sequences in (wanted, found))
        )

    heard = _heard(network, parts["validation"], config)
    tried = list(it.product(ACOUSTIC_WEIGHTS, PRIOR_SCALES))
    rates = [rate(heard, *x) for x in tried]
    best = int(np.argmin(rates))
    weight, scale = tried[best]
    return {
        "phone_error_rate": rate(_heard(network, parts["test"], config), weight, scale),
        "decoding": {
            "acoustic_weight": weight,
            "prior_scale": scale,
            "validation": rates[best],
        },
    }


def _heard(
    network: ej.graded.Classifier, part: Arrays, config: Settings
) -> list[Arrays]:
    """Batches of log posteriors, with labels and which utterances are real."""
    return [
        {
            "logs": np.asarray(jax.nn.log_softmax(outputs)),
            "label": batch["label"],
            "valid": batch["valid"],
            "is_real": is_real,
        }
        for batch, is_real, outputs, _ in respond_to(network, part, config)
    ]
