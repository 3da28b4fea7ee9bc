"""Event-driven learning: spike times and gradients at events only, on pictures."""

from .rows import (
    cifar10,
    cifar10_dvs,
    cifar100,
    energy,
    gradient_reversal,
    mnist,
    nmnist,
    over_sparsity,
)


TITLE = "Event-driven learning (Wei et al. 2024, arXiv 2403.00270)"

ROWS = (
    mnist.ROW,
    cifar10.ROW,
    cifar100.ROW,
    cifar10_dvs.ROW,
    nmnist.ROW,
    over_sparsity.ROW,
    gradient_reversal.ROW,
    energy.ROW,
)
