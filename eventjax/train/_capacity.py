import copy
from collections.abc import Sequence
from typing import TypeVar

import jax
from jaxtyping import PyTree

from .._network import Layer


_Model = TypeVar("_Model", bound=PyTree)


def grow(model: _Model, needed: tuple[int | None, ...]) -> _Model:
    """Double the capacity of each layer that needs more, until it has enough.

    **Arguments:**

    - `model`: a `Network`, or any pytree with one in it. Use it outside `jit`.
    - `needed`: for each of its layers the number of spikes that one sample emitted, or
        `None` if the layer does not spike.

    **Returns:** the same parameters with new capacities. Layers with room are unchanged.

    **Raises:** `ValueError` unless `needed` has one entry for each layer.
    """
    count = len(layers(model))
    if count != len(needed):
        raise ValueError(
            f"`needed` must have one entry for each of the model's {count} layers, got "
            f"{len(needed)}."
        )
    capacities = []
    for layer, wanted in zip(layers(model), needed, strict=True):
        capacity = layer.capacity
        while wanted is not None and capacity < wanted:
            capacity *= 2
        capacities.append(capacity)
    return with_capacities(model, capacities)


def with_capacities(model: _Model, capacities: Sequence[int]) -> _Model:
    """The same parameters with the given capacities, one for each layer."""
    left = iter(capacities)

    def change(leaf):
        if not _is_layer(leaf):
            return leaf
        # Not by the constructor: in a tree of which leaves are trained, say, a layer holds
        # booleans, which that does not take.
        new = copy.copy(leaf)
        object.__setattr__(new, "capacity", next(left))
        return new

    return jax.tree.map(change, model, is_leaf=_is_layer)


def layers(model: PyTree) -> list[Layer]:
    """The layers of the network in a model, in order."""
    return [x for x in jax.tree.leaves(model, is_leaf=_is_layer) if _is_layer(x)]


def _is_layer(x: object) -> bool:
    return isinstance(x, Layer)
