"""Checkpoints: all that a run needs to go on after an interruption as if there had been
none."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ._capacity import layers, with_capacities
from ._checkpoint_files import CheckpointFiles, described
from ._records import PathLike
from ._run import Notes, Run
from ._same_run import arrays_by_name, differences, name_of
from ._tally import Tally


class NoCheckpoints:
    """Saves nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def restore(self, run: Run, epochs: int) -> None:
        pass

    def within_epoch(self, run: Run, tally: Tally) -> None:
        pass

    def after_epoch(self, run: Run) -> None:
        pass


class Checkpoints:
    """The last checkpoints of a run in a folder of its own, each called by its step.

    **Arguments:**

    - `folder`: is made if need be.
    - `fingerprint`: what `fit` was called with, see `_same_run`.
    - `every`: steps between two checkpoints within an epoch, or `None` for no such.
    - `keep`: how many stay.
    """

    def __init__(
        self,
        folder: PathLike,
        fingerprint: dict[str, Any],
        every: int | None,
        keep: int,
    ):
        self._files = CheckpointFiles(folder, keep)
        self._fingerprint = fingerprint
        self._every = every
        self._step = 0  # of the newest one

    def __enter__(self):
        self._files.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def within_epoch(self, run: Run, tally: Tally) -> None:
        """Save an epoch that is under way, if it is time to."""
        if self._every is not None and run.notes.step - self._step >= self._every:
            self._save(run, tally.so_far())

    def after_epoch(self, run: Run) -> None:
        self._save(run, None)

    def _save(self, run: Run, tally: dict[str, Any] | None) -> None:
        # Copies: the next step is given the memory of these arrays while they are written.
        arrays = {name: np.array(x) for name, x in _arrays(_tree(run)).items()}
        notes = {
            "fingerprint": self._fingerprint,
            "capacities": _capacities(run.model),
            "best_capacities": None if run.best is None else _capacities(run.best),
            "run": dataclasses.asdict(run.notes),
            "tally": tally,
        }
        self._files.save(run.notes.step, arrays, notes)
        self._step = run.notes.step

    def restore(self, run: Run, epochs: int) -> dict[str, Any] | None:
        """Let a new run go on from the newest checkpoint, if there is one.

        **Returns:** what is known of an epoch that was under way, for its `Tally`.

        **Raises:** `ValueError` if it is not one of this run, `Failure` if it is damaged.
        """
        number = self._files.newest()
        if number is None:
            return None
        notes = self._files.read_notes(number)
        found = differences(notes["fingerprint"], self._fingerprint)
        if len(notes["capacities"]) == len(layers(run.model)):
            run.adopt(with_capacities(run.model, notes["capacities"]))
            if notes["best_capacities"] is not None:
                run.best = with_capacities(run.model, notes["best_capacities"])
        tree = _tree(run)
        like = _arrays(tree)
        found += differences(notes["arrays"], described(like))
        tally = notes.get("tally")
        epoch = notes["run"]["epoch"] + (tally is not None)
        if epoch > epochs:
            found.append(f"`epochs`: the checkpoint is of epoch {epoch}")
        if found:
            raise ValueError(
                f"`checkpoints`: what {self._files.folder} holds is not of this run, or "
                "not of this length:\n  "
                + "\n  ".join(found[:10])
                + ("\n  and more" if len(found) > 10 else "")
                + "\nGive another folder to start a new run, or call `fit` as "
                "it was called before."
            )
        arrays = self._files.read_arrays(number, notes)
        parts = _filled(
            tree, {name: _like(x, like[name]) for name, x in arrays.items()}
        )
        run.go_on_from(
            parts["model"], parts["opt_state"], parts["best"], Notes(**notes["run"])
        )
        self._step = run.notes.step
        return tally


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


def _like(array: np.ndarray, like: jax.Array) -> jax.Array:
    """On the same devices, and as ready to change its type or to leave its device."""
    new = jax.device_put(array, like.sharding if like.committed else None)
    # A weak type is kept by what is written into an array that has one.
    return like.at[...].set(new) if like.weak_type else new


def _filled(tree: PyTree, arrays: dict[str, jax.Array]) -> PyTree:
    """The tree with other arrays."""

    def fill(path, leaf):
        new = arrays.get(name_of(path), leaf)
        if isinstance(leaf, jax.Array) and _is_key(leaf):
            return jr.wrap_key_data(new, impl=jr.key_impl(leaf))
        return new

    return jtu.tree_map_with_path(fill, tree)
