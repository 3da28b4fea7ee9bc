"""Checkpoints: all that a run needs to go on after an interruption as if there had been
none.

A checkpoint is written by orbax, which gives it its final name when it is complete. It has
two items: the arrays of model, optimiser and best model, and JSON with everything else.
Orbax does not notice a damaged array, so the JSON has a checksum of each, and of itself.
"""

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ._capacity import layers, with_capacities
from ._records import PathLike
from ._run import Failure, Notes, Run
from ._same_run import arrays_by_name, differences, name_of


class Checkpoints:
    """The newest checkpoint of a run in a folder of its own.

    **Arguments:**

    - `folder`: is made if need be.
    - `fingerprint`: what `fit` was called with, see `_same_run`.
    """

    def __init__(self, folder: PathLike, fingerprint: dict[str, Any]):
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "`checkpoints` needs orbax-checkpoint: install `eventjax[train]`, or "
                "leave the argument out."
            ) from error
        self._ocp = ocp
        self._folder = Path(folder).absolute()
        self._fingerprint = fingerprint

    def save(self, run: Run) -> None:
        """Write a checkpoint of the run; the one before is removed when it is there."""
        arrays = _arrays(_tree(run))
        notes = {
            "fingerprint": self._fingerprint,
            "capacities": _capacities(run.model),
            "best_capacities": None if run.best is None else _capacities(run.best),
            "run": dataclasses.asdict(run.notes),
            "arrays": _described(arrays),
            "checksums": {name: _checksum(x) for name, x in arrays.items()},
        }
        # Orbax does not store arrays without elements.
        items = self._ocp.args.Composite(
            arrays=self._ocp.args.StandardSave([x for x in arrays.values() if x.size]),
            notes=self._ocp.args.JsonSave(
                {"notes": notes, "checksum": _text_sum(notes)}
            ),
        )
        with self._manager() as manager:
            manager.save(run.notes.epoch, args=items, force=True)

    def restore(self, run: Run, epochs: int) -> None:
        """Let a new run go on from the checkpoint, if there is one.

        **Raises:** `ValueError` if it is not one of this run, `Failure` if it is damaged.
        """
        with self._manager() as manager:
            epoch = manager.latest_step()
            if epoch is None:
                return
            notes = self._read_notes(manager, epoch)
            found = differences(notes["fingerprint"], self._fingerprint)
            if len(notes["capacities"]) == len(layers(run.model)):
                run.adopt(with_capacities(run.model, notes["capacities"]))
                if notes["best_capacities"] is not None:
                    run.best = with_capacities(run.model, notes["best_capacities"])
            tree = _tree(run)
            arrays = _arrays(tree)
            found += differences(notes["arrays"], _described(arrays))
            if epoch > epochs:
                found.append(f"`epochs`: the checkpoint is of epoch {epoch}")
            if found:
                raise ValueError(
                    f"`checkpoints`: what {self._folder} holds is not of this run, or "
                    "not of this length:\n  "
                    + "\n  ".join(found[:10])
                    + ("\n  and more" if len(found) > 10 else "")
                    + "\nGive another folder to start a new run, or call `fit` as "
                    "it was called before."
                )
            arrays = self._read_arrays(manager, epoch, arrays, notes["checksums"])
        parts = _filled(tree, arrays)
        run.go_on_from(
            parts["model"], parts["opt_state"], parts["best"], Notes(**notes["run"])
        )

    def _manager(self):
        options = self._ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False
        )
        return self._ocp.CheckpointManager(self._folder, options=options)

    def _read_notes(self, manager, epoch: int) -> dict[str, Any]:
        args = self._ocp.args
        try:
            item = args.Composite(notes=args.JsonRestore())
            stored = manager.restore(epoch, args=item).notes
            notes, checksum = stored["notes"], stored["checksum"]
        except Exception as error:
            raise self._damaged(epoch, "its notes cannot be read") from error
        if _text_sum(notes) != checksum:
            raise self._damaged(epoch, "its notes do not have their checksum")
        return notes

    def _read_arrays(self, manager, epoch: int, like, checksums) -> dict:
        args = self._ocp.args
        wanted = {name: x for name, x in like.items() if x.size}
        shapes = [
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
            for x in wanted.values()
        ]
        try:
            item = args.Composite(arrays=args.StandardRestore(shapes))
            found = manager.restore(epoch, args=item).arrays
        except Exception as error:
            raise self._damaged(epoch, "its arrays cannot be read") from error
        arrays = like | dict(zip(wanted, found, strict=True))
        for name, array in arrays.items():
            if _checksum(array) != checksums[name]:
                raise self._damaged(epoch, f"`{name}` does not have its checksum")
        return arrays

    def _damaged(self, epoch: int, what: str) -> Failure:
        return Failure(
            f"The checkpoint {self._folder / str(epoch)} is damaged: {what}. Put back a "
            "copy if there is one, or remove the folder to train from the start."
        )


def _tree(run: Run) -> dict[str, PyTree]:
    return {"model": run.model, "opt_state": run.opt_state, "best": run.best}


def _capacities(model: PyTree) -> list[int]:
    return [layer.capacity for layer in layers(model)]


def _arrays(tree: PyTree) -> dict[str, jax.Array]:
    """All arrays in the order of their names; random keys as what they are made of."""
    arrays = arrays_by_name(tree)
    return {name: _plain(arrays[name]) for name in sorted(arrays)}


def _plain(x: jax.Array) -> jax.Array:
    return jr.key_data(x) if _is_key(x) else x


def _is_key(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _filled(tree: PyTree, arrays: dict[str, jax.Array]) -> PyTree:
    """The tree with other arrays."""

    def fill(path, leaf):
        new = arrays.get(name_of(path), leaf)
        if isinstance(leaf, jax.Array) and _is_key(leaf):
            return jr.wrap_key_data(new, impl=jr.key_impl(leaf))
        return new

    return jtu.tree_map_with_path(fill, tree)


def _described(arrays: dict[str, jax.Array]) -> dict[str, list]:
    return {name: [str(x.dtype), list(x.shape)] for name, x in arrays.items()}


def _checksum(array: jax.Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _text_sum(notes: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(notes, sort_keys=True).encode())
