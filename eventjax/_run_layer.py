"""One layer of a network under a solver and an adjoint."""

from collections.abc import Sequence

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._adjoint import (
    AbstractAdjoint,
    AbstractExactAdjoint,
    AbstractExactEProp,
    Eventprop,
)
from ._adjoint._exact_eprop import without_onward_paths
from ._layer_arrivals import layer_arrivals
from ._layer_outcome import first_fault, LayerOutcome
from ._layer_problem import (
    final_layer_state,
    is_leaky,
    make_event_problem,
    make_problem,
)
from ._network import Layer
from ._neuron import has_closed_form, LeakyIntegrator, LIFState
from ._run_clocked import run_clocked
from ._run_density import run_density
from ._run_readout import run_readout, Signal
from ._solution import LayerState, RESULTS
from ._solver import AbstractSolver, Clocked, ClosedForm, DiffraxEvent
from ._solver._event_problem import AbstractEngine, EventRun, never_spikes
from ._solver._flow_engine import FlowEngine
from ._solver._grid import Grid
from ._solver._max_voltage import max_voltages
from ._solver._problem import LayerProblem, LayerRun
from ._solver._voltage import voltages_at
from ._solver._voltage_integral import Integral, voltage_integrals
from ._spikes import Frames, Spikes


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
    grid: Grid | None,
    integral: Integral | None,
    earlier: Sequence[tuple[Layer, Frames | Signal]] = (),
) -> LayerOutcome:
    """Run one layer on what the layer before gives; `grid` is that of `Clocked`. Only a
    `LeakyIntegrator` can be asked for an `integral`, and a readout under a rule with
    feedback is given all `earlier` layers and what they did.

    Raises a `ValueError` if neuron, solver and adjoint do not work together, or the state
    is one of a solver of another kind."""
    adjoint.check(solver)
    if record is not None and not hasattr(state.neuron, "v"):
        raise ValueError(
            f"`record` asks for voltages, but the state of `{type(layer.neuron).__name__}` "
            "has no field `v`: name its voltage so, or leave out `record`."
        )
    if isinstance(solver, Clocked):
        return run_clocked(
            layer,
            given,
            state,
            drive,
            t0,
            t1,
            record,
            solver,
            adjoint,
            grid,
            integral,
            earlier,
        )
    if state.pending is not None:
        raise ValueError(
            "`pending` of the state holds currents on a time grid, which "
            f"`{type(solver).__name__}` cannot take on: go on with `Clocked`, or start "
            "from a state that a run with exact spike times gave."
        )

    def run(layer, given, state, adjoint) -> LayerOutcome:
        inputs = layer, given, state, drive, t0, t1, record
        return _run_exact(*inputs, solver, adjoint, is_first, integral)

    if not isinstance(adjoint, AbstractExactEProp):
        return run(layer, given, state, adjoint)
    if earlier:
        ordinary = lambda layer, given: run(layer, given, state, Eventprop())
        inputs = layer, given, state, drive, t0, t1, record, integral
        return run_readout(ordinary, *inputs, earlier, adjoint)
    given, state = without_onward_paths(given, state, is_first)
    if isinstance(adjoint, AbstractExactAdjoint):
        return run(layer, given, state, adjoint)
    outcome = run(layer, given, state, Eventprop())
    if never_spikes(layer.neuron):
        return outcome
    inputs = layer, given, state, drive, t0, t1, record
    return run_density(outcome, *inputs, adjoint)


def _run_exact(
    layer, given, state, drive, t0, t1, record, solver, adjoint, is_first, integral
) -> LayerOutcome:
    """One layer with exact spike times, under a rule that is told nothing of the others."""
    inputs = given, state, drive, t0, t1, record
    if isinstance(solver, ClosedForm) and is_leaky(layer):
        return _run_leaky(layer, *inputs, adjoint, is_first, integral, solver.fused)
    engine = _engine(layer, solver, t1)
    return _run_events(layer, *inputs, engine, adjoint, is_first, integral)


def _engine(layer: Layer, solver: AbstractSolver, t1: Array) -> AbstractEngine:
    """What moves single neurons from event to event."""
    if isinstance(solver, DiffraxEvent):
        return solver.engine(t1.dtype)
    if not has_closed_form(layer.neuron):
        raise ValueError(
            f"`ClosedForm` has no closed form for `{type(layer.neuron).__name__}`: use "
            "the solver `DiffraxEvent()` or `Clocked(dt)`."
        )
    if solver.fused:
        raise ValueError(
            "`ClosedForm(fused=True)` is for `LIF` and `LeakyIntegrator`, got "
            f"`{type(layer.neuron).__name__}`: use `ClosedForm()`."
        )
    return FlowEngine()


