"""Five networks on phones of TIMIT, or of its free sample where the data folder has no
TIMIT: accuracy by frame, and the error rate of phones.

    python -m paper_repro run improved_recurrence/timit --data-dir DATA

The paper's figures are phone error rates of a decoder on the whole corpus, so that only
orderings and differences can be set beside ours.
"""

import dataclasses

from paper_repro._orderings import Ordering

from ._tables import KINDS, SPEECH, trained_row


NEEDS = "TIMIT in <data>/timit, or its sample in <data>/timit_sample_nltk"
ROW = trained_row(
    "timit",
    "spiking networks, GRU and LSTM on phones",
    {kind: dataclasses.replace(SPEECH, kind=kind) for kind in KINDS},
    [
        Ordering("timit/lstm", "timit/v2", "abstract: 1.10 points"),
        Ordering("timit/v1", "timit/conventional", "secondary source: 8.98 points"),
        Ordering("timit/v2", "timit/v1", "secondary source: 1.64 points"),
        Ordering("timit/lstm", "timit/gru", "secondary source: slightly better"),
    ],
    tried=("v2", "gru"),
    needs=NEEDS,
)
