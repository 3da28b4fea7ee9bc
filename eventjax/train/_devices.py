"""One step on several devices: each goes through its own samples at its own pace.

The exact solver's loops are small and differ from sample to sample, so a compiler that
divides single operations would make all devices wait for each other in each turn. Here
they meet once, when the gradients are summed.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


_AXIS = "batch"
_SAME, _OWN = PartitionSpec(), PartitionSpec(_AXIS)

Devices = Sequence[jax.Device] | Mesh

_Tree = TypeVar("_Tree", bound=PyTree)


def mesh_of(devices: Devices | None) -> Mesh | None:
    """All the devices in one row, or `None` for the default device alone."""
    if devices is None:
        return None
    many = isinstance(devices, Mesh)
    found = list(devices.devices.flat) if many else list(devices)
    if not found or len(set(found)) < len(found):
        raise ValueError(
            "`devices` must have at least one device and each only once, for instance "
            f"`jax.devices()`, got {found}."
        )
    owners = {device.process_index for device in found}
    missing = sorted(set(range(jax.process_count())) - owners)
    if missing and owners != {jax.process_index()}:
        raise ValueError(
            "`devices` must have some of each process, or be this process's own alone, but "
            f"those of the processes {missing} are left out. `jax.devices()` has all of "
            "them, `jax.local_devices()` this process's own."
        )
    return Mesh(np.array(found), (_AXIS,), axis_types=(AxisType.Auto,))


def on_each(
    mesh: Mesh | None, run: Callable[[Any, Any], Any], same: PyTree, batch: PyTree
) -> PyTree:
    """`run(same, batch)` on each device with its share of the batch; inside `jit`. What it
    returns are arrays that do not differ between devices: what the functions below make."""
    if mesh is None:
        return run(same, batch)
    arrays, rest = eqx.partition((same, batch), eqx.is_array)
    return jax.shard_map(
        lambda *arrays: run(*eqx.combine(arrays, rest)),
        mesh=mesh,
        in_specs=(_SAME, _OWN),
        out_specs=_SAME,
        check_vma=False,
    )(*arrays)


def own_key(mesh: Mesh | None, key: jax.Array | None) -> jax.Array | None:
    """Each device's own key, so that samples on different devices get different noise."""
    if mesh is None or mesh.size == 1 or key is None:
        return key
    return jr.fold_in(key, lax.axis_index(_AXIS))


def mean(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """Over devices, whose shares are of one size."""
    return tree if mesh is None else lax.pmean(tree, _AXIS)


def total(mesh: Mesh | None, tree: _Tree) -> _Tree:
    return tree if mesh is None else lax.psum(tree, _AXIS)


def largest(mesh: Mesh | None, tree: _Tree) -> _Tree:
    return tree if mesh is None else lax.pmax(tree, _AXIS)


def anywhere(mesh: Mesh | None, flag: jax.Array) -> jax.Array:
    return flag if mesh is None else lax.psum(flag.astype(jnp.int32), _AXIS) > 0


def all_samples(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """Arrays with an entry for each sample, of the whole batch."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, _AXIS, tiled=True), tree)


def replicated(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """The tree with all its arrays on each device."""
    return _placed(mesh, _SAME, tree)


def divided(mesh: Mesh | None, batch: _Tree) -> _Tree:
    """The batch with a share of its samples on each device."""
    if mesh is not None:
        _check_divisible(mesh.size, batch)
    return _placed(mesh, _OWN, batch)


def on_one(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """A replicated tree on this process's first device alone."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda x: x.addressable_data(0) if eqx.is_array(x) else x, tree)


def plain_key(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """What a random key is made of; any other array as it is."""
    return jr.key_data(x) if _is_key(x) else x


def _check_divisible(number: int, batch: PyTree) -> None:
    leaves, _ = jtu.tree_flatten_with_path(eqx.filter(batch, eqx.is_array))
    shapes = {jtu.keystr(path): np.shape(leaf) for path, leaf in leaves}
    sizes = {shape[:1] for shape in shapes.values()}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            "To be divided between devices, all arrays of a batch must have the samples "
            f"along their first axis, but their shapes are {shapes}. What is the same for "
            "all samples belongs into the model or the loss function."
        )
    ((size,),) = sizes
    if size % number:
        raise ValueError(
            f"A batch of {size} samples cannot be divided evenly between {number} devices. "
            f"Use batches of {size - size % number or number} or another multiple of "
            f"{number}, with `drop_last=True` where a smaller batch may be left over, or "
            "fewer devices."
        )


def _placed(mesh: Mesh | None, spec: PartitionSpec, tree: _Tree) -> _Tree:
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: _put(x, sharding) if eqx.is_array(x) else x, tree)


def _put(x: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    if isinstance(x, jax.Array):
        if x.sharding.is_equivalent_to(sharding, x.ndim):
            return x
        if _is_key(x):
            data = _put(jr.key_data(x), sharding)
            return jr.wrap_key_data(data, impl=jr.key_impl(x))
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    # Not `device_put`, which would send all of it to all processes to compare.
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])


def _is_key(x: jax.Array | np.ndarray) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
