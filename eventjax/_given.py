"""What a run is given: spikes at exact times, or frames on the grid of `Clocked`."""

import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from ._checks import Fault, spike_faults
from ._network import Network
from ._solution import RESULTS
from ._solver._grid import Grid
from ._spikes import Frames, Spikes


def flatten(given: Spikes | Frames, dtype: Any) -> Spikes | Frames:
    """With a single batch axis."""
    if isinstance(given, Frames):
        counts = given.counts.reshape(-1, *given.counts.shape[-2:])
        return Frames(counts.astype(dtype), given.dt, given.t0)
    times, sources = (x.reshape(-1, x.shape[-1]) for x in (given.times, given.sources))
    return Spikes(times.astype(dtype), sources.astype(jnp.int32))


def float_type(*trees: PyTree) -> Any:
    """The widest float type of all arrays, also where JAX promotes none by itself."""
    dtypes = [x.dtype for x in jax.tree.leaves(trees) if eqx.is_inexact_array(x)]
    with jax.numpy_dtype_promotion("standard"):
        return ft.reduce(jnp.promote_types, dtypes)


def given_faults(given: Spikes | Frames, network: Network, t0: Array) -> list[Fault]:
    """`given` has a single batch axis."""
    if isinstance(given, Frames):
        wrong = ~jnp.isfinite(given.counts)
        name = "`spikes.counts`"
        return [Fault(RESULTS.invalid_frames, name, given.counts, wrong, True)]
    return spike_faults(given, network.layers[0].connection.in_size, t0)


def without(given: Spikes | Frames, bad: Bool[Array, " batch"]) -> Spikes | Frames:
    """Nothing in samples that are bad: a compiled program goes on with them, and must
    come to an end."""
    if isinstance(given, Frames):
        counts = jnp.where(bad[:, None, None], 0.0, given.counts)
        return Frames(counts, given.dt, given.t0)
    times = jnp.where(bad[:, None], jnp.inf, given.times)
    return Spikes(times, jnp.where(bad[:, None], 0, given.sources))


def check_frames(frames: Frames, network: Network, grid: Grid | None) -> None:
    """A `ValueError` unless they are those of the run's grid."""
    if grid is None:
        raise ValueError(
            "`Frames` are for runs under the solver `Clocked`, since they hold no times: "
            "give `Spikes`, or `solver=Clocked(dt)`."
        )
    steps, units = frames.counts.shape[-2:]
    if units != network.layers[0].connection.in_size:
        raise ValueError(
            f"`spikes` must hold frames of {network.layers[0].connection.in_size} units, "
            f"the `in_size` of the first connection, got {units}."
        )
    same = np.isclose([frames.dt, frames.t0], [grid.dt, grid.t0], rtol=1e-6).all()
    if not same or steps != grid.num_steps:
        raise ValueError(
            f"The run has {grid.num_steps} steps of {grid.dt} ms from {grid.t0} ms on, but "
            f"`spikes` holds frames of {steps} steps of {frames.dt} ms from {frames.t0} ms "
            "on: make them for the same `dt`, `t0` and `t1`."
        )
