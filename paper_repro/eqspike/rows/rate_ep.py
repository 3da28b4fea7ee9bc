"""Equilibrium propagation of rates on MNIST, the references: Scellier and Bengio's network
of a hard sigmoid, and Ernoult et al.'s continual updates in it.

    python -m paper_repro run eqspike/rate_ep --data-dir DATA

The first learns with Adam here, which their codes do not, and from rates of zero in every
batch, where theirs keep the rates of each picture. `beta` is twice theirs, see
`eventjax.equilibrium.RateEP`.
"""

import dataclasses

from .._config import Settings
from ._trained import trained_row


HARD = Settings(
    rule="hard_ep",
    hidden=(500,),
    gain=1.0,
    bias=0.0,
    beta=1.0,
    free=20.0,
    nudged=4.0,
    step=0.5,
    on=1.0,
    off=0.0,
    epochs=12,
    batch=20,
)
CONTINUAL = dataclasses.replace(
    HARD,
    rule="continual_ep",
    hidden=(512,),
    beta=0.4,
    free=40.0,
    nudged=15.0,
    epochs=20,
    learning_rate=0.02,
)
ROW = trained_row(
    "rate_ep",
    "equilibrium propagation of rates",
    {"two_phases": HARD, "continual": CONTINUAL},
    seeds=2,
)
