"""Gated synaptic currents and graded spikes, on speech and long memory."""

from .rows import ablations, librispeech, long_memory, operations, timit


TITLE = (
    "Improved inherent recurrence for sequential learning "
    "(Ponghiran and Roy, AAAI 2022, arXiv 2109.01905)"
)

ROWS = (
    timit.ROW,
    librispeech.ROW,
    operations.ROW,
    ablations.BITS,
    ablations.THRESHOLD,
    long_memory.ROW,
)
