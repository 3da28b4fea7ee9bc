"""Which networks can learn by eligibility traces that go forward in time."""

from typing import Any

from .._connection import Dense, Masked
from .._network import Layer, Network
from .._neuron import DeltaIntegrator
from .._solver._event_problem import never_spikes


def check_for_traces(network: Network) -> None:
    """Raises a `ValueError` for a network that has no traces, or none that are known."""
    *hidden, readout = network.layers
    neuron = readout.neuron
    if not isinstance(neuron, DeltaIntegrator):
        raise ValueError(
            f"The last layer must be a readout of `DeltaIntegrator`, got "
            f"`{type(neuron).__name__}`: eligibility traces are filtered as it filters "
            f"spikes. {_INSTEAD}"
        )
    if not isinstance(neuron.tau_mem, float):
        raise ValueError(
            "`tau_mem` of the readout must be a number, since all its neurons share one "
            f"filter of the eligibility traces, got {neuron.tau_mem}. {_INSTEAD}"
        )
    if not hidden:
        raise ValueError(
            "The network must have a layer that spikes before its readout, got the "
            "readout alone."
        )
    if readout.recurrent is not None:
        raise ValueError(
            "The readout must not be recurrent, got "
            f"`{type(readout.recurrent).__name__}`: it never spikes, so leave it out."
        )
    for k, layer in enumerate(hidden):
        if never_spikes(layer.neuron):
            raise ValueError(
                f"`layers[{k}]` must spike to reach the next one, but is of "
                f"`{type(layer.neuron).__name__}`, which never does."
            )
    for k, layer in enumerate(network.layers):
        _check_connections(f"layers[{k}]", layer)


_INSTEAD = 'Or use `EProp(form="factorised")`.'


def _check_connections(where: str, layer: Layer) -> None:
    for name in ("connection", "recurrent"):
        value = getattr(layer, name)
        if value is None and name == "recurrent":
            continue
        inner: Any = value.connection if isinstance(value, Masked) else value
        if not isinstance(inner, Dense):
            raise ValueError(
                f"`{name}` of `{where}` must be a `Dense` or a `Masked` one, for which "
                f"there is one trace for each weight, got `{type(value).__name__}` of "
                f"`{type(inner).__name__}`. {_INSTEAD}"
            )
