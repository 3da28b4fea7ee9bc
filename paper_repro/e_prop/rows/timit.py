"""The paper's three neurons on TIMIT, or on its free sample where the data folder has no
TIMIT, with LIF neurons beside them.

    python -m paper_repro run e_prop/timit_alif --data-dir DATA
    python -m paper_repro run e_prop/timit_stdp_alif --data-dir DATA
    python -m paper_repro run e_prop/timit_izhikevich --data-dir DATA

The paper's figures are UNCONFIRMED; orderings are from its abstract.
"""

import dataclasses

from paper_repro._orderings import Ordering

from ._phones import ALIF, IZHIKEVICH, LIF, speech_row, STDP


TIMIT_ALIF = speech_row(
    "timit_alif",
    "LIF and ALIF neurons with e-prop",
    {"lif": LIF, "alif": ALIF},
    [Ordering("timit_alif/alif", "timit_alif/lif", "Bellec et al.: better")],
)
TIMIT_STDP_ALIF = speech_row(
    "timit_stdp_alif",
    "STDP-ALIF neurons with e-prop",
    {
        "stdp_alif": STDP,
        # As in a late version of the code, without depression
        "stdp_alif_plus": dataclasses.replace(
            STDP, refractory_slope=0.3, window="from_spike"
        ),
    },
    [
        Ordering("timit_stdp_alif/stdp_alif", "timit_alif/alif", "abstract: better"),
        Ordering(
            "timit_stdp_alif/stdp_alif_plus",
            "timit_alif/alif",
            "better, if the reported runs had this sign (UNCONFIRMED)",
        ),
    ],
)
TIMIT_IZHIKEVICH = speech_row(
    "timit_izhikevich",
    "Izhikevich neurons with e-prop",
    {"izhikevich": IZHIKEVICH},
    [
        Ordering(
            "timit_izhikevich/izhikevich", "timit_alif/alif", "abstract: not better"
        ),
        Ordering(
            "timit_izhikevich/izhikevich",
            "timit_stdp_alif/stdp_alif",
            "worse (abstract: no improvement like that of STDP-ALIF)",
        ),
    ],
)
