"""Five networks on made-up sequences of 500 frames, whose answer lies far back.

    python -m paper_repro run improved_recurrence/long_memory

The paper has no such row. It argues that gated currents keep gradients over long times, and
that is what is tried here. All gates, those of GRU and LSTM too, start with times up to the
length of a sequence; conventional currents start as integrators, as in the code.
"""

import dataclasses
import itertools as it

from paper_repro._orderings import Ordering

from .._config import Settings, Task
from ._tables import KINDS, trained_row


BASE = Settings(
    examples=1024,
    units=64,
    layers=1,
    dropout=0.0,
    memory=500.0,
    epochs=10,
    batch=32,
    learning_rate=3e-3,
    clip=1.0,
    limit_decay=True,  # a decay above 1 grows beyond all bounds in so many frames
)
TASKS: tuple[Task, ...] = ("adding", "copying", "delayed_xor")
_CLAIMS = (
    ("v1", "conventional", "argument: gates from inputs keep more"),
    ("v2", "v1", "argument: gates from own spikes add to it"),
    ("lstm", "v2", "none known"),
    ("gru", "v2", "none known"),
)
ROW = trained_row(
    "long_memory",
    "adding, copying and delayed XOR over 500 frames",
    {
        f"{task}_{kind}": dataclasses.replace(BASE, task=task, kind=kind)
        for task, kind in it.product(TASKS, KINDS)
    },
    [
        Ordering(f"long_memory/{task}_{one}", f"long_memory/{task}_{two}", claim)
        for task, (one, two, claim) in it.product(TASKS, _CLAIMS)
    ],
    tried=("adding_conventional", "copying_v1", "delayed_xor_lstm"),
    needs=None,
    panels={
        task.replace("_", " "): ("accuracy", [f"{task}_{kind}" for kind in KINDS])
        for task in TASKS
    },
)
