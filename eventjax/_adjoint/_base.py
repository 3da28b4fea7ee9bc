import abc

import equinox as eqx
from jaxtyping import Array, Float

from .._solver import AbstractSolver, Clocked
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from .._solver._problem import LayerProblem, LayerRun
from .._solver._ramp import RampProblem


class AbstractAdjoint(eqx.Module):
    """HOW a network learns: what the backward pass of a simulation answers."""

    @abc.abstractmethod
    def check(self, solver: AbstractSolver) -> None:
        """Raises a `ValueError` that names both if it cannot work with the solver."""


class AbstractExactAdjoint(AbstractAdjoint):
    """A rule for spikes with exact times."""

    @abc.abstractmethod
    def run_leaky(
        self, problem: LayerProblem, capacity: int, fused: bool = False
    ) -> LayerRun:
        """Run a layer of LIF neurons or leaky integrators in closed form, `fused` as in
        `ClosedForm`. Differentiating the result is this rule's business, as in all that
        follow."""

    @abc.abstractmethod
    def run_events(
        self, problem: EventProblem, engine: AbstractEngine, capacity: int
    ) -> EventRun:
        """Run a layer of any neurons event by event."""


class AbstractRampAdjoint(AbstractAdjoint):
    """A rule for layers of `RampIF`, whose neurons spike at most once."""

    @abc.abstractmethod
    def run_ramp(self, problem: RampProblem) -> Float[Array, "*made"]:
        """When each neuron spikes, in ms from the start of its window, `+inf` if it is
        silent."""


class Paths(eqx.Module):
    """Which ways gradients may take on a time grid. One that is cut (`False`) carries the
    same values forwards.

    **Arguments:**

    - `reset`: from the state after a spike to the spike.
    - `recurrent`: from the currents of a layer to its own earlier spikes.
    - `onward`: from the currents of a layer to the spikes of the layer before.
    """

    reset: bool = eqx.field(static=True, default=True)
    recurrent: bool = eqx.field(static=True, default=True)
    onward: bool = eqx.field(static=True, default=True)


class AbstractClockedAdjoint(AbstractAdjoint):
    """A rule for runs on a time grid. All share one loop, in which a rule is two things:

    - its *spike primitive*, spikes as a function of the distance to the threshold with
        whatever derivative the rule wants (`with_slope` states one);
    - its *paths*, on which gradients may pass.

    Surrogate gradients cut at most the reset. A rule on membrane potentials masks the slope
    of its spikes. e-prop cuts `reset`, `recurrent` and `onward`: what is left of each
    layer's gradient are its eligibility traces, met by a learning signal, the gradient of
    whatever reads the layer's frames. Feedback weights B of its own come from reading these
    as W sg(z) + sg(B) (z - sg(z)) + (B - sg(B)) sg(z), sg being `stop_gradient`.
    """

    @property
    @abc.abstractmethod
    def paths(self) -> Paths:
        """Which ways gradients may take."""

    @abc.abstractmethod
    def spike(
        self, distance: Float[Array, "batch neurons"]
    ) -> Float[Array, "batch neurons"]:
        """1 where the distance to the threshold is zero or above, else 0."""


def refuse(adjoint: AbstractAdjoint, solver: AbstractSolver, instead: str) -> None:
    if isinstance(solver, Clocked) and isinstance(adjoint, AbstractExactAdjoint):
        instead += ", or the adjoint `Surrogate()`"
    raise ValueError(
        f"`{type(adjoint).__name__}` does not work with the solver "
        f"`{type(solver).__name__}`: use {instead}."
    )
