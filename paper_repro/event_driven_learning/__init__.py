"""Event-driven learning: spike times and gradients at events only, on pictures."""

from .rows import gradient_reversal, over_sparsity


TITLE = "Event-driven learning (Wei et al. 2024, arXiv 2403.00270)"

ROWS = (
    over_sparsity.ROW,
    gradient_reversal.ROW,
)
