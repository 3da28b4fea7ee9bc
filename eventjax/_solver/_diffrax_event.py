from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float

from ._base import AbstractSolver
from ._runge_kutta import RungeKuttaEngine


_OPEN = "_UseStepSizeTol"


def _is_known(value: Any) -> bool:
    return value is not None and not isinstance(value, Tracer)


def _with_tolerances(solver: Any, controller: Any) -> Any:
    """An implicit solver's root finder takes what it leaves open from the step size
    controller, as in `diffrax.diffeqsolve`."""
    if not isinstance(solver, diffrax.AbstractImplicitSolver):
        return solver

    def open_ones(finder):
        # The mark is a constant of Diffrax's, in a module that has no public name.
        names = ("rtol", "atol", "norm")
        return [x for x in names if type(getattr(finder, x)).__name__ == _OPEN]

    names = open_ones(solver.root_finder)
    return eqx.tree_at(
        lambda s: [getattr(s.root_finder, x) for x in names],
        solver,
        [getattr(controller, x) for x in names],
    )


class DiffraxEvent(AbstractSolver):
    """Spike times of any neurons, by error-controlled steps and event detection.

    Works for every `AbstractNeuron`, with spike times as exact as the tolerances say and
    gradients that are those of the computed solution.

    **Arguments:**

    - `solver`: a Diffrax solver that estimates its error, as `diffrax.Tsit5()`, or for
        stiff neurons `diffrax.Kvaerno5()`.
    - `rtol`, `atol`: tolerances of each step for the state, the largest error of any
        neuron counting. By default both 1e-8 in double and 1e-5 in single precision, which
        makes spike times of common neurons right to 1e-6 ms in double precision. Arrays can
        be changed without a new compilation.
    - `root_finder`: an Optimistix root finder that looks for a crossing in a bracket on a
        step's dense output, as a part of the bracket. By default cubics through values and
        slopes at its ends say when each neuron crosses, which takes half the time. Newton
        steps with the Runge-Kutta method itself improve it, so it need not be exact.
    - `max_steps`: how many steps a sample may take. More are an error, never cut off. The
        backward pass keeps the state at each of them.

    Raises a `ValueError` for a solver without error estimate, tolerances that are not
    positive, or a `max_steps` below 1.
    """

    solver: diffrax.AbstractAdaptiveSolver
    rtol: Float[Array, ""] | float | None
    atol: Float[Array, ""] | float | None
    root_finder: optx.AbstractRootFinder | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        solver: diffrax.AbstractSolver = diffrax.Tsit5(),
        *,
        rtol: Float[Array, ""] | float | None = None,
        atol: Float[Array, ""] | float | None = None,
        root_finder: optx.AbstractRootFinder | None = None,
        max_steps: int = 4096,
    ):
        if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(
                f"`solver` must estimate its error, which `{type(solver).__name__}` does "
                "not: take for instance `diffrax.Tsit5()`."
            )
        for name, value in (("rtol", rtol), ("atol", atol)):
            if _is_known(value) and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        if max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1, got {max_steps}.")
        self.solver = solver
        self.rtol = rtol
        self.atol = atol
        self.root_finder = root_finder
        self.max_steps = max_steps

    @property
    def exact(self) -> bool:
        return True

    def engine(self, dtype: Any) -> RungeKuttaEngine:
        """Raises a `ValueError` for a `rtol` that the float type cannot resolve."""
        finest = 8 * float(jnp.finfo(dtype).eps)
        default = 1e-8 if finest < 1e-8 else 1e-5
        rtol = default if self.rtol is None else self.rtol
        if _is_known(rtol) and rtol < finest:
            raise ValueError(
                f"`rtol` is {rtol}, which {jnp.dtype(dtype).name} cannot resolve: give "
                f"at least {finest:.1g}, or use float64."
            )
        atol = default if self.atol is None else self.atol
        controller = diffrax.PIDController(rtol=rtol, atol=atol, norm=optx.max_norm)
        solver = _with_tolerances(self.solver, controller)
        return RungeKuttaEngine(solver, controller, self.root_finder, self.max_steps)
