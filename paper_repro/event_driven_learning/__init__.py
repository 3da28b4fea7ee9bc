"""Event-driven learning: spike times and gradients at events only, on pictures."""

from .rows import (
    cameras,
    cifar10,
    cifar100,
    energy,
    gradient_reversal,
    mnist,
    over_sparsity,
)


TITLE = "Event-driven learning (Wei et al. 2024, arXiv 2403.00270)"

ROWS = (
    mnist.ROW,
    cifar10.ROW,
    cifar100.ROW,
    cameras.CIFAR10_DVS,
    cameras.NMNIST,
    over_sparsity.ROW,
    gradient_reversal.ROW,
    energy.ROW,
)
