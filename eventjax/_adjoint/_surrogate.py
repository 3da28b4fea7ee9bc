from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Float

from .._solver import AbstractSolver, Clocked
from ..surrogates import SuperSpike
from ._base import AbstractClockedAdjoint, Paths, refuse
from ._clocked_loop import spikes_by


class Surrogate(AbstractClockedAdjoint):
    r"""Backpropagation through time with surrogate gradients, for runs under `Clocked`.

    A spike $z = \Theta(x)$, with $x$ the neuron's threshold function, has the derivative
    $dz / dx = \psi(x)$ in place of zero; everything else is differentiated as it is. A
    spike acts on the neuron itself by its reset, $s + z\,(\mathrm{reset}(s) - s)$.

    Gradients reach `frames`, `voltages`, `max_voltages` and `final_state`, in forward and
    in reverse mode. `first_spike_times` are places on the grid and have none.

    **Arguments:**

    - `shape`: $\psi$, one of `eventjax.surrogates` or any function of arrays that keeps
        their shape.
    - `detach_reset`: leave out the gradient through the $z$ of the reset. It is poor where
        the surrogate is not the true derivative, and the network learns better without.

    ??? cite

        Neftci, Mostafa and Zenke, IEEE Signal Processing Magazine 36 (2019); for the reset
        Zenke and Vogels, Neural Computation 33 (2021).
    """

    shape: Callable[[Array], Array] = SuperSpike()
    detach_reset: bool = eqx.field(static=True, default=True)

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, Clocked):
            exact = "`Eventprop()` or `Direct()`, or the solver `Clocked(dt)`"
            refuse(self, solver, exact)

    @property
    def paths(self) -> Paths:
        return Paths(reset=not self.detach_reset)

    def spike(
        self, distance: Float[Array, "batch neurons"]
    ) -> Float[Array, "batch neurons"]:
        return spikes_by(self.shape, distance)
