from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array

from .._network import Network
from .._neuron import ALIF, LIF
from .._solver import AbstractSolver, ClosedForm
from .._solver._event_problem import never_spikes
from ..feedback import AbstractFeedback, Symmetric
from ..surrogates import Triangle
from ._base import refuse
from ._exact_eprop import AbstractExactEProp, check_feedback, check_routes


class DensityEProp(AbstractExactEProp):
    r"""e-prop in continuous time: exact spike times, and a pseudo-derivative in 1/ms.

    $$\frac{dE}{dW_{ji}} \approx \int \bar L_j(t)\, e_{ji}(t)\, dt, \qquad
    e_{ji} = \psi(V_j - \theta - \beta a_j)\, (\epsilon_{ji} - \beta\, \epsilon^a_{ji}),
    \qquad \dot \epsilon^a_{ji} = -\epsilon^a_{ji} / \tau_{adapt} + e_{ji}$$

    $\epsilon_{ji}$ is the derivative of the voltage; a spike sets it to zero as it sets the
    voltage to a constant, while that of the current goes on. The reset is not
    differentiated through the spike, nor is anything through spikes of other neurons.
    $\bar L_j(t)$ is what a spike of $j$ at $t$ would add to the loss, by the feedback
    weights of $j$ and the filter of the readout. Silent neurons learn too. The limit of
    `EProp(shape=...)` under `Clocked(dt)` with `shape` times `dt`, to first order in `dt`.

    For layers of `LIF` and `ALIF`, and a readout of `LeakyIntegrator` or `DeltaIntegrator`,
    under `ClosedForm`. The course between events is exact; the integral takes `2 *
    substeps` Gauss-Legendre nodes between any two events of a layer: arrivals, its own
    spikes, and the times of `record`. Its error is of order 4 in the length of the steps
    where `shape` is smooth and the loss reads recorded voltages; of order 2 at kinks, of
    `shape` or of $\bar L$ (at the time of a largest voltage). More `substeps`, or more
    times in `record`, make it finer. Memory grows with events times `substeps` times
    neurons.

    Gradients reach weights, delays, the neurons' parameters, initial states and, from the
    first layer, the times of input spikes; they come from voltages, their integrals and
    final states. Spike times have none: they raise an error. Reverse mode only.

    **Arguments:**

    - `feedback`: $B$, one of `eventjax.feedback`.
    - `shape`: $\psi$ in 1/ms by the distance to the threshold, one of
        `eventjax.surrogates` or any function of arrays that keeps their shape. The papers'
        is a number for each step of 1 ms (see `EProp`).
    - `substeps`: steps between two events, at least 1.

    Raises a `ValueError` for other neurons, a network without readout, and for layers whose
    sizes do not fit the feedback.

    ??? cite

        Bellec et al., Nature Communications 11:3625 (2020), for the rule in discrete time;
        its form in continuous time is this library's own.
    """

    feedback: AbstractFeedback
    shape: Callable[[Array], Array]
    substeps: int = eqx.field(static=True)

    def __init__(
        self,
        feedback: AbstractFeedback = Symmetric(),
        *,
        shape: Callable[[Array], Array] = Triangle(1.0, 0.3),
        substeps: int = 2,
    ):
        check_feedback(feedback)
        if substeps < 1:
            raise ValueError(f"`substeps` must be at least 1, got {substeps}.")
        self.feedback = feedback
        self.shape = shape
        self.substeps = substeps

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, ClosedForm):
            instead = "`ClosedForm()`, or for `Clocked(dt)` the adjoint `EProp()`"
            refuse(self, solver, instead)

    def check_network(self, network: Network) -> None:
        check_routes(self, network)
        *hidden, readout = network.layers
        if not never_spikes(readout.neuron):
            raise ValueError(
                "`DensityEProp` learns by the voltages of a readout, but the last layer, "
                f"of `{type(readout.neuron).__name__}`, spikes: add a layer of "
                "`LeakyIntegrator` or `DeltaIntegrator`."
            )
        for k, layer in enumerate(hidden):
            if not isinstance(layer.neuron, (LIF, ALIF)):
                raise ValueError(
                    f"`DensityEProp` is for `LIF` and `ALIF`, but `layers[{k}]` is of "
                    f"`{type(layer.neuron).__name__}`: use the adjoint `EventEProp()`."
                )
