"""How fine the outputs are, and how much is left out of them, in version 2 on phones.

    python -m paper_repro run improved_recurrence/bits_ablation --data-dir DATA
    python -m paper_repro run improved_recurrence/threshold_ablation --data-dir DATA

The paper's figures are UNCONFIRMED. One bit is the binary neuron of
`eventjax.graded.Quantiser`; what the paper's was is UNCONFIRMED.
"""

import dataclasses
from collections.abc import Iterable

from paper_repro._orderings import Ordering
from paper_repro._panels import Panels

from ._tables import SPEECH, trained_row
from .timit import NEEDS


SMALL = dataclasses.replace(SPEECH, units=200, learning_rate=3e-3)
SEEDS = 3


def _panels(groups: Iterable[str]) -> Panels:
    return {
        "accuracy by frame": ("accuracy", list(groups)),
        "phone error rate (%)": ("phone_error_rate", list(groups)),
        "multiplications of a frame": ("multiplications.corrected", list(groups)),
    }


_BITS = {
    f"{bits}_bits": dataclasses.replace(SMALL, bits=bits, dead_zone=0)
    for bits in (1, 3, 5, 6, 32)
}
_DEAD_ZONES = {
    f"dead_zone_{quanta}": dataclasses.replace(SMALL, dead_zone=quanta)
    for quanta in (0, 1, 3, 7)
}
BITS = trained_row(
    "bits_ablation",
    "bits of an output, without dead zone",
    _BITS,
    [
        Ordering(f"bits_ablation/{more}_bits", f"bits_ablation/{less}_bits", claim)
        for more, less, claim in (
            (3, 1, "more bits are better"),
            (5, 3, "more bits are better"),
            (32, 5, "none known"),
        )
    ],
    tried=("1_bits", "32_bits"),
    needs=NEEDS,
    seeds=SEEDS,
    panels=_panels(_BITS),
)
THRESHOLD = trained_row(
    "threshold_ablation",
    "dead zone of outputs of 6 bits",
    _DEAD_ZONES,
    [
        Ordering(
            "threshold_ablation/dead_zone_0",
            f"threshold_ablation/{worse}",
            "none known",
        )
        for worse in ("dead_zone_1", "dead_zone_3", "dead_zone_7")
    ],
    tried=("dead_zone_7",),
    needs=NEEDS,
    seeds=SEEDS,
    panels=_panels(_DEAD_ZONES),
)
