"""One layer against several of the same size, all of which get the errors of the readout.

    python -m paper_repro run e_prop/layers --data-dir DATA

Layers tried and their sizes in the paper are UNCONFIRMED.
"""

import dataclasses

from paper_repro._orderings import Ordering

from ._phones import ALIF, speech_row, STDP


_SIZES = {"two": (200, 200), "three": (200, 200, 200)}
_SETTINGS = {
    f"{neuron}_{name}": dataclasses.replace(config, sizes=sizes)
    for neuron, config in {"alif": ALIF, "stdp_alif": STDP}.items()
    for name, sizes in _SIZES.items()
}
_ONE = {"alif": "timit_alif/alif", "stdp_alif": "timit_stdp_alif/stdp_alif"}

LAYERS = speech_row(
    "layers",
    "two and three layers with e-prop; one layer is in the rows before",
    _SETTINGS,
    [
        Ordering(
            _ONE[neuron], f"layers/{neuron}_{name}", "abstract: consistently better"
        )
        for neuron in _ONE
        for name in _SIZES
    ],
)
