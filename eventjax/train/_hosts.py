"""What several processes that train one model together must agree on."""

import zlib
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import PyTree

from ._devices import plain_key
from ._records import PathLike
from ._same_run import arrays_by_name


def has_several(mesh: Mesh | None) -> bool:
    """Whether the devices belong to more than one process."""
    return mesh is not None and mesh.is_multi_process


def check_same(**given: PyTree) -> None:
    """A `ValueError` in each process if an argument of this name differs between them."""
    mine = np.array([_sum_of(tree) for tree in given.values()], np.uint32)
    every = multihost_utils.process_allgather(mine)
    different = [
        f"`{name}`" for name, sums in zip(given, every.T) if len(set(sums)) > 1
    ]
    if different:
        raise ValueError(
            f"The processes were given different values of {', '.join(different)}. Each "
            "must call `fit` with the same arguments, made from the same seeds; the data "
            "are divided between them in there."
        )


def check_shared(folder: PathLike) -> None:
    """A `ValueError` in each process if they do not all see the same folder."""
    token = Path(folder) / ".seen-by-all"
    if jax.process_index() == 0:
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
    multihost_utils.sync_global_devices("folder made")
    seen = multihost_utils.process_allgather(np.array(token.exists()))
    if jax.process_index() == 0:
        token.unlink()
    if not seen.all():
        raise ValueError(
            f"`checkpoints`: the folder {folder} must be one that all processes share, but "
            f"the processes {np.flatnonzero(~seen).tolist()} do not see what process 0 "
            "writes there. Use a file system that all hosts have."
        )


def _sum_of(tree: PyTree) -> int:
    """A checksum of a tree's arrays."""
    total = 0
    for name, leaf in arrays_by_name(tree).items():
        array = np.asarray(plain_key(leaf))
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total
