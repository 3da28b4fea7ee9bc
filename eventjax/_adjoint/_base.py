import abc

import equinox as eqx

from .._solver._base import AbstractSolver
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from .._solver._problem import LayerProblem, LayerRun


class AbstractAdjoint(eqx.Module):
    """HOW a network learns: what the backward pass of a simulation answers."""

    @abc.abstractmethod
    def check(self, solver: AbstractSolver) -> None:
        """Raises a `ValueError` that names both if it cannot work with the solver."""

    @abc.abstractmethod
    def run_leaky(self, problem: LayerProblem, capacity: int) -> LayerRun:
        """Run a layer of LIF neurons or leaky integrators in closed form.
        Differentiating the result is this rule's business, as in all that follow."""

    @abc.abstractmethod
    def run_events(
        self, problem: EventProblem, engine: AbstractEngine, capacity: int
    ) -> EventRun:
        """Run a layer of any neurons event by event."""


def refuse(adjoint: AbstractAdjoint, solver: AbstractSolver, instead: str) -> None:
    raise ValueError(
        f"`{type(adjoint).__name__}` does not work with the solver "
        f"`{type(solver).__name__}`: use {instead}."
    )
