"""What can be wrong with what is given."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checks import known
from .._solver import AbstractSolver, Clocked, ClosedForm
from ._clocked_window import steps_in_window
from ._neuron import Neuron


def windows_of(name: str, duration: Any, neuron: Neuron) -> int:
    """A duration in windows."""
    if not (isinstance(duration, (int, float)) and 0 < duration < math.inf):
        raise ValueError(
            f"`{name}` must be a positive, finite Python number, in ms, got {duration}."
        )
    windows = round(duration / neuron.refractory)
    if windows < 1 or abs(windows * neuron.refractory - duration) > 1e-6 * duration:
        raise ValueError(
            f"`{name}` must be a whole number of refractory times of {neuron.refractory} "
            f"ms, got {duration} ms."
        )
    return windows


def check_solver(solver: AbstractSolver, neuron: Neuron) -> None:
    if isinstance(solver, Clocked):
        steps_in_window(neuron, solver.dt)
    elif not isinstance(solver, ClosedForm):
        raise ValueError(
            "`solver` must be `ej.ClosedForm()` or `ej.Clocked(dt)`, got "
            f"`{type(solver).__name__}`."
        )


def as_batch(name: str, value: Any, size: int, dtype) -> Array:
    """An array `[batch, size]`, finite where its values are known."""
    value = jnp.asarray(value, dtype)
    if value.ndim != 2 or value.shape[1] != size:
        raise ValueError(
            f"`{name}` must have shape [batch, {size}], got {value.shape}."
        )
    if known(value):
        values = np.asarray(value)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"`{name}` must be finite, got {values[tuple(bad[0])]} at "
                f"{bad[0].tolist()}."
            )
    return value


def check_targets(targets: Array, highest: float) -> None:
    """Values that outputs can have, where they are known."""
    if known(targets):
        values = np.asarray(targets)
        bad = values[out_of_range(values, highest)]
        if len(bad):
            raise ValueError(
                f"`targets` must lie between 0 and {highest}, the highest value that an "
                f"output can have, got {bad[0]}."
            )


def out_of_range(targets: Any, highest: float) -> Any:
    """NaN is out of range, too."""
    return ~((targets >= 0) & (targets <= highest))


def check_lasts(name: str, duration: float, neuron: Neuron) -> None:
    """A phase shorter than the filters shows nothing but where it began."""
    least = neuron.tau_syn + neuron.tau_filter
    if duration < least:
        raise ValueError(
            f"`{name}` must be at least `tau_syn + tau_filter` = {least} ms, got "
            f"{duration} ms: the traces are still those of the phase before. Ten times as "
            "long for the free and five times for the nudged phase is a good start."
        )
