"""The currents that arrive at a layer in each step of a time grid, and after the last."""

from collections.abc import Sequence

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._adjoint import EProp
from ._adjoint._eligibility import routed
from ._connection import AbstractConnection, ImageConnection
from ._layer_arrivals import weights
from ._network import Layer
from ._solver import Clocked
from ._solver._delay_steps import delay_steps, delayed_currents, no_gradient, product
from ._solver._grid import Grid
from ._spikes import Frames, Spikes


class Arriving(eqx.Module):
    """What arrives at a layer from before."""

    currents: Float[Array, "steps batch neurons"]
    ahead: Float[Array, "ahead batch neurons"]  # in the steps after the run
    too_long: Bool[Array, ""]  # a delay is


def from_frames(
    connection: AbstractConnection, given: Frames, solver: Clocked, onward: bool
) -> Arriving:
    """From the layer before. Unless `onward`, no gradient reaches its spikes."""
    counts = given.counts if onward else lax.stop_gradient(given.counts)
    raster = jnp.moveaxis(counts, 1, 0)
    if isinstance(connection, ImageConnection):
        total = connection.carry(raster)
        return Arriving(total, jnp.zeros_like(total[:0]), jnp.array(False))
    delay, too_long = delay_steps(connection, solver.dt, solver.max_delay, 0)
    total = delayed_currents(raster, weights(connection, raster.dtype), delay)
    steps = raster.shape[0]
    return Arriving(total[:steps], total[steps:], too_long)


def to_readout(
    layer: Layer, earlier: Sequence[tuple[Layer, Frames]], rule: EProp
) -> Arriving:
    """To the readout from the last of the `earlier` layers, under e-prop: errors go to
    each of them by its feedback weights."""
    rasters = [jnp.moveaxis(frames.counts, 1, 0) for _, frames in earlier]
    dtype = rasters[-1].dtype
    rows = weights(layer.connection, dtype)
    own = [None if y.feedback is None else y.feedback.astype(dtype) for y, _ in earlier]
    feedback = tuple(rule.feedback.matrix(rows, x) for x in own)
    total = routed(rows, lax.stop_gradient(rasters[-1]), feedback, tuple(rasters))
    return Arriving(total, jnp.zeros_like(total[:0]), jnp.array(False))


class _Events(eqx.Module):
    """Arrivals of input: of row `row` in step `step`, the number of steps for an arrival
    at the very end of the run. One lane for all neurons, or one for each."""

    step: Int[Array, "batch events lanes"]
    row: Int[Array, "batch events"]
    here: Bool[Array, "batch events lanes"]  # arrives within the run


def _events(
    connection: AbstractConnection,
    num_rows: int,
    spikes: Spikes,
    grid: Grid,
    t1: Array,
    after: Array | None,
) -> _Events:
    """Of each copy of each spike; `after`: of those only that arrive after this time."""
    copies = num_rows // connection.in_size
    first = jnp.arange(copies, dtype=jnp.int32) * connection.in_size
    row = spikes.sources[:, None, :] + first[None, :, None]
    times = jnp.broadcast_to(spikes.times[:, None, :], row.shape)
    row, times = (x.reshape(x.shape[0], -1) for x in (row, times))
    times = no_gradient(times, "The time of an input spike")[:, :, None]
    delays = connection.delays()
    if delays is not None:
        delays = jnp.asarray(delays, times.dtype)
        if delays.ndim == 1:
            delays = delays[row][:, :, None]
        elif delays.ndim == 2:
            delays = delays[row]
        times = times + no_gradient(delays, "A delay")
    here = times <= t1
    if after is not None:
        here &= times > after
    return _Events(grid.step(times), row, here)


def from_input(
    connection: AbstractConnection,
    given: Spikes,
    before: Spikes | None,
    grid: Grid,
    t0: Array,
    t1: Array,
) -> Arriving:
    """From input spikes and those `before` that were in flight at `t0`, put into steps by
    their exact arrival times."""
    dtype = given.times.dtype
    is_image = isinstance(connection, ImageConnection)
    rows = None if is_image else weights(connection, dtype)  # images have too many
    num_rows = connection.copies * connection.in_size
    parts = [_events(connection, num_rows, given, grid, t1, None)]
    if before is not None:
        parts.append(_events(connection, num_rows, before, grid, t1, t0))
    batch, steps = given.times.shape[0], grid.num_steps
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]
    by_row = parts[0].step.shape[2] == 1

    def put(into: Array, events: _Events, at: Array, here: Array) -> Array:
        """Into the steps `at`, those events that are `here`."""
        if by_row:
            new = here[:, :, 0].astype(dtype)
            return into.at[at[:, :, 0], sample, events.row].add(new, mode="drop")
        neuron = jnp.arange(rows.shape[1], dtype=jnp.int32)[None, None]
        new = jnp.where(here, rows[events.row], 0.0)
        return into.at[at, sample[:, :, None], neuron].add(new, mode="drop")

    width = num_rows if by_row else connection.out_size
    total = jnp.zeros((steps, batch, width), dtype)
    last = jnp.zeros((1, batch, width), dtype)
    for events in parts:
        total = put(total, events, events.step, events.here)
        late = events.here & (events.step == steps)
        last = put(last, events, jnp.zeros_like(events.step), late)
    if is_image:
        total, last = connection.carry(total), connection.carry(last)
    elif by_row:
        total, last = product(total, rows), product(last, rows)
    return Arriving(total, last, jnp.array(False))


def input_raster(
    connection: AbstractConnection, given: Spikes, grid: Grid, t1: Array
) -> tuple[Float[Array, "steps batch in"], Float[Array, "batch in"]]:
    """Input spikes of a connection without delays in their steps, and those at the very end
    of the run."""
    dtype, (batch, _) = given.times.dtype, given.times.shape
    events = _events(connection, connection.in_size, given, grid, t1, None)
    step, here = events.step[:, :, 0], events.here[:, :, 0]
    sample = jnp.arange(batch, dtype=jnp.int32)[:, None]
    raster = jnp.zeros((grid.num_steps, batch, connection.in_size), dtype)
    raster = raster.at[step, sample, events.row].add(here.astype(dtype), mode="drop")
    late = (here & (step == grid.num_steps)).astype(dtype)
    return raster, jnp.zeros_like(raster[0]).at[sample, events.row].add(late)
