"""Five networks on 100 hours of LibriSpeech, with the paper's growing length of utterances:
accuracy by frame, of the states of an alignment, without a decoder.

    python -m paper_repro run improved_recurrence/librispeech --data-dir DATA

The paper's figures are word error rates of a decoder with a language model, so that only
orderings could be set beside ours. It has not been run: the corpus was not at hand.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import eventjax as ej
from paper_repro._orderings import differences, Ordering
from paper_repro._row import for_seeds, Job, Record, Row

from .._states import StateSettings, train_states
from .._train import METRIC
from ._tables import KINDS, RESULTS, SEEDS, SPEECH, table


BASE = StateSettings(gain=SPEECH.gain, clip=SPEECH.clip, limit_decay=SPEECH.limit_decay)
SETTINGS = {kind: dataclasses.replace(BASE, kind=kind) for kind in KINDS}
ORDERINGS = (
    Ordering("librispeech/lstm", "librispeech/v2", "abstract: 0.36 points"),
    Ordering(
        "librispeech/v1", "librispeech/conventional", "secondary source: 9.84 points"
    ),
    Ordering("librispeech/v2", "librispeech/v1", "secondary source: 5.57 points"),
    Ordering(
        "librispeech/lstm", "librispeech/gru", "secondary source: slightly better"
    ),
)


def smoke(data: Path) -> Sequence[Job]:
    """Two stages, the first of which cuts utterances."""
    ej.data.write_example_librispeech(data, speakers=1, utterances=4, states=3)
    tiny = dataclasses.replace(
        SETTINGS["v2"], units=4, layers=1, epochs=2, batch=4, stages=((1, 24), (1, 400))
    )
    return [Job("v2", "seed0", tiny)]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    return "\n".join([*table(records), *differences(ORDERINGS, RESULTS, METRIC)]) + "\n"


ROW = Row(
    name="librispeech",
    title="spiking networks, GRU and LSTM on states of LibriSpeech",
    jobs=lambda count: for_seeds(SETTINGS, count),
    train=train_states,
    smoke=smoke,
    seeds=SEEDS,
    needs="LibriSpeech with alignments in <data>/LibriSpeech",
    details=details,
)
