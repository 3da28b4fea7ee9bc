"""How long phases must be: accuracy after the same number of pictures against simulated
time, on a part of MNIST.

    python -m paper_repro run eqspike/phases --data-dir DATA

Filters stay at 10 and 20 ms. The paper's durations are UNCONFIRMED.
"""

import dataclasses

from .._config import Settings
from ._trained import trained_row


BASE = Settings(train_size=5000, epochs=2, batch=20)
SETTINGS = {
    f"{free}_{nudged}_ms": dataclasses.replace(BASE, free=free, nudged=nudged)
    for free, nudged in ((60, 30), (150, 75), (300, 150), (600, 300))
}
ROW = trained_row(
    "phases",
    "accuracy against simulated time per phase",
    SETTINGS,
    seeds=2,
    panels={"test accuracy": ("accuracy", list(SETTINGS))},
)
