"""MNIST with spikes, and with rates of the same neurons.

    python -m paper_repro run eqspike/mnist --data-dir DATA
    python -m paper_repro run eqspike/mnist/eqspike/seed0

`eqspike` and `rate_ep` have the same network, number of pictures and targets. The row
phases says that short phases do, and `eqspike_short` takes them; `eqspike_long` is for
a GPU. The paper reports 97.6 %; its sizes, phases and rates are UNCONFIRMED.
"""

import dataclasses

from paper_repro._orderings import Ordering

from .._config import Settings
from ._trained import trained_row


BASE = Settings()
ROW = trained_row(
    "mnist",
    "spiking equilibrium propagation, and rates of the same neurons",
    {
        "eqspike": BASE,
        "rate_ep": dataclasses.replace(BASE, rule="rate_ep", free=100.0, nudged=40.0),
        "eqspike_short": dataclasses.replace(BASE, free=60.0, nudged=30.0, epochs=8),
        "eqspike_long": dataclasses.replace(
            BASE, epochs=8, batch=200, learning_rate=1.5e-3
        ),
    },
    [Ordering("mnist/rate_ep", "mnist/eqspike", "similar (abstract)")],
    seeds=2,
)
