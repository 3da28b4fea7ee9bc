from typing import Any

import nir
import numpy as np

from .._network import Layer, Network
from .._neuron import DeltaIntegrator, DeltaLIF, LeakyIntegrator, LIF
from ._dialect import Dialect
from ._neuron_nodes import write_neuron
from ._weight_nodes import write_connection


def to_nir(network: Network, dialect: Dialect = Dialect()) -> nir.NIRGraph:
    r"""A network in the Neuromorphic Intermediate Representation, NIR.

    `LIF` becomes `nir.CubaLIF`, `LeakyIntegrator` becomes `nir.CubaLI`, and without
    synaptic currents `DeltaLIF` becomes `nir.LIF` and `DeltaIntegrator` becomes `nir.LI`.
    `Dense` becomes `nir.Linear`, `AxonalDelay` an `nir.Delay` before it. A recurrent
    connection is a cycle of edges from the neurons to themselves. The bias is $v_{leak}$;
    $R$ and $w_{in}$ take up the units. Without a `dt` in the dialect $R$ of neurons with
    synapses is 1 and weights are stored as they are. With one $R = \tau_{mem} / dt$, and
    weights are divided by it: this is right by NIR's equations, too, and for simulators
    that pass over $R$ and $w_{in}$ and add weights to $I$, and $I$ to $v$, once a step.

    NIR holds neither capacities nor the state that a run starts from.

    **Arguments:**

    - `network`: a `Network` of the above.
    - `dialect`: what is left open by NIR, see `Dialect`.

    **Returns:** an `nir.NIRGraph`, for `nir.write` or `write_nir`. Weights keep their
    type; all other numbers are float64.

    **Raises:** a `ValueError` for a layer that NIR cannot hold, with what is in the way
    and what to do.
    """
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([network.in_size])})}
    edges: list[tuple[str, str]] = []
    last = "input"
    for k, layer in enumerate(network.layers):
        where = f"layers[{k}]"
        _check(layer, dialect, where)
        node, gain = write_neuron(layer.neuron, dialect)
        to_it = write_connection(layer.connection, gain, dialect, f"{where}.connection")
        name = f"neurons_{k}"
        _add(nodes, edges, last, to_it, f"{k}", name)
        nodes[name] = node
        if layer.recurrent is not None:
            back = write_connection(
                layer.recurrent, gain, dialect, f"{where}.recurrent"
            )
            _add(nodes, edges, name, back, f"recurrent_{k}", name)
        last = name
    size = network.layers[-1].neuron.size
    nodes["output"] = nir.Output({"output": np.array([size])})
    edges.append((last, "output"))
    return nir.NIRGraph(nodes, edges)


def _check(layer: Layer, dialect: Dialect, where: str) -> None:
    neuron = layer.neuron
    if not isinstance(neuron, (LIF, LeakyIntegrator, DeltaLIF, DeltaIntegrator)):
        raise ValueError(
            f"`{where}.neuron` is `{type(neuron).__name__}`, which NIR has no node for. "
            "It has nodes for `LIF`, `LeakyIntegrator`, `DeltaLIF` and `DeltaIntegrator`: "
            "use one of these."
        )
    if isinstance(neuron, DeltaLIF) and neuron.subtract != dialect.subtract:
        here = "falls by a fixed amount" if neuron.subtract else "becomes `v_reset`"
        raise ValueError(
            f"V of `{where}.neuron`, a `DeltaLIF`, {here} at a spike, and in the dialect "
            f"it does not. Give `Dialect(subtract={neuron.subtract})` if whoever reads "
            f"the graph does the same, or `DeltaLIF(..., subtract={dialect.subtract})`."
        )
    if layer.feedback is not None:
        raise ValueError(
            f"`{where}.feedback` is for training only and NIR has no place for it: make "
            "the `Layer` anew without it."
        )


def _add(
    nodes: dict[str, Any],
    edges: list[tuple[str, str]],
    source: str,
    between: list[Any],
    suffix: str,
    target: str,
) -> None:
    """Nodes in sequence, from a node to another."""
    *delays, weights = between
    names = [f"delay_{suffix}" + (f"_{j}" if j else "") for j in range(len(delays))]
    names.append(f"weights_{suffix}")
    nodes |= dict(zip(names, [*delays, weights], strict=True))
    path = [source, *names, target]
    edges += zip(path[:-1], path[1:], strict=True)
