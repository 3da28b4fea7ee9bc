"""e-prop with spike-timing dependent plasticity, on speech."""

from .rows import depth, rules, stdp_window, timit


TITLE = "STDP in e-prop, several layers, TIMIT (van der Veen 2022, arXiv 2201.07602)"

ROWS = (
    timit.TIMIT_ALIF,
    timit.TIMIT_STDP_ALIF,
    timit.TIMIT_IZHIKEVICH,
    depth.LAYERS,
    rules.FEEDBACK,
    rules.BPTT,
    rules.BELLEC,
    stdp_window.ROW,
)
