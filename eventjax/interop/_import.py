from collections.abc import Sequence
from typing import Any

import jax
import nir
import numpy as np

from .._network import Layer, Network
from ._chain import find_chain, Link
from ._dialect import Dialect
from ._flat_graph import FlatGraph, flatten
from ._neuron_nodes import Read, read_neuron
from ._weight_nodes import number, read_connection


def from_nir(
    graph: nir.NIRGraph,
    dialect: Dialect = Dialect(),
    *,
    capacity: int | Sequence[int | None] | None = None,
    settled: bool = False,
    dtype: Any = None,
) -> Network:
    r"""The network that a graph in the Neuromorphic Intermediate Representation holds.

    The inverse of `to_nir`, and for graphs of others: names and the order of nodes and
    edges do not matter, a recurrent layer may be a graph of its own or a cycle of edges.
    Populations must be in sequence. $R$ and $w_{in}$ go into the weights, $v_{leak}$
    becomes the bias. A parameter that is the same for all neurons is a number, a constant;
    one that is not is an array, which can be trained. `nir.Affine` adds its bias, times
    $R$, to that of the neurons.

    NIR does not say what a run starts from: ours starts from $V = 0$ and $I = 0$, with
    `DeltaIntegrator` (`nir.LI`) from its bias.

    **Arguments:**

    - `graph`: an `nir.NIRGraph`, as `nir.read` or `read_nir` gives it. It is not changed.
    - `dialect`: what is left open by NIR and whoever wrote the graph has settled, see
        `Dialect`.
    - `capacity`: how many spikes a sample may emit in each layer, which NIR does not hold:
        for all layers or a sequence of one for each. `None` takes `Layer`'s default.
    - `settled`: in NIR the bias of an `nir.Affine` before a neuron with synaptic current
        passes the synapse: the current rises to it with `tau_syn`. Ours is there at once,
        so such a graph is refused, unless this is true.
    - `dtype`: type of the network's arrays; JAX's default float type if not given.

    **Raises:** a `ValueError` that names the node for what eventjax has nothing for, and
    for populations that are not in sequence.
    """
    dtype = jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype
    flat = flatten(graph)
    chain = find_chain(flat)
    capacities = _capacities(capacity, len(chain))
    size, layers = int(np.prod(flat.nodes[flat.start].input_type["input"])), []
    for link, room in zip(chain, capacities, strict=True):
        try:
            read = read_neuron(flat.nodes[link.name], dialect)
            layers.append(_layer(flat, link, read, size, dialect, settled, room, dtype))
        except ValueError as error:
            raise ValueError(f"On the way to {link.name!r}: {error}") from error
        size = len(read.gain)
    return Network(layers)


def _layer(
    graph: FlatGraph,
    link: Link,
    read: Read,
    in_size: int,
    dialect: Dialect,
    settled: bool,
    capacity: int | None,
    dtype: Any,
) -> Layer:
    size, added = len(read.gain), np.zeros(len(read.gain))

    def connection(names: list[str], sources: int):
        nonlocal added
        nodes = [(name, graph.nodes[name]) for name in names]
        made, bias = read_connection(nodes, sources, read.gain, dialect, dtype)
        if read.filtered and np.any(bias != 0) and not settled:
            raise ValueError(
                f"`bias` of the `Affine` among {names} passes the synapses of the neurons "
                "and rises to its value with `tau_syn`, while a bias of eventjax is there "
                "from the start. Give `settled=True` to take it so, or set it to zero."
            )
        added = added + read.bias_gain * bias
        return made

    inward = connection(link.inward, in_size)
    back = None if link.back is None else connection(link.back, size)
    parameters = read.parameters | {"bias": read.parameters["bias"] + added}
    neuron = read.make(size, **{x: number(y, dtype) for x, y in parameters.items()})
    return Layer(inward, neuron, back, capacity=capacity)


def _capacities(
    capacity: int | Sequence[int | None] | None, layers: int
) -> Sequence[int | None]:
    if capacity is None or isinstance(capacity, int):
        return [capacity] * layers
    if len(capacity) != layers:
        raise ValueError(
            f"`capacity` must be one number or have one for each of {layers} layers, got "
            f"{len(capacity)}."
        )
    return capacity
