"""What lies between two populations: NIR's weights and delays, and our connections."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import nir
import numpy as np

from .._connection import AbstractConnection, AxonalDelay, Dense
from ._dialect import Dialect


Nodes = list[tuple[str, Any]]


def read_connection(
    nodes: Nodes, in_size: int, gain: np.ndarray, dialect: Dialect, dtype: Any
) -> tuple[AbstractConnection, np.ndarray]:
    """The connection that nodes make in sequence, and the bias they add, `[out]`.

    `gain` multiplies the weights of each neuron, not the bias. Without weights each source
    reaches its own neuron. Raises a `ValueError` that names the node if a shape does not
    fit, for a delay behind the weights, and for weights upon weights.
    """
    weight, bias, delays = None, np.zeros(len(gain)), []
    for name, node in nodes:
        size = in_size if weight is None else len(weight)
        if isinstance(node, (nir.Linear, nir.Affine)):
            if weight is not None:
                raise ValueError(
                    f"The weights {name!r} follow other weights without neurons between "
                    "them: multiply both into one node."
                )
            weight = _finite(name, "weight", node.weight)
            if weight.ndim != 2 or weight.shape[1] != in_size:
                raise ValueError(
                    f"`weight` of the node {name!r} must have shape [neurons, {in_size}], "
                    f"got {weight.shape}."
                )
            if isinstance(node, nir.Affine):
                bias = _of_size(name, "bias", node.bias, len(weight))
        elif isinstance(node, nir.Scale):
            scale = _of_size(name, "scale", node.scale, size)
            weight = np.diag(scale) if weight is None else scale[:, None] * weight
            bias = bias * scale if len(bias) == len(scale) else bias
        elif isinstance(node, nir.Delay):
            if weight is not None:
                raise ValueError(
                    f"The delay {name!r} comes after weights. Delays belong to the source "
                    "of a spike: put it before them."
                )
            delays.append(_of_size(name, "delay", node.delay, size))
    weight = np.eye(in_size) if weight is None else weight
    if len(weight) != len(gain):
        raise ValueError(
            f"{[name for name, _ in nodes] or 'The edge'} must reach {len(gain)} neurons, "
            f"but reaches {len(weight)}."
        )
    connection = _dense(jnp.asarray((gain[:, None] * weight).T, dtype))
    for delay in reversed(delays):
        connection = AxonalDelay(connection, number(delay * dialect.time_unit, dtype))
    return connection, bias


def write_connection(
    connection: AbstractConnection, gain: np.ndarray, dialect: Dialect, where: str
) -> list[Any]:
    """The nodes of a connection in sequence. `where` names it in a `ValueError` if it is
    not a `Dense`, with or without `AxonalDelay`."""
    nodes = []
    while isinstance(connection, AxonalDelay):
        delay = np.asarray(connection.delay, np.float64) / dialect.time_unit
        nodes.append(nir.Delay(np.full(connection.in_size, delay)))
        connection = connection.connection
    if not isinstance(connection, Dense):
        raise ValueError(
            f"`{where}` is or holds a `{type(connection).__name__}`, which NIR cannot "
            "hold in full. It can hold a `Dense`, alone or within an `AxonalDelay`: make "
            "one with the same weights."
        )
    weight = np.asarray(connection.weight)
    weight = (weight / gain).astype(weight.dtype).T
    return [*nodes, nir.Linear(np.ascontiguousarray(weight))]


def number(x: np.ndarray, dtype: Any) -> Any:
    """One number if all values are the same, as a constant of the network; else an
    array."""
    return float(x[0]) if np.all(x == x[0]) else jnp.asarray(x, dtype)


def _dense(weight: Any) -> Dense:
    dense = Dense(*weight.shape, dtype=weight.dtype, key=jr.key(0))
    return eqx.tree_at(lambda x: x.weight, dense, weight)


def _finite(node: str, name: str, value: Any) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` of the node {node!r} has values that are not finite."
        )
    return array


def _of_size(node: str, name: str, value: Any, size: int) -> np.ndarray:
    array = _finite(node, name, value).reshape(-1)
    if array.size not in (1, size):
        raise ValueError(
            f"`{name}` of the node {node!r} must have {size} values, got {array.size}."
        )
    return np.broadcast_to(array, size)
