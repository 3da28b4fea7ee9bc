"""Equilibrium propagation with spikes, on MNIST, and what its claims come to."""

from .rows import alignment, energy, mnist, phases, rate_ep, stdp


TITLE = (
    "EqSpike: spiking equilibrium propagation (Martin et al. 2021, arXiv 2010.07859)"
)

ROWS = (
    mnist.ROW,
    rate_ep.ROW,
    phases.ROW,
    alignment.ROW,
    stdp.ROW,
    energy.ROW,
)
