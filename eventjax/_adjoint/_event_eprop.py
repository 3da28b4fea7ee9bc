import equinox as eqx

from .._network import Network
from .._solver import AbstractSolver, ClosedForm, DiffraxEvent
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from .._solver._problem import LayerProblem, LayerRun
from ..feedback import AbstractFeedback, Symmetric
from ._base import AbstractExactAdjoint, refuse
from ._event_adjoint import event_eventprop
from ._eventprop import check_max_jump, leaky_eventprop, refuse_max_jump
from ._exact_eprop import AbstractExactEProp, check_feedback, check_routes


class EventEProp(AbstractExactEProp, AbstractExactAdjoint):
    r"""e-prop with exact spike times and no pseudo-derivative.

    $$\frac{dE}{dW_{ji}} \approx \sum_k L_j(t_k) \frac{\partial t_k}{\partial W_{ji}},
    \qquad \frac{\partial t_k}{\partial W_{ji}} =
    -\frac{\epsilon_{ji}(t_k)}{\dot V(t_k)}$$

    for the spikes $t_k$ of neuron $j$, with $V$ and $\epsilon_{ji} = \partial V / \partial
    W_{ji}$ measured from the threshold where that moves. A neuron's own spike times are
    differentiated exactly, with all that it remembers: current, voltage, adaptation, and
    its earlier spikes with their resets. Times at which spikes arrive, those of the layer
    itself included, count as given: no credit goes through spikes of other neurons. Each
    layer that spikes gets the errors of the outputs directly; none come down from the
    layer above. $L_j(t)$ is the derivative of the loss by the time of a spike of $j$, with
    $B_{jk}$ in place of the weight from $j$ to output $k$, plus that of whatever reads the
    layer's spike times itself. The last layer is the readout, a `LeakyIntegrator` or a
    `DeltaIntegrator`; its own gradient is exact.

    With `Symmetric` feedback and one hidden layer that is not recurrent this is the
    gradient of `Eventprop`. The cost is that of `Eventprop`, and of a second readout. It
    takes all neurons that `Eventprop` takes.

    Gradients reach weights, delays, the neurons' parameters, initial states and, from the
    first layer, the times of input spikes. Reverse mode only. Silent neurons get none; see
    `DensityEProp` for a rule by which they do.

    **Arguments:**

    - `feedback`: $B$, one of `eventjax.feedback`.
    - `max_jump`: for `LIF` under `ClosedForm`, a bound on how much a spike that grazes the
        threshold multiplies gradients, as in `Eventprop`; `None` is exact.

    Raises a `ValueError` for a network without readout where `feedback` has weights of its
    own, a readout of another kind, and for layers whose sizes do not fit the feedback.

    ??? cite

        The feedback of Bellec et al., Nature Communications 11:3625 (2020), with spike
        times in place of a pseudo-derivative, which is this library's own. The closest
        published relative is Bacho and Chu, arXiv 2403.08804, by its abstract.
    """

    feedback: AbstractFeedback
    max_jump: float | None = eqx.field(static=True)

    def __init__(
        self,
        feedback: AbstractFeedback = Symmetric(),
        *,
        max_jump: float | None = None,
    ):
        check_feedback(feedback)
        check_max_jump(max_jump)
        self.feedback = feedback
        self.max_jump = max_jump

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, (ClosedForm, DiffraxEvent)):
            exact = "`ClosedForm()` or `DiffraxEvent()`, or the adjoint `EProp()`"
            refuse(self, solver, exact)

    def check_network(self, network: Network) -> None:
        check_routes(self, network)

    def run_leaky(
        self, problem: LayerProblem, capacity: int, fused: bool = False
    ) -> LayerRun:
        given = problem, capacity, self.max_jump
        return leaky_eventprop(*given, recurrent=False, fused=fused)

    def run_events(
        self, problem: EventProblem, engine: AbstractEngine, capacity: int
    ) -> EventRun:
        refuse_max_jump(self, self.max_jump, problem)
        return event_eventprop(problem, engine, capacity, recurrent=False)
