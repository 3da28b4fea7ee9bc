"""Automatic differentiation through the exact spike times, one event at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .._solver import AbstractSolver, ClosedForm, DiffraxEvent
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from .._solver._problem import LayerProblem, LayerRun, one_list
from .._solver._ramp import ramp_times, RampProblem
from ._base import AbstractExactAdjoint, AbstractRampAdjoint, refuse
from ._direct_crossing import crossing, flow
from ._event_adjoint import event_direct


class _Sample(eqx.Module):
    """A `LayerProblem` of one sample; parameters have shape `[neurons]`."""

    rows: Float[Array, "rows neurons"]
    recurrent: Float[Array, "copies neurons neurons"] | None
    recurrent_delay: Float[Array, "copies neurons"] | None
    tau_mem: Float[Array, " neurons"]
    tau_syn: Float[Array, " neurons"]
    v_threshold: Float[Array, " neurons"] | None
    v_reset: Float[Array, " neurons"] | None
    bias: Float[Array, " neurons"]
    v: Float[Array, " neurons"]
    i: Float[Array, " neurons"]
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, " events"]  # the last one is +inf
    index: Int[Array, " events"]


class _State(eqx.Module):
    # The neurons at time t.
    t: Float[Array, ""]
    v: Float[Array, " neurons"]
    i: Float[Array, " neurons"]
    # What has happened.
    num_arrived: Int[Array, ""]  # of the input
    times: Float[Array, " capacity"]  # spikes, and which of their rows have arrived
    sources: Int[Array, " capacity"]
    arrived: Bool[Array, " returns"]  # copies times capacity
    num_spikes: Int[Array, ""]


class _Arrival(eqx.Module):
    """The next row to arrive, at the time `+inf` if there is none."""

    time: Float[Array, ""]
    row: Float[Array, " neurons"]
    is_input: Bool[Array, ""]
    which: Int[Array, ""]  # of the returning ones, if it is not input


def _next_arrival(sample: _Sample, state: _State) -> _Arrival:
    time = sample.times[state.num_arrived]
    row = sample.rows[sample.index[state.num_arrived]]
    if sample.recurrent is None:
        return _Arrival(time, row, jnp.array(True), jnp.array(0, jnp.int32))
    due = state.times[None] + sample.recurrent_delay[:, state.sources]
    due = due.reshape(-1)
    which = jnp.argmin(jnp.where(state.arrived, jnp.inf, due)).astype(jnp.int32)
    due = jnp.where(state.arrived[which], jnp.inf, due[which])
    copy, spike = which // state.times.size, which % state.times.size
    is_input = time <= due
    return _Arrival(
        jnp.where(is_input, time, due),
        jnp.where(is_input, row, sample.recurrent[copy, state.sources[spike]]),
        is_input,
        which,
    )


def _spike_times(
    sample: _Sample, state: _State, limit: Float[Array, ""]
) -> Float[Array, " neurons"]:
    """When each neuron spikes next, `+inf` if not up to the time `limit`."""
    if sample.v_threshold is None:
        return jnp.full_like(state.v, jnp.inf)
    after = crossing(
        jnp.broadcast_to(limit - lax.stop_gradient(state.t), state.v.shape),
        state.v,
        state.i,
        sample.bias,
        sample.v_threshold,
        sample.tau_mem,
        sample.tau_syn,
    )
    crosses = jnp.isfinite(after)
    time = state.t + jnp.where(crosses, after, 0.0)
    # The sum may round to a time past the limit. Its derivative is not to be touched.
    time = time + lax.stop_gradient(jnp.minimum(time, limit) - time)
    return jnp.where(crosses, time, jnp.inf)


def _advance(
    sample: _Sample,
    state: _State,
    t: Float[Array, ""],
    spike_times: Float[Array, " neurons"],
    spiking: Bool[Array, " neurons"],
) -> tuple[Array, Array]:
    """Voltage and current at `t`, with neurons reset that are `spiking` at `t`.

    Each of these goes to its own spike time and from there to `t`: a step of no length,
    but neurons that spike at one time need not go on doing so when parameters change.
    """
    parameters = sample.tau_mem, sample.tau_syn
    if sample.v_threshold is None:
        return flow(state.v, state.i, sample.bias, t - state.t, *parameters)
    stop = jnp.where(spiking, spike_times, t)
    v, i = flow(state.v, state.i, sample.bias, stop - state.t, *parameters)
    v = jnp.where(spiking, sample.v_reset, v)
    return flow(v, i, sample.bias, t - stop, *parameters)


def _step(sample: _Sample, state: _State) -> _State:
    """Do what happens next: spikes of one time, or one arrival, or nothing."""
    capacity = state.times.size
    arrival = _next_arrival(sample, state)
    limit = lax.stop_gradient(jnp.minimum(arrival.time, sample.t1))
    spike_times = _spike_times(sample, state, limit)
    first = lax.stop_gradient(jnp.min(spike_times))

    fits = state.num_spikes <= capacity
    spiking = fits & jnp.isfinite(spike_times) & (spike_times == first)
    spikes = jnp.any(spiking)
    arrives = fits & ~spikes & (arrival.time <= sample.t1)
    t = jnp.where(spikes, first, jnp.where(arrives, arrival.time, state.t))
    v, i = _advance(sample, state, t, spike_times, spiking)

    neurons = jnp.arange(state.v.size, dtype=jnp.int32)
    count = jnp.cumsum(spiking, dtype=jnp.int32)
    place = jnp.where(spiking, state.num_spikes + count - 1, capacity + neurons)
    put = lambda into, x: into.at[place].set(x, mode="drop", unique_indices=True)
    gone = jnp.arange(state.arrived.size, dtype=jnp.int32) == arrival.which
    return _State(
        t=t,
        v=v,
        i=i + jnp.where(arrives, arrival.row, 0.0),
        num_arrived=state.num_arrived + (arrives & arrival.is_input).astype(jnp.int32),
        times=put(state.times, spike_times),
        sources=put(state.sources, neurons),
        arrived=state.arrived | (gone & arrives & ~arrival.is_input),
        num_spikes=state.num_spikes + count[-1],
    )


def _run_sample(sample: _Sample, capacity: int) -> _State:
    """The state at `t1`."""
    copies = 0 if sample.recurrent is None else sample.recurrent.shape[0]
    returns = copies * capacity
    state = _State(
        t=sample.t0,
        v=sample.v,
        i=sample.i,
        num_arrived=jnp.array(0, jnp.int32),
        times=jnp.full(capacity, jnp.inf, sample.v.dtype),
        sources=jnp.zeros(capacity, jnp.int32),
        arrived=jnp.zeros(returns, bool),
        num_spikes=jnp.array(0, jnp.int32),
    )
    # Each step takes an arrival from the input or from the spikes, or adds a spike.
    # Once there is a spike too many nothing happens any more.
    steps = sample.times.size - 1
    if sample.v_threshold is not None:
        steps += capacity + 1 + returns
    step = lambda state, _: (_step(sample, state), None)
    state, _ = lax.scan(step, state, None, length=steps)
    nobody = jnp.zeros(state.v.shape, bool)
    v, i = _advance(sample, state, sample.t1, jnp.full_like(state.v, jnp.inf), nobody)
    return eqx.tree_at(lambda s: (s.t, s.v, s.i), state, (sample.t1, v, i))


def direct_run(problem: LayerProblem, capacity: int) -> LayerRun:
    """Solve the layer by plain differentiable operations, event by event."""
    batch, neurons = problem.v.shape
    rows, times, index = one_list(
        problem.rows, problem.times, problem.index, problem.streams
    )
    spread = lambda x: None if x is None else jnp.broadcast_to(x, (batch, neurons))
    last = jnp.full((batch, 1), jnp.inf, problem.times.dtype)
    each = dict(
        tau_mem=spread(problem.tau_mem),
        tau_syn=spread(problem.tau_syn),
        v_threshold=spread(problem.v_threshold),
        v_reset=spread(problem.v_reset),
        bias=spread(problem.bias),
        v=problem.v,
        i=problem.i,
        times=jnp.concatenate([times.T, last], axis=1),
        index=jnp.pad(index.T, ((0, 0), (0, 1))),
    )
    shared = dict(
        rows=rows,
        recurrent=problem.recurrent,
        recurrent_delay=problem.recurrent_delay,
        t0=problem.t0,
        t1=problem.t1,
    )
    run = lambda each: _run_sample(_Sample(**shared, **each), capacity)
    end = jax.vmap(run)(each)
    return LayerRun(end.times, end.sources, end.num_spikes, end.v, end.i)


class Direct(AbstractExactAdjoint, AbstractRampAdjoint):
    """Automatic differentiation through the exact spike times: the oracle.

    Every operation is differentiable to any order, a spike time by the implicit
    function theorem, so this allows forward mode (`jax.jvp`) and Hessians, which
    `Eventprop` does not. It shares no code with the fast solver, and gives the same
    spikes and the same gradients to rounding.

    The price is one sequential step for each arrival and each spike, up to the layer's
    capacity, and in reverse mode memory for each of them: for small networks and tests.
    """

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, (ClosedForm, DiffraxEvent)):
            refuse(self, solver, "`ClosedForm()` or `DiffraxEvent()`")
        if isinstance(solver, ClosedForm) and solver.fused:
            raise ValueError(
                "`Direct` differentiates its own event loop and has no fused kernel, got "
                "`ClosedForm(fused=True)`: use `ClosedForm()`, or the adjoint "
                "`Eventprop()`."
            )

    def run_leaky(
        self, problem: LayerProblem, capacity: int, fused: bool = False
    ) -> LayerRun:
        return direct_run(problem, capacity)

    def run_events(
        self, problem: EventProblem, engine: AbstractEngine, capacity: int
    ) -> EventRun:
        return event_direct(problem, engine, capacity)

    def run_ramp(self, problem: RampProblem) -> Float[Array, "*made"]:
        return ramp_times(problem)
