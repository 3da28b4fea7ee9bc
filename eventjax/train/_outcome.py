"""What a training step has to know of a simulation, whichever it was."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from .._checks import item_of
from .._simulate_first_spikes import FirstSpikeSolution
from .._solution import Solution
from .._spikes import Frames, Spikes
from ._capacity import layers


class Outcome(NamedTuple):
    """See `Report`, which has the same."""

    result: Any
    needed: tuple[Int[Array, ""] | None, ...]
    spike_counts: tuple[Int[Array, "..."] | None, ...]


def outcome_of(
    sol: Solution | FirstSpikeSolution | None,
    model: PyTree,
    real: Bool[Array, "*batch"],
) -> Outcome:
    """Of the samples that are `real`."""
    fine = item_of(jnp.zeros(real.shape, jnp.int32))
    if sol is None:
        return Outcome(fine, (), ())
    if isinstance(sol, FirstSpikeSolution):  # which cannot fail
        counts = tuple(_counts(spikes.fired, real) for spikes in sol.spikes)
        return Outcome(fine, (None,) * len(counts), counts)
    parts = zip(sol.spikes, sol.frames, layers(model), strict=True)
    return Outcome(
        sol.result,
        tuple(None if n is None else jnp.max(n) for n in sol.num_spikes),
        tuple(_spike_counts(*part, real) for part in parts),
    )


def _counts(spikes: Array, real: Array) -> Int[Array, " neurons"]:
    """Sums over samples of what each neuron did."""
    flat = spikes.reshape(*real.shape, -1)
    axes = tuple(range(real.ndim))
    return jnp.sum(flat, axes, where=real[..., None]).astype(jnp.int32)


def _spike_counts(
    spikes: Spikes | None, frames: Frames | None, layer: Any, real: Array
) -> Array | None:
    """Spikes of each neuron in all real samples together, `None` if it never spikes."""
    if frames is not None:
        return _counts(jnp.sum(frames.counts, axis=-2), real)
    if spikes is None:
        return None
    counted = jnp.isfinite(spikes.times) & real[..., None]
    zeros = jnp.zeros(layer.neuron.size, jnp.int32)
    return zeros.at[spikes.sources].add(counted.astype(jnp.int32))
