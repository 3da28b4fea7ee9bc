"""Equilibrium propagation with spikes, on MNIST, and what its claims come to."""

from .rows import mnist, phases, rate_ep


TITLE = (
    "EqSpike: spiking equilibrium propagation (Martin et al. 2021, arXiv 2010.07859)"
)

ROWS = (mnist.ROW, rate_ep.ROW, phases.ROW)
