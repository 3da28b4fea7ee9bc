"""Eventprop for any neurons: back through the steps of a run, one for each sample at a
time, each by the vector-Jacobian product of that step alone.

Between events this is the discrete adjoint of the solver that was used, at events the jump
that follows from the Newton correction of the spike time. Gradients of what all samples
share (neurons, weights) are summed over the batch in each step.
"""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._solver._event_log import places_of, Steps
from .._solver._event_loop import bring, Carry
from .._solver._event_problem import AbstractEngine, EventProblem, never_spikes
from .._solver._event_step import ARRIVAL, batched_step, Given, NONE, RECORD


class EventTrace(eqx.Module):
    """What the reverse pass needs of a run."""

    steps: Steps
    num_steps: Int[Array, " batch"]
    times: Float[Array, "batch capacity"]
    sources: Int[Array, "batch capacity"]

    @classmethod
    def of(cls, end: Carry) -> "EventTrace":
        return cls(end.steps, end.num_steps, end.own.times, end.own.sources)


class EventCotangents(eqx.Module):
    """Of a run's outputs."""

    times: Float[Array, "batch capacity"]
    state: PyTree[Float[Array, "batch neurons"]]
    voltages: Float[Array, "batch records neurons"]


class _Reverse(eqx.Module):
    # Cotangents where each sample stands
    t: Float[Array, " batch"]
    state: PyTree
    # Cotangents of spike times, and of what was recorded, not passed yet
    spikes: Float[Array, "batch capacity"]
    record: Int[Array, " batch"]
    # Gradients
    neuron: PyTree
    rows: Float[Array, "rows neurons"]
    recurrent: Float[Array, "neurons neurons"] | None
    delay: Float[Array, " neurons"] | None
    drive: Float[Array, "batch neurons"]
    times: Float[Array, "batch events"]
    left: Int[Array, " batch"]  # steps of each sample not passed yet


def _read(steps: Steps, place: Int[Array, " batch"]) -> Steps:
    sample = jnp.arange(place.shape[0], dtype=jnp.int32)
    pick = lambda x: x.at[sample, place].get(mode="promise_in_bounds")
    return jax.tree.map(pick, steps)


def _masked(mask: Array, tree: PyTree) -> PyTree:
    def one(x):
        wide = mask.reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.where(wide, x, jnp.zeros_like(x))

    return jax.tree.map(one, tree)


def _pass_step(
    at: _Reverse,
    problem: EventProblem,
    engine: AbstractEngine,
    trace: EventTrace,
    voltages: Array,
    silent: bool,
    own_paths: bool,
) -> _Reverse:
    batch = at.t.shape[0]
    sample = jnp.arange(batch, dtype=jnp.int32)
    there = at.left > 0
    here = _read(trace.steps, jnp.maximum(at.left - 1, 0))
    decision = here.decision
    kind = jnp.where(there, decision.kind, NONE)
    mask = decision.mask & there[:, None]
    decision = eqx.tree_at(lambda d: (d.kind, d.mask), decision, (kind, mask))
    row, target, index, source = bring(problem, trace.times, trace.sources, decision)

    # What comes in: of the state after the step, its time, and its spikes' times.
    is_record = kind == RECORD
    record = at.record - is_record.astype(jnp.int32)
    state_bar = at.state
    if voltages.shape[1]:
        seen = voltages[sample, jnp.maximum(record, 0)]
        v = state_bar.v + jnp.where(is_record[:, None], seen, 0.0)
        state_bar = eqx.tree_at(lambda s: s.v, state_bar, v)
    arrays, rest = eqx.partition(problem.neuron, eqx.is_inexact_array)

    def run(arrays, drive, t, state, row, target):
        neuron = eqx.combine(arrays, rest)
        given = Given(neuron, drive, t, state, row, target)
        done = batched_step(given, decision, engine, silent)
        return (done.t, done.state, done.spike_times), done.emitted

    given = arrays, problem.drive, here.t, here.state, row, target
    _, pull, emitted = jax.vjp(run, *given, has_aux=True)
    place = places_of(emitted, here.count, at.spikes.shape[1])
    spike_bar = at.spikes.at[sample[:, None], place].get(mode="fill", fill_value=0.0)
    spike_bar = jnp.where(emitted, spike_bar, 0.0)
    bars = pull((at.t, state_bar, spike_bar))
    neuron_bar, drive_bar, t_bar, before, row_bar, target_bar = bars

    arrives = (kind == ARRIVAL) | is_record
    from_input = arrives & decision.is_input
    at_input = jnp.where(from_input, decision.place, at.times.shape[1])
    times = at.times.at[sample, at_input].add(target_bar, mode="drop")
    rows_index = jnp.where(from_input, index, at.rows.shape[0])
    rows = at.rows.at[rows_index].add(row_bar, mode="drop")
    spikes, recurrent, delay = at.spikes, at.recurrent, at.delay
    if recurrent is not None:
        own = arrives & ~decision.is_input
        if own_paths:
            slot = jnp.where(own, decision.place, spikes.shape[1])
            spikes = spikes.at[sample, slot].add(target_bar, mode="drop")
        source = jnp.where(own, source, recurrent.shape[0])
        recurrent = recurrent.at[source].add(row_bar, mode="drop")
        delay = delay.at[source].add(target_bar, mode="drop")
    add = lambda x, y: jax.tree.map(jnp.add, x, y)
    return _Reverse(
        t=jnp.where(there, t_bar, at.t),
        state=add(_masked(there, before), _masked(~there, at.state)),
        spikes=spikes,
        record=record,
        neuron=add(at.neuron, neuron_bar),
        rows=rows,
        recurrent=recurrent,
        delay=delay,
        drive=at.drive + drive_bar,
        times=times,
        left=jnp.maximum(at.left - 1, 0),
    )


def event_backward(
    problem: EventProblem,
    engine: AbstractEngine,
    trace: EventTrace,
    bars: EventCotangents,
    own_paths: bool,
) -> Any:
    """Gradients of the fields of the problem that have one, as a problem with `None` in
    the others. Only on `own_paths` do the times at which own spikes arrive pass theirs on
    to these spikes."""
    silent = never_spikes(problem.neuron)
    arrays = eqx.filter(problem.neuron, eqx.is_inexact_array)
    zeros = lambda x: jax.tree.map(jnp.zeros_like, x)
    start = _Reverse(
        t=jnp.zeros_like(problem.times[:, 0]),
        state=bars.state,
        spikes=bars.times,
        record=jnp.full(trace.num_steps.shape, problem.num_records, jnp.int32),
        neuron=zeros(arrays),
        rows=jnp.zeros_like(problem.rows),
        recurrent=zeros(problem.recurrent),
        delay=zeros(problem.recurrent_delay),
        drive=jnp.zeros_like(problem.drive),
        times=jnp.zeros_like(problem.times),
        left=trace.num_steps,
    )

    def body(at: _Reverse) -> _Reverse:
        return _pass_step(at, problem, engine, trace, bars.voltages, silent, own_paths)

    end = lax.while_loop(lambda at: jnp.any(at.left > 0), body, start)
    return {
        "neuron": end.neuron,
        "rows": end.rows,
        "recurrent": end.recurrent,
        "recurrent_delay": end.delay,
        "drive": end.drive,
        "state": end.state,
        "times": end.times,
    }