# Compiled even where `simulate` is called outside `jit`: loops that run as single
# operations would be traced again at each call.
@eqx.filter_jit
def _run_leaky(
    layer, given, state, drive, t0, t1, record, adjoint, is_first, integral, fused
) -> LayerOutcome:
    """The fast path for LIF neurons and leaky integrators in closed form."""
    arrivals = layer_arrivals(layer, given, state, t0)
    problem = make_problem(layer, arrivals, state, drive, t0, t1)
    run: LayerRun = adjoint.run_leaky(problem, layer.capacity, fused)
    out, neuron_state = Spikes(run.times, run.sources), LIFState(run.v, run.i)
    can_be_late = is_first or layer.connection.delays() is not None
    end, full = final_layer_state(
        layer, given, state, out, neuron_state, t1, can_be_late
    )
    code = jnp.zeros(run.v.shape[0], jnp.int32)
    spikes = problem.v_threshold is not None
    # Known without a run: where only integrals are asked for, there need be none.
    num_spikes = run.num_spikes if spikes else code
    code = first_fault(code, full, RESULTS.in_flight_exceeded)
    code = first_fault(code, num_spikes > layer.capacity, RESULTS.capacity_exceeded)
    integrals, resolved = _integrals(problem, integral)
    code = first_fault(code, ~resolved, RESULTS.weighting_unresolved)
    none = jnp.zeros_like(num_spikes)
    return LayerOutcome(
        out=out,
        spikes=spikes,
        num_spikes=num_spikes,
        num_clipped=none if run.num_clipped is None else run.num_clipped,
        state=end,
        voltages=None if record is None else voltages_at(record, problem, run),
        max_voltages=None if spikes else max_voltages(problem),
        code=code,
        voltage_integrals=integrals,
        slopes=_without_gradient(run.slopes),
    )


def _integrals(
    problem: LayerProblem, integral: Integral | None
) -> tuple[Array | None, Array]:
    """What is asked for, and whether it is right."""
    if integral is None:
        return None, jnp.array(True)
    return voltage_integrals(problem, integral)


def _readouts(
    layer, arrivals, state, drive, t0, t1, integral
) -> tuple[Array | None, Array | None, Array]:
    """Largest voltages and integrals of leaky integrators: in closed form whatever the
    solver, since nothing that they depend on is left to solve once their input is known."""
    if not isinstance(layer.neuron, LeakyIntegrator):
        return None, None, jnp.array(True)
    problem = make_problem(layer, arrivals, state, drive, t0, t1)
    return max_voltages(problem), *_integrals(problem, integral)


def _without_gradient(slopes: Array | None) -> Array | None:
    """One that is asked for is an error, not zero."""
    if slopes is None:
        return None
    message = (
        "`Solution.slopes` has no gradient: use `jax.lax.stop_gradient` on it, or the "
        "spike times."
    )
    return eqxi.nondifferentiable_backward(slopes, msg=message, symbolic=True)


@eqx.filter_jit
def _run_events(
    layer, given, state, drive, t0, t1, record, engine, adjoint, is_first, integral
) -> LayerOutcome:
    """Any neurons, event by event."""
    arrivals = layer_arrivals(layer, given, state, t0)
    problem, order = make_event_problem(layer, arrivals, state, drive, t0, t1, record)
    run: EventRun = adjoint.run_events(problem, engine, layer.capacity)
    out = Spikes(run.times, run.sources)
    can_be_late = is_first or layer.connection.delays() is not None
    end, full = final_layer_state(layer, given, state, out, run.state, t1, can_be_late)
    code = jnp.zeros(run.num_spikes.shape, jnp.int32)
    code = first_fault(code, run.failed, RESULTS.no_convergence)
    code = first_fault(code, full, RESULTS.in_flight_exceeded)
    code = first_fault(code, run.num_spikes > layer.capacity, RESULTS.capacity_exceeded)
    code = first_fault(code, run.exhausted, RESULTS.max_steps_exceeded)
    highest, integrals, resolved = _readouts(
        layer, arrivals, state, drive, t0, t1, integral
    )
    code = first_fault(code, ~resolved, RESULTS.weighting_unresolved)
    voltages = None
    if record is not None:
        voltages = jnp.take_along_axis(run.voltages, order[:, :, None], axis=1)
    return LayerOutcome(
        out=out,
        spikes=not never_spikes(layer.neuron),
        num_spikes=run.num_spikes,
        num_clipped=jnp.zeros_like(run.num_spikes),
        state=end,
        voltages=voltages,
        max_voltages=highest,
        code=code,
        voltage_integrals=integrals,
    )
