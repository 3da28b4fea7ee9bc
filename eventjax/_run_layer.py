"""One layer of a network under a solver and an adjoint."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._adjoint import AbstractAdjoint
from ._checks import code_of
from ._layer_problem import (
    final_layer_state,
    is_leaky,
    layer_arrivals,
    make_problem,
)
from ._network import Layer
from ._neuron import LIFState
from ._solution import LayerState, RESULTS
from ._solver import AbstractSolver, ClosedForm
from ._solver._problem import LayerRun
from ._solver._voltage import max_voltages, voltages_at
from ._spikes import Frames, Spikes


class LayerOutcome(eqx.Module):
    """What `simulate` takes from each layer; a single batch axis everywhere."""

    out: Spikes | Frames  # what the next layer is given
    spikes: bool = eqx.field(static=True)  # whether these neurons spike at all
    num_spikes: Int[Array, " batch"]
    num_clipped: Int[Array, " batch"]
    state: LayerState
    voltages: Float[Array, "batch times neurons"] | None
    max_voltages: Float[Array, "batch neurons"] | None
    code: Int[Array, " batch"]  # of `RESULTS`


def _capacity(spikes: Spikes | None) -> int:
    return 0 if spikes is None else spikes.capacity


def _first(code: Array, fault: Array, result: Any) -> Array:
    """The code of a fault where there is one and none before."""
    return jnp.where((code == 0) & fault, code_of(result), code)


def run_layer(
    layer: Layer,
    given: Spikes | Frames,
    state: LayerState,
    drive: Float[Array, "batch neurons"] | None,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    record: Float[Array, "batch times"] | None,
    solver: AbstractSolver,
    adjoint: AbstractAdjoint,
    is_first: bool,
) -> LayerOutcome:
    """Run one layer on what the layer before gives.

    Raises a `ValueError` if neuron, solver and adjoint do not work together."""
    if isinstance(solver, ClosedForm) and is_leaky(layer):
        return _run_leaky(
            layer, given, state, drive, t0, t1, record, solver, adjoint, is_first
        )
    if isinstance(solver, ClosedForm):
        raise ValueError(
            f"`ClosedForm` has no closed form for `{type(layer.neuron).__name__}`."
        )
    raise ValueError(
        f"`{type(adjoint).__name__}` does not work with the solver "
        f"`{type(solver).__name__}`: use `ClosedForm()`."
    )


def _run_leaky(
    layer, given, state, drive, t0, t1, record, solver, adjoint, is_first
) -> LayerOutcome:
    """The fast path for LIF neurons and leaky integrators in closed form."""
    arrivals = layer_arrivals(layer, given, state)
    problem = make_problem(layer, arrivals, state, drive, t0, t1)
    run: LayerRun = adjoint.run_layer(solver, problem, layer.capacity)
    out, neuron_state = Spikes(run.times, run.sources), LIFState(run.v, run.i)
    can_be_late = is_first or layer.connection.delays() is not None
    room = max(given.capacity, _capacity(state.arriving))
    end, full = final_layer_state(
        layer, out, neuron_state, arrivals, room, t1, can_be_late
    )
    code = jnp.zeros(run.v.shape[0], jnp.int32)
    code = _first(code, full, RESULTS.in_flight_exceeded)
    code = _first(code, run.num_spikes > layer.capacity, RESULTS.capacity_exceeded)
    none = jnp.zeros_like(run.num_spikes)
    spikes = problem.v_threshold is not None
    return LayerOutcome(
        out=out,
        spikes=spikes,
        num_spikes=run.num_spikes,
        num_clipped=none if run.num_clipped is None else run.num_clipped,
        state=end,
        voltages=None if record is None else voltages_at(record, problem, run),
        max_voltages=None if spikes else max_voltages(problem),
        code=code,
    )
