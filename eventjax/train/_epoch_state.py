"""Parts of an optimiser's state that change at the end of an epoch, not in a step."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


class AbstractEpochState(eqx.Module):
    """A part of an optimiser's state that `fit` renews at the end of each epoch.

    It is an array state like any other: steps carry it, checkpoints store it. `metric` is
    the name of the value it reads from an epoch's row, for instance
    `"validation_accuracy"`.
    """

    metric: eqx.AbstractVar[str]

    @abc.abstractmethod
    def after_epoch(
        self, value: float
    ) -> tuple["AbstractEpochState", dict[str, Any] | None]:
        """The state after an epoch with this value of the metric, of the same shapes and
        types, and what is worth a line in the log."""

    @property
    @abc.abstractmethod
    def rate_scale(self) -> float:
        """What the learning rate is multiplied by at present."""


def epoch_states(opt_state: PyTree) -> list[AbstractEpochState]:
    leaves = jax.tree.leaves(opt_state, is_leaf=_is_epoch_state)
    return [x for x in leaves if _is_epoch_state(x)]


def settings_of(opt_state: PyTree) -> list[dict[str, Any]]:
    """What was asked for, in values that JSON knows: the fields that are not arrays."""
    return [
        {
            "rule": type(state).__name__,
            **{
                field.name: _plain(getattr(state, field.name))
                for field in dataclasses.fields(state)
                if field.metadata.get("static", False)
            },
        }
        for state in epoch_states(opt_state)
    ]


def after_epoch(
    opt_state: PyTree, row: Mapping[str, Any], log: Callable[..., None]
) -> PyTree:
    """The optimiser's state at the end of an epoch."""

    def renew(leaf):
        if not _is_epoch_state(leaf):
            return leaf
        if leaf.metric not in row:
            raise ValueError(
                f"The optimiser reads `{leaf.metric}` at the end of each epoch, but the "
                f"epochs have only {', '.join(f'`{name}`' for name in row)}. Name one of "
                "these, or let `loss_fn` return the metric."
            )
        state, event = leaf.after_epoch(row[leaf.metric])
        if event is not None:
            log(epoch=row["epoch"], **event)
        return state

    return jax.tree.map(renew, opt_state, is_leaf=_is_epoch_state)


def _plain(value: Any) -> Any:
    """As it comes back from JSON, to be compared."""
    return list(value) if isinstance(value, tuple) else value


def _is_epoch_state(x: object) -> bool:
    return isinstance(x, AbstractEpochState)
