"""A whole network on a time grid, under e-prop by eligibility traces."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._adjoint import EProp
from ._adjoint._eligibility_traces import layer_rows
from ._adjoint._trace_checks import check_for_traces
from ._adjoint._trace_run import Given, How, run_traced, Seen
from ._checks import known
from ._clocked_currents import input_raster
from ._layer_arrivals import in_flight
from ._layer_outcome import LayerOutcome
from ._network import Layer, Network
from ._solution import LayerState
from ._solver import Clocked
from ._solver._grid import Grid
from ._spikes import Frames, Spikes


def run_traces(
    network: Network,
    given: Spikes | Frames,
    drives: Sequence[Float[Array, "batch _"] | None],
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    record: Float[Array, "batch times"] | None,
    solver: Clocked,
    adjoint: EProp,
    grid: Grid,
) -> list[LayerOutcome]:
    """Run all layers together, from rest."""
    check_for_traces(network)
    steps = None if record is None else _steps(record[0], grid)
    if isinstance(given, Frames):
        counts, late = jnp.moveaxis(given.counts, 1, 0), None
    else:
        counts, late = input_raster(network.layers[0].connection, given, grid, t1)
    keep = steps is not None
    if keep:
        _check_voltages(network)
    how = How(adjoint, solver, grid, keep)
    seen = run_traced(Given(network, counts, tuple(drives)), how=how)
    hidden = [
        _hidden(layer, k, given if k == 0 else None, late, seen, steps, grid, t1)
        for k, layer in enumerate(network.layers[:-1])
    ]
    return [*hidden, _readout(seen, steps, grid)]


def _hidden(
    layer: Layer,
    k: int,
    given: Spikes | Frames | None,
    late: Float[Array, "batch in"] | None,
    seen: Seen,
    steps: Int[Array, " times"] | None,
    grid: Grid,
    t1: Array,
) -> LayerOutcome:
    """What layer `k` did; `given` and what of it is `late` are those of the first."""
    count = seen.num_spikes[k]
    end, rows = seen.course.hidden[k], layer_rows(layer, t1.dtype)
    pending = arriving = None
    if rows.recurrent is not None:
        pending = end.spikes @ rows.recurrent
    if isinstance(given, Spikes):
        came = late @ rows.below
        pending = came if pending is None else pending + came
        arriving, _ = in_flight(layer.connection, given, None, t1, given.capacity)
    if pending is not None:
        pending = pending[:, None]
    state = LayerState(end.state, arriving=arriving, pending=pending)
    voltages = None
    if steps is not None:
        voltages = _none(
            "Voltages of a layer that spikes", _at(steps, seen.voltages[k])
        )
    return LayerOutcome(
        out=Frames(jnp.moveaxis(seen.spikes[k], 0, 1), grid.dt, grid.t0),
        spikes=True,
        num_spikes=count,
        num_clipped=jnp.zeros_like(count),
        state=_none("The final state", state),
        voltages=voltages,
        max_voltages=None,
        code=jnp.zeros_like(count),
    )


def _readout(
    seen: Seen, steps: Int[Array, " times"] | None, grid: Grid
) -> LayerOutcome:
    _, batch, size = seen.y.shape
    none = jnp.zeros(batch, jnp.int32)
    silent = jnp.zeros((batch, grid.num_steps, size), seen.y.dtype)
    return LayerOutcome(
        out=Frames(silent, grid.dt, grid.t0),
        spikes=False,
        num_spikes=none,
        num_clipped=none,
        state=LayerState(_none("The final state", seen.course.readout)),
        voltages=None if steps is None else _at(steps, seen.y),
        max_voltages=_none("`max_voltages`", seen.max_voltages),
        code=none,
    )


def _at(
    steps: Int[Array, " times"], values: Float[Array, "steps batch neurons"]
) -> Float[Array, "batch times neurons"]:
    """Those at the ends of some steps."""
    return jnp.moveaxis(values[steps], 0, 1)


def _none(what: str, tree: Any) -> Any:
    """An error where a gradient comes from it."""
    msg = (
        f"{what} has no gradient under `EProp(form='traces')`: let the loss read voltages "
        "of the readout, or `frames`, or use `EProp(form='factorised')`."
    )
    return eqxi.nondifferentiable_backward(tree, msg=msg)


def _steps(record: Float[Array, " times"], grid: Grid) -> Int[Array, " times"]:
    """The steps at whose ends voltages are asked for. Other times are an error."""
    number = (record - grid.t0) / grid.dt
    steps = jnp.rint(number)
    largest = max(abs(grid.t0), abs(grid.t0 + grid.dt * grid.num_steps))
    slack = 4 * float(jnp.finfo(record.dtype).eps) * largest / grid.dt
    wrong = (jnp.abs(number - steps) > max(slack, 1e-4)) | (steps < 1)
    msg = (
        "Under `EProp(form='traces')` voltages are those at the ends of steps, at "
        f"{grid.t0 + grid.dt} ms and every {grid.dt} ms from there, but `record` asks for "
        "other times: leave these out, or use `EProp(form='factorised')`."
    )
    if known(wrong) and np.any(np.asarray(wrong)):
        raise ValueError(f"{msg} Got {np.asarray(record)[np.asarray(wrong)][0]} ms.")
    return eqx.error_if(steps.astype(jnp.int32) - 1, wrong, msg)


def _check_voltages(network: Network) -> None:
    for k, layer in enumerate(network.layers):
        if not hasattr(layer.neuron.initial_state(), "v"):
            raise ValueError(
                f"`record` asks for voltages, but the state of `layers[{k}]`, of "
                f"`{type(layer.neuron).__name__}`, has no field `v`: name its voltage so, "
                "or leave out `record`."
            )
