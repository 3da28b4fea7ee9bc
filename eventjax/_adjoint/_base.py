import abc

import equinox as eqx

from .._solver._base import AbstractSolver
from .._solver._problem import LayerProblem, LayerRun


class AbstractAdjoint(eqx.Module):
    """HOW a network learns: what the backward pass of a simulation answers."""

    @abc.abstractmethod
    def run_layer(
        self, solver: AbstractSolver, problem: LayerProblem, capacity: int
    ) -> LayerRun:
        """Run one layer. Differentiating the result is this rule's business. Raises a
        `ValueError` if it cannot work with the solver."""
