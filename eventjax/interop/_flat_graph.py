import dataclasses
from typing import Any

import nir

from ._neuron_nodes import NEURON_NODES


# What lies between neurons. `Input` and `Output` are the ports of graphs within a graph.
CARRIERS = (
    nir.Linear,
    nir.Affine,
    nir.Scale,
    nir.Delay,
    nir.Flatten,
    nir.Input,
    nir.Output,
)


@dataclasses.dataclass(frozen=True)
class FlatGraph:
    """A graph without graphs in it.

    - `nodes`: by name; `name.inner` for those of a graph within.
    - `onward`: for each node the names of those its edges lead to, in order.
    - `start`, `end`: the names of its input and of its output.
    """

    nodes: dict[str, Any]
    onward: dict[str, list[str]]
    start: str
    end: str


def flatten(graph: nir.NIRGraph) -> FlatGraph:
    """Put the nodes of graphs within a graph in their place.

    Raises a `ValueError` for edges without nodes or given twice, for more than one input
    or output, and for nodes that we have nothing for, each by its name.
    """
    graph.validate_structure()
    nodes, edges, start, end = _opened(graph, "")
    onward: dict[str, list[str]] = {name: [] for name in nodes}
    inward = dict.fromkeys(nodes, 0)
    for source, target in edges:
        onward[source].append(target)
        inward[target] += 1
    for name, node in nodes.items():
        if not isinstance(node, (*NEURON_NODES, *CARRIERS)):
            raise ValueError(
                f"The node {name!r} is of type `{type(node).__name__}`, which eventjax "
                "does not read. It reads `LIF`, `CubaLIF`, `LI` and `CubaLI`, and "
                "between them `Linear`, `Affine`, `Scale`, `Delay` and `Flatten`: "
                "rewrite the graph with these."
            )
        if inward[name] > 1 and isinstance(node, CARRIERS):
            raise ValueError(
                f"{inward[name]} edges lead to the node {name!r} of type "
                f"`{type(node).__name__}`. Only neurons may sum what several nodes send: "
                "give each of these edges a node of its own."
            )
    return FlatGraph(nodes, onward, start, end)


def _opened(graph: nir.NIRGraph, prefix: str):
    where = f"The graph {prefix[:-1]!r}" if prefix else "The graph"
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ports: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            inner, inner_edges, *ends = _opened(node, full + ".")
            nodes |= inner
            edges += inner_edges
            ports[name] = ends[0], ends[1]
        else:
            nodes[full] = node
            ports[name] = full, full
    edges += [(ports[source][1], ports[target][0]) for source, target in graph.edges]
    found = []
    for kind in (nir.Input, nir.Output):
        names = [x for x, node in graph.nodes.items() if isinstance(node, kind)]
        if len(names) != 1:
            raise ValueError(
                f"{where} must have one `{kind.__name__}` node, got {names or 'none'}: "
                "a network has one input and gives the spikes of its last layer."
            )
        found.append(prefix + names[0])
    return nodes, edges, found[0], found[1]
