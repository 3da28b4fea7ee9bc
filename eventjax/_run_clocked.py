"""One layer of a network on a time grid."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._adjoint import AbstractClockedAdjoint, EProp
from ._adjoint._masked_run import run_grid
from ._clocked_currents import Arriving, from_frames, from_input, to_readout
from ._layer_arrivals import in_flight, weights
from ._layer_outcome import first_fault, LayerOutcome
from ._network import Layer
from ._solution import LayerState, RESULTS
from ._solver import Clocked
from ._solver._clocked_problem import ClockedProblem, ClockedRun
from ._solver._delay_steps import delay_steps
from ._solver._grid import Grid
from ._solver._recurrence import Recurrence
from ._solver._step import advance
from ._solver._voltage_integral import Integral
from ._spikes import Frames, Spikes


def run_clocked(
    layer: Layer,
    given: Spikes | Frames,
    state: LayerState,
    drive: Float[Array, "batch neurons"] | None,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    record: Float[Array, "batch times"] | None,
    solver: Clocked,
    adjoint: AbstractClockedAdjoint,
    grid: Grid,
    integral: Integral | None,
    earlier: Sequence[tuple[Layer, Frames]] = (),
) -> LayerOutcome:
    """Run one layer on input spikes, or on the frames of the layer before; `earlier` are
    all those before a readout."""
    dtype = t1.dtype
    is_first = isinstance(given, Spikes)
    _check_state(state, is_first)
    if is_first:
        arriving = from_input(layer.connection, given, state.arriving, grid, t0, t1)
    elif isinstance(adjoint, EProp) and earlier:
        arriving = to_readout(layer, earlier, adjoint)
    else:
        arriving = from_frames(layer.connection, given, solver, adjoint.paths.onward)
    recurrence, too_long = None, arriving.too_long
    if layer.recurrent is not None:
        delay, also = delay_steps(layer.recurrent, solver.dt, solver.max_delay, 1)
        recurrence = Recurrence(weights(layer.recurrent, dtype), delay)
        too_long |= also
    ahead = arriving.ahead.shape[0]
    ahead = ahead if recurrence is None else max(ahead, recurrence.delay.bound)
    arriving = _with_pending(arriving, state.pending, ahead)
    problem = ClockedProblem(
        neuron=_cast(layer.neuron, dtype),
        integrator=solver.integrator,
        grid=grid,
        currents=arriving.currents,
        recurrence=recurrence,
        drive=drive,
        state=state.neuron,
        keep_states=record is not None or integral is not None,
    )
    run = run_grid(problem, adjoint)
    end, full = _final_state(layer, problem, run, arriving, given, state, adjoint, t1)
    batch, size = arriving.currents.shape[1:]
    code = first_fault(jnp.zeros(batch, jnp.int32), full, RESULTS.in_flight_exceeded)
    code = first_fault(code, too_long, RESULTS.delay_too_long)
    none = jnp.zeros(batch, jnp.int32)
    spikes, count = jnp.zeros((grid.num_steps, batch, size), dtype), none
    if run.spikes is not None:
        spikes = run.spikes
        count = jnp.sum(spikes, (0, 2)).astype(jnp.int32)
    return LayerOutcome(
        out=Frames(jnp.moveaxis(spikes, 0, 1), grid.dt, grid.t0),
        spikes=run.spikes is not None,
        num_spikes=count,
        num_clipped=none,
        state=end,
        voltages=None if record is None else _voltages(record, problem, run),
        max_voltages=run.max_voltages,
        code=code,
        voltage_integrals=None if integral is None else _integrals(integral, grid, run),
    )


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
    return jax.tree.map(cast, tree)


def _check_state(state: LayerState, is_first: bool) -> None:
    for name in ("returning",) if is_first else ("arriving", "returning"):
        if getattr(state, name) is not None:
            raise ValueError(
                f"`{name}` of the state holds spikes in flight at exact times, which "
                "`Clocked` cannot take on: start from a state that a run under "
                "`Clocked` gave, or go on with the solver that gave this one."
            )


def _with_pending(arriving: Arriving, pending: Array | None, ahead: int) -> Arriving:
    """Together with what was in flight at the start; room for `ahead` steps after the
    end."""
    steps, batch, size = arriving.currents.shape
    short = ahead - arriving.ahead.shape[0]
    later = jnp.pad(arriving.ahead, ((0, short), (0, 0), (0, 0)))
    if pending is None:
        return Arriving(arriving.currents, later, arriving.too_long)
    if pending.shape != (batch, ahead, size):
        raise ValueError(
            f"`pending` of the state must hold the currents of {ahead} steps to come, "
            f"[*batch, {ahead}, {size}] with this network and this `Clocked`, got those "
            f"of {pending.shape[1]} steps: go on with the `dt` and `max_delay` that gave "
            "this state."
        )
    pending = jnp.moveaxis(pending, 1, 0)
    currents = arriving.currents.at[:ahead].add(pending[:steps])
    later = later.at[: max(ahead - steps, 0)].add(pending[steps:])
    return Arriving(currents, later, arriving.too_long)


def _final_state(
    layer: Layer,
    problem: ClockedProblem,
    run: ClockedRun,
    arriving: Arriving,
    given: Spikes | Frames,
    start: LayerState,
    adjoint: AbstractClockedAdjoint,
    t1: Array,
) -> tuple[LayerState, Bool[Array, " batch"]]:
    """The state at `t1`, and whether more input is in flight than it can hold."""
    later, recurrence = arriving.ahead, problem.recurrence
    if recurrence is not None and run.spikes is not None:
        own = run.spikes
        own = own if adjoint.paths.recurrent else jax.lax.stop_gradient(own)
        own = recurrence.on_the_way(own)
        later = later.at[: own.shape[0]].add(own)
    pending = jnp.moveaxis(later, 0, 1) if later.shape[0] else None
    if isinstance(given, Frames):
        return LayerState(run.state, pending=pending), jnp.zeros(later.shape[1], bool)
    before = start.arriving
    room = given.capacity if before is None else max(given.capacity, before.capacity)
    rest, full = in_flight(layer.connection, given, before, t1, room)
    return LayerState(run.state, arriving=rest, pending=pending), full


def _integrals(
    integral: Integral, grid: Grid, run: ClockedRun
) -> Float[Array, "batch neurons"]:
    """Sums over the ends of all steps. A readout is small, and so are its states."""
    trial, v = integral.trial, run.states.v
    weight = integral.weighting.weight(grid.ends(v.dtype), trial)[:, :, None]
    return grid.dt / trial.length * jnp.sum(weight * v, axis=0)


def _voltages(
    record: Float[Array, "batch times"], problem: ClockedProblem, run: ClockedRun
) -> Float[Array, "batch times neurons"]:
    """At given times, each from the grid point before it."""
    grid = problem.grid
    step = grid.step(record)
    t = grid.start(step, record.dtype)
    rest = jnp.maximum(record - t, 0.0)
    sample = jnp.arange(record.shape[0], dtype=jnp.int32)[:, None]

    def there(first, each):
        return jnp.concatenate([first[None], each])[step, sample]

    states = jax.tree.map(there, problem.state, run.states)

    def one(state, drive, t, dt):
        drive = 0.0 if drive is None else drive
        new = advance(problem.integrator, problem.neuron, t, state, drive, dt)
        return new.v

    along_times = jax.vmap(one, (0, None, 0, 0))
    return jax.vmap(along_times)(states, problem.drive, t, rest)
