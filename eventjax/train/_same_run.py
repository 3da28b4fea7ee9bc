"""Whether a checkpoint belongs to a run: what is given to `fit`, as values to compare.

Functions cannot be compared, so a run is known by what can be seen of it: its key and
settings, the first values of the model and of the first batch, the first learning rates.
Numbers may differ by rounding, so that a run can go on with another machine.
"""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree


def fingerprint(
    model: PyTree, batches, trainable, learning_rate, key, **settings: Any
) -> dict[str, Any]:
    """What makes a run this run, in values that JSON knows."""
    steps = len(batches)
    rates = None
    if learning_rate is not None:
        rates = [float(learning_rate(k * steps)) for k in range(3)]
    return {
        "`key`": jr.key_data(key).tolist(),
        "`batches`, steps per epoch": steps,
        "`batches`, first values": _first_values(next(iter(batches.epoch(0)), None)),
        "`model`, first values": _first_values(model),
        "`trainable`": list(arrays_by_name(eqx.filter(model, trainable))),
        "`learning_rate` at the start of epochs 1 to 3": rates,
        **{f"`{name}`": value for name, value in settings.items()},
    }


def differences(stored: Any, mine: Any, name: str = "") -> list[str]:
    """What a checkpoint has and this run has otherwise, in words."""
    if isinstance(stored, Mapping) and isinstance(mine, Mapping):
        out = []
        for key in [*mine, *(key for key in stored if key not in mine)]:
            where = f"{name}, {key}" if name else key
            if key not in mine:
                out.append(f"{where}: only the checkpoint has it")
            elif key not in stored:
                out.append(f"{where}: only this run has it")
            else:
                out += differences(stored[key], mine[key], where)
        return out
    if _alike(stored, mine):
        return []
    return [f"{name}: the checkpoint has {stored}, this run {mine}"]


def arrays_by_name(tree: PyTree) -> dict[str, jax.Array]:
    """The arrays of a tree, by their place in it."""
    leaves, _ = jtu.tree_flatten_with_path(eqx.filter(tree, eqx.is_array))
    return {name_of(path): leaf for path, leaf in leaves}


def name_of(path) -> str:
    return jtu.keystr(path, simple=True, separator=".")


def _first_values(tree: PyTree) -> dict[str, Any]:
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return {
        name_of(path): np.asarray(leaf[tuple(slice(2) for _ in leaf.shape)]).tolist()
        for path, leaf in leaves
        if isinstance(leaf, (np.ndarray, jax.Array))
        and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_alike, one, two))
    if isinstance(one, float) and isinstance(two, float):
        both_nan = math.isnan(one) and math.isnan(two)
        return both_nan or math.isclose(one, two, rel_tol=1e-3, abs_tol=1e-6)
    return one == two
