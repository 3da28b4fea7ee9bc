"""Which errors come back, and e-prop against backpropagation through time, for ALIF
neurons; symmetric feedback is in `timit_alif`.

    python -m paper_repro run e_prop/feedback --data-dir DATA
    python -m paper_repro run e_prop/bptt_vs_eprop --data-dir DATA
    python -m paper_repro run e_prop/bellec_timit --data-dir DATA

Which kinds of feedback the paper's runs used, and whether it compares with BPTT, is
UNCONFIRMED.
"""

import dataclasses
import math

from paper_repro._orderings import Ordering

from ._phones import ALIF, speech_row


_EPROP = "timit_alif/alif"
FEEDBACK = speech_row(
    "feedback",
    "random and adaptive feedback weights",
    {name: dataclasses.replace(ALIF, feedback=name) for name in ("random", "adaptive")},
    [
        Ordering(_EPROP, f"feedback/{name}", "none known")
        for name in ("random", "adaptive")
    ],
    smoke=("random", "adaptive"),
)
BPTT = speech_row(
    "bptt_vs_eprop",
    "backpropagation through time, with the same pseudo-derivative",
    {"bptt": dataclasses.replace(ALIF, rule="bptt")},
    [Ordering("bptt_vs_eprop/bptt", _EPROP, "none known")],
)

# The framewise network of Bellec et al.: both directions, five steps for each frame. The
# threshold is the flag of their code, rescaled for weights without a factor of 1 - alpha;
# `refractory` of 1 is their count of 2.
_THRESHOLD = 0.01 / (1 - math.exp(-1 / 20))
_BELLEC = dataclasses.replace(
    ALIF,
    repeats=5,
    both_ways=True,
    tau_mem=20.0,
    tau_adapt=200.0,
    tau_out=15.0,
    threshold=_THRESHOLD,
    gamma=0.3 / _THRESHOLD,
    refractory=1.0,
    sizes=(100,),
)
BELLEC = speech_row(
    "bellec_timit",
    "the framewise network of Bellec et al. with e-prop, small and whole",
    {
        "small": _BELLEC,
        # For TIMIT; not run
        "whole": dataclasses.replace(_BELLEC, sizes=(400,), batch=32, epochs=80),
    },
    seeds=2,
)
