"""What is checked of the exact form of graded layers."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._checks import (
    code_of,
    Fault,
    known,
    raise_known,
    spike_faults,
    throw_if_bad,
    worst,
)
from .._neuron._ramp_if import positive
from .._solution import RESULTS
from .._spikes import Spikes


def check_threshold(threshold: Any) -> Float[Array, ""]:
    """A threshold as an array, or a `ValueError`. One that is traced passes."""
    if isinstance(threshold, jax.Array):
        if threshold.shape != ():
            raise ValueError(
                f"`threshold` must be one number, got shape {threshold.shape}."
            )
        if known(threshold):
            positive("threshold", threshold)
        return threshold
    return jnp.asarray(positive("threshold", threshold), jnp.result_type(float))


def check_capacity(capacity: int) -> int:
    if capacity < 1:
        raise ValueError(f"`capacity` must be at least 1, got {capacity}.")
    return capacity


def input_faults(
    spikes: Spikes, inputs: int, t1: Float[Array, ""], values: dict[str, Array | None]
) -> list[Fault]:
    """What may be wrong with the input of one sample and with named `values`, which must
    be finite. Faults whose values are known raise a `ValueError` here."""
    batch = Spikes(spikes.times[None], spikes.sources[None])
    bad = ~((t1 > 0) & jnp.isfinite(t1))
    faults = [
        *spike_faults(batch, inputs, jnp.zeros((), spikes.times.dtype)),
        Fault(RESULTS.invalid_duration, "`t1`", t1, bad),
    ]
    for name, value in values.items():
        if value is not None:
            wrong = ~jnp.isfinite(value)
            wrong = wrong | (value <= 0) if name == "threshold" else wrong
            fault = Fault(RESULTS.invalid_parameters, f"`{name}`", value, wrong)
            faults.append(fault)
    raise_known(faults)
    return faults


def check_count(
    count: Int[Array, ""], capacity: int, faults: list[Fault] | None = None
) -> None:
    """An error if a sample has more spikes than fit, or for the first of its faults."""
    full = jnp.where(count > capacity, code_of(RESULTS.capacity_exceeded), 0)
    code = worst(full[None].astype(jnp.int32), faults or [])
    room = jnp.asarray([capacity], jnp.int32)
    throw_if_bad(code, "spikes (at least) and `capacity`", count[None], room)
