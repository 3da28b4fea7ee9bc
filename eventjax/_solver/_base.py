import abc

import equinox as eqx


class AbstractSolver(eqx.Module):
    """WHEN a network spikes: how the equations between and at events are solved."""

    @property
    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether spike times are real numbers, not places on a grid."""
