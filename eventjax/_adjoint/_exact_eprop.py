"""What all forms of e-prop with exact spike times share."""

import abc
from typing import Any

import equinox as eqx
import jax
from jax import lax
from jaxtyping import PyTree

from .._network import Network
from .._neuron import DeltaIntegrator, LeakyIntegrator
from .._solution import LayerState
from .._solver._event_problem import never_spikes
from .._spikes import Spikes
from ..feedback import AbstractFeedback, Adaptive
from ._base import AbstractAdjoint
from ._eprop import EProp


class AbstractExactEProp(AbstractAdjoint):
    """A rule by which each layer gets the errors of the readout directly, and credit stays
    within the neuron: none goes through spikes of other neurons."""

    feedback: eqx.AbstractVar[AbstractFeedback]

    @abc.abstractmethod
    def check_network(self, network: Network) -> None:
        """Raises a `ValueError` if the rule is not for such a network."""


def check_routes(rule: AbstractExactEProp, network: Network) -> None:
    """Raises a `ValueError` if the feedback has no place in the network, or the readout is
    not one whose voltages are sums over its arrivals."""
    feedback = rule.feedback
    EProp(feedback).check_network(network)
    *hidden, readout = network.layers
    if not never_spikes(readout.neuron):
        return
    if not isinstance(readout.neuron, (LeakyIntegrator, DeltaIntegrator)):
        raise ValueError(
            f"`{type(rule).__name__}` takes a readout of `LeakyIntegrator` or "
            f"`DeltaIntegrator`, got `{type(readout.neuron).__name__}`: end the network "
            "with one of these, or use the adjoint `Eventprop()`."
        )
    size = readout.connection.in_size
    for k, layer in enumerate(hidden):
        if isinstance(feedback, Adaptive) and layer.neuron.size != size:
            raise ValueError(
                "`Adaptive` feedback of each layer gets the gradient of the readout's "
                f"weights, for {size} neurons, but `layers[{k}]` has {layer.neuron.size}: "
                "give all layers one size, or take `feedback.Random()`."
            )


def check_feedback(feedback: AbstractFeedback) -> None:
    if not isinstance(feedback, AbstractFeedback):
        raise ValueError(
            "`feedback` must be one of `eventjax.feedback`, such as `Symmetric()`, got "
            f"{feedback!r}."
        )


def stopped(tree: PyTree) -> PyTree:
    """The same without derivative."""
    stop = lambda x: lax.stop_gradient(x) if eqx.is_array(x) else x
    return jax.tree.map(stop, tree)


def without_onward_paths(
    given: Spikes, state: LayerState, is_first: bool
) -> tuple[Spikes, LayerState]:
    """What arrives at a layer, with no gradient to the times of spikes of the layer before
    and of its own; input is no layer."""
    arriving = state.arriving
    if not is_first:
        given, arriving = stopped((given, arriving))
    return given, LayerState(
        state.neuron, arriving, stopped(state.returning), state.pending
    )


@jax.custom_jvp
def same(value: Any, *parts: Any) -> Any:
    """`value`, with the derivative of the sum of its parts; each a tree like it."""
    del parts
    return value


@same.defjvp
def _(primals, tangents):
    first, *rest = tangents[1:]
    total = jax.tree.map(lambda *dots: sum(dots[1:], dots[0]), first, *rest)
    return primals[0], total
