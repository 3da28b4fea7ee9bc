import dataclasses

import nir

from ._flat_graph import FlatGraph
from ._neuron_nodes import NEURON_NODES


@dataclasses.dataclass(frozen=True)
class Link:
    """A population by the name of its node, and the names of the nodes on the way to it
    from the one before, and from itself back to itself (`None` if there is no way)."""

    name: str
    inward: list[str]
    back: list[str] | None


def find_chain(graph: FlatGraph) -> list[Link]:
    """The populations in order from the input to the output.

    Raises a `ValueError` that names the node if they are not in sequence: if ways branch
    or lead back to an earlier population, end, or leave nodes out.
    """
    links: list[Link] = []
    path, name = _only(graph, graph.start, _ways(graph, graph.start))
    while name != graph.end:
        ways = _ways(graph, name)
        back = [way for way, target in ways if target == name]
        if len(back) > 1:
            raise ValueError(
                f"{len(back)} ways lead from the neurons {name!r} back to them, by "
                f"{' and '.join(map(_shown, back))}. A layer has one recurrent "
                "connection: sum the weights of both."
            )
        links.append(Link(name, path, back[0] if back else None))
        path, after = _only(graph, name, [way for way in ways if way[1] != name])
        if after in [link.name for link in links]:
            raise ValueError(
                f"The neurons {name!r} send spikes back to the earlier neurons {after!r} "
                f"by {_shown(path)}. Layers are in sequence, and recurrent within a layer "
                "only: put both populations into one node."
            )
        name = after
    _check_end(graph, links, path)
    seen = {graph.start, graph.end, *path}
    for link in links:
        seen |= {link.name, *link.inward, *(link.back or [])}
    left = [x for x in graph.nodes if x not in seen]
    if left:
        raise ValueError(
            f"The nodes {left} are not on the way from the input {graph.start!r} to the "
            f"output {graph.end!r}: remove them."
        )
    return links


def _ways(graph: FlatGraph, source: str) -> list[tuple[list[str], str]]:
    """All ways from a node to the next neurons or the output: the names of what lies
    between, and where they lead. Since one edge leads to each node between, no way runs
    in a circle."""
    found, ahead = [], [([], x) for x in reversed(graph.onward[source])]
    while ahead:
        path, name = ahead.pop()
        if name == graph.end or isinstance(graph.nodes[name], NEURON_NODES):
            found.append((path, name))
        elif not graph.onward[name]:
            raise ValueError(
                f"No edge leads on from the node {name!r}: remove it, or connect it."
            )
        else:
            ahead += [([*path, name], x) for x in reversed(graph.onward[name])]
    return found


def _only(graph: FlatGraph, name: str, ways: list) -> tuple[list[str], str]:
    if len(ways) != 1:
        targets = [target for _, target in ways] or "nothing"
        raise ValueError(
            f"From the node {name!r} ways lead to {targets}, but must lead to one "
            "population or to the output: layers are in sequence."
        )
    return ways[0]


def _check_end(graph: FlatGraph, links: list[Link], path: list[str]) -> None:
    if not links:
        raise ValueError("The graph has no neurons between its input and its output.")
    extra = [
        x
        for x in path
        if not isinstance(graph.nodes[x], (nir.Flatten, nir.Input, nir.Output))
    ]
    if extra:
        raise ValueError(
            f"After the last neurons {links[-1].name!r} come the nodes {extra}, which act "
            "on no neurons: add an `LI` or `CubaLI` node as readout, or remove them."
        )


def _shown(path: list[str]) -> str:
    return str(path) if path else "an edge"
