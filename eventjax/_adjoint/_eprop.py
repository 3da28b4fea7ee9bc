from collections.abc import Callable
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float

from .._network import Network
from .._solver import AbstractSolver, Clocked
from .._solver._event_problem import never_spikes
from ..feedback import AbstractFeedback, Random, Symmetric
from ..surrogates import Triangle
from ._base import AbstractClockedAdjoint, Paths, refuse
from ._clocked_loop import spikes_by


class EProp(AbstractClockedAdjoint):
    r"""e-prop: learning forward in time by eligibility traces, for runs under `Clocked`.

    $$\frac{dE}{dW_{ji}} \approx \sum_t L_j^t\, \bar e_{ji}^t, \qquad
    L_j^t = \sum_k B_{jk} \frac{\partial E}{\partial y_k^t}$$

    $e_{ji}^t$ is how much a synapse has made its own neuron spike at $t$, by all that the
    neuron itself remembers: voltage and adaptation. Credit through later spikes of other
    neurons is left out, and so is that through resets. The bar filters as the readout does.
    Each layer that spikes gets the errors of the outputs directly; none come down from the
    layer above. The last layer is the readout and never spikes, such as `DeltaIntegrator`;
    its own gradient is exact. Whatever reads `frames` of a layer acts on the layer by
    unfiltered traces, as a regulariser of firing rates does (`losses.firing_rate`).

    **Arguments:**

    - `feedback`: $B$, one of `eventjax.feedback`.
    - `shape`: the pseudo-derivative $\psi$ by the distance to the threshold, one of
        `eventjax.surrogates` or any function of arrays that keeps their shape. The papers'
        is `Triangle(v_threshold, 0.3)`, or with a height of `0.3 / v_threshold`; for
        `SteppedIzhikevich` neurons `Exponential(30.0, 0.3)`.
    - `form`: how the same numbers are computed. `"factorised"` swaps the sums over time: a
        reverse pass for each neuron by itself, then one matrix product for each connection.
        `"traces"` goes forward in time and holds $e_{ji}$ of all synapses, in a memory that
        does not grow with time: see `OnlineEProp`, of which it is the batch form, for what
        networks it takes.

    Gradients reach `frames`, `voltages` and `final_state`. Raises a `ValueError` for a
    network without readout where `feedback` has weights of its own, and for layers whose
    sizes do not fit the feedback.

    ??? cite

        Bellec et al., Nature Communications 11:3625 (2020), equations 1, 3, 4, 13 and 14;
        van der Veen, arXiv 2201.07602, for several layers. The methods of both were read
        from code only; see the README of `paper_repro/e_prop`.
    """

    feedback: AbstractFeedback
    shape: Callable[[Array], Array]
    form: Literal["factorised", "traces"] = eqx.field(static=True)

    def __init__(
        self,
        feedback: AbstractFeedback = Symmetric(),
        *,
        shape: Callable[[Array], Array] = Triangle(1.0, 0.3),
        form: Literal["factorised", "traces"] = "factorised",
    ):
        if not isinstance(feedback, AbstractFeedback):
            raise ValueError(
                "`feedback` must be one of `eventjax.feedback`, such as `Symmetric()`, got "
                f"{feedback!r}."
            )
        if form not in ("factorised", "traces"):
            raise ValueError(f"`form` must be 'factorised' or 'traces', got {form!r}.")
        self.feedback = feedback
        self.shape = shape
        self.form = form

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, Clocked):
            exact = "the adjoint `EventEProp()`, or the solver `Clocked(dt)`"
            refuse(self, solver, exact)

    def check_network(self, network: Network) -> None:
        """Raises a `ValueError` if the feedback has no place in the network."""
        *hidden, readout = network.layers
        if not never_spikes(readout.neuron):
            if self.feedback.has_weights:
                raise ValueError(
                    f"`{type(self.feedback).__name__}` brings errors of a readout back, "
                    f"but the last layer, of `{type(readout.neuron).__name__}`, spikes: "
                    "add a layer of `DeltaIntegrator`, or take `feedback.Symmetric()`."
                )
            return
        if readout.connection.delays() is not None:
            raise ValueError(
                "`EProp` takes a readout without delays, got a "
                f"`{type(readout.connection).__name__}`."
            )
        shape = readout.connection.in_size, readout.neuron.size
        for k, layer in enumerate(hidden):
            if not self.feedback.has_weights:
                if layer.neuron.size != shape[0]:
                    raise ValueError(
                        "`Symmetric` feedback brings the readout's weights, for "
                        f"{shape[0]} neurons, to each layer, but `layers[{k}]` has "
                        f"{layer.neuron.size}: give all layers one size, or take "
                        "`feedback.Random()`."
                    )
                continue
            found = None if layer.feedback is None else layer.feedback.shape
            if found != (layer.neuron.size, shape[1]):
                raise ValueError(
                    f"`{type(self.feedback).__name__}` needs feedback weights of shape "
                    f"{(layer.neuron.size, shape[1])} in `layers[{k}]`, got {found}: draw "
                    "them with `ej.init.add_feedback`."
                )
            random = isinstance(self.feedback, Random)
            if not random and layer.neuron.size != shape[0]:
                raise ValueError(
                    f"`{type(self.feedback).__name__}` feedback learns as the readout's "
                    f"weights, for {shape[0]} neurons, do, but `layers[{k}]` has "
                    f"{layer.neuron.size}: give all layers one size, or take "
                    "`feedback.Random()`."
                )

    @property
    def paths(self) -> Paths:
        return Paths(reset=False, recurrent=False, onward=False)

    def spike(
        self, distance: Float[Array, "batch neurons"]
    ) -> Float[Array, "batch neurons"]:
        return spikes_by(self.shape, distance)
