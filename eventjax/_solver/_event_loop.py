"""The loop from event to event: any neurons, one step of each sample at a time."""

from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._event_log import emit, empty_steps, log, Own, Steps
from ._event_problem import (
    AbstractEngine,
    Attempt,
    EventProblem,
    EventRun,
    never_spikes,
)
from ._event_step import (
    ARRIVAL,
    batched_step,
    CROSSING,
    Decision,
    END,
    Given,
    NONE,
    PLAIN,
    RECORD,
    STANDING,
)


class Carry(eqx.Module):
    # Where each sample stands
    t: Float[Array, " batch"]
    state: PyTree[Float[Array, "batch neurons"]]
    position: Int[Array, " batch"]  # input arrivals so far
    memory: PyTree
    # Output
    own: Own
    voltages: Float[Array, "batch records neurons"]
    recorded: Int[Array, " batch"]
    failed: Bool[Array, " batch"]
    # Book-keeping
    running: Bool[Array, " batch"]
    num_steps: Int[Array, " batch"]  # those taken
    num_attempts: Int[Array, ""]
    steps: Steps | None


def max_steps(problem: EventProblem, engine: AbstractEngine, capacity: int) -> int:
    """Each event is an arrival, a spike, its return or the end of what it began."""
    events = problem.times.shape[1] + 1
    if not never_spikes(problem.neuron):
        events += (2 if problem.recurrent is None else 3) * (capacity + 1)
    return engine.max_steps(events)


def _decide(
    problem: EventProblem, engine: AbstractEngine, t, state, drive, memory, own, inputs
) -> tuple[Decision, Attempt]:
    """For one sample. `inputs` are `(time, index, position)` of its next input."""
    time, index, position = inputs
    arrival, place, is_input = time, position, jnp.array(True)
    if problem.recurrent is not None:
        due = own.times + problem.recurrent_delay[own.sources]
        due = jnp.where(own.arrived, jnp.inf, due)
        slot = jnp.argmin(due).astype(jnp.int32)
        is_input = time <= due[slot]
        arrival = jnp.minimum(time, due[slot])
        place = jnp.where(is_input, position, slot)
    limit = jnp.minimum(arrival, problem.t1)
    attempt = engine.attempt(problem.neuron, t, state, drive, limit, memory)
    marker = problem.rows.shape[0] - 1
    kind = jnp.where(is_input & (index == marker), RECORD, ARRIVAL)
    kind = jnp.where(arrival <= problem.t1, kind, END)
    kind = jnp.where(t + attempt.h >= limit, kind, PLAIN)
    crossing = jnp.where(attempt.standing, STANDING, CROSSING)
    kind = jnp.where(attempt.crosses, crossing, kind)
    kind = jnp.where(attempt.accepted, kind, NONE)
    mask = attempt.mask & attempt.crosses & attempt.accepted
    return Decision(attempt.h, kind, mask, is_input, place), attempt


def _next_input(problem: EventProblem, position: Array) -> tuple[Array, Array, Array]:
    events = problem.times.shape[1]
    at = jnp.minimum(position, events - 1)[:, None]
    time = jnp.take_along_axis(problem.times, at, axis=1)[:, 0]
    index = jnp.take_along_axis(problem.index, at, axis=1)[:, 0]
    return jnp.where(position < events, time, jnp.inf), index, position


def bring(
    problem: EventProblem, own_times: Array, own_sources: Array, decision: Decision
) -> tuple[Array, Array, Array, Array]:
    """What a step's end brings and when: rows, times, and the indices of both kinds of
    arrivals, `(input index, source)`."""
    place = decision.place[:, None]
    at_input = jnp.minimum(place, problem.times.shape[1] - 1)
    time = jnp.take_along_axis(problem.times, at_input, axis=1)[:, 0]
    index = jnp.take_along_axis(problem.index, at_input, axis=1)[:, 0]
    row, source = problem.rows[index], jnp.zeros_like(index)
    if problem.recurrent is not None:
        at_own = jnp.minimum(place, own_times.shape[1] - 1)
        source = jnp.take_along_axis(own_sources, at_own, axis=1)[:, 0]
        back = jnp.take_along_axis(own_times, at_own, axis=1)[:, 0]
        back = back + problem.recurrent_delay[source]
        time = jnp.where(decision.is_input, time, back)
        row = jnp.where(decision.is_input[:, None], row, problem.recurrent[source])
    comes = (decision.kind == ARRIVAL) | (decision.kind == RECORD)
    # A step that does not end with an arrival must not see its infinite time.
    return row, jnp.where(comes, time, problem.t1), index, source


def _body(
    carry: Carry,
    problem: EventProblem,
    engine: AbstractEngine,
    silent: bool,
    differentiable: bool,
) -> Carry:
    own, capacity = carry.own, carry.own.times.shape[1]
    fixed = lambda x: jax.tree.map(
        lambda y: lax.stop_gradient(y) if eqx.is_array(y) else y, x
    )
    frozen = fixed(problem)

    def decide(*x):
        return _decide(frozen, engine, *x)

    decision, attempt = jax.vmap(decide)(
        *fixed((carry.t, carry.state, problem.drive, carry.memory, own)),
        fixed(_next_input(problem, carry.position)),
    )
    # A sample with too many spikes is given up.
    go_on = carry.running & (own.count <= capacity)
    kind = jnp.where(go_on, decision.kind, NONE)
    mask = decision.mask & go_on[:, None]
    decision = eqx.tree_at(lambda d: (d.kind, d.mask), decision, (kind, mask))
    row, target, _, _ = bring(problem, own.times, own.sources, decision)
    given = Given(problem.neuron, problem.drive, carry.t, carry.state, row, target)
    after = None if differentiable else attempt.state
    done = batched_step(given, decision, engine, silent, after)

    new_own = own if silent else emit(own, done.emitted, done.spike_times)
    if problem.recurrent is not None:
        slots = jnp.arange(capacity, dtype=jnp.int32)[None]
        back = (kind == ARRIVAL) & ~decision.is_input
        gone = (slots == decision.place[:, None]) & back[:, None]
        new_own = eqx.tree_at(lambda o: o.arrived, new_own, new_own.arrived | gone)
    is_record = kind == RECORD
    took_input = ((kind == ARRIVAL) & decision.is_input) | is_record
    voltages = carry.voltages
    if voltages.shape[1]:
        sample = jnp.arange(len(kind), dtype=jnp.int32)
        slot = jnp.where(is_record, carry.recorded, voltages.shape[1])
        voltages = voltages.at[sample, slot].set(done.state.v, mode="drop")
    steps, taken = carry.steps, kind != NONE
    if steps is not None:
        new = Steps(carry.t, carry.state, decision, own.count)
        steps = log(steps, new, carry.num_steps, taken)
    failed = carry.failed | (go_on & attempt.failed)
    memory = jax.tree.map(
        lambda x, y: jnp.where(go_on.reshape(-1, *(1,) * (x.ndim - 1)), x, y),
        attempt.memory,
        carry.memory,
    )
    return Carry(
        t=done.t,
        state=done.state,
        position=carry.position + took_input.astype(jnp.int32),
        memory=memory,
        own=new_own,
        voltages=voltages,
        recorded=carry.recorded + is_record.astype(jnp.int32),
        failed=failed,
        running=go_on & (kind != END) & ~failed,
        num_steps=carry.num_steps + taken.astype(jnp.int32),
        num_attempts=carry.num_attempts + 1,
        steps=steps,
    )


def _start(problem: EventProblem, engine: AbstractEngine, capacity: int) -> Carry:
    batch, neurons = problem.drive.shape
    dtype = problem.drive.dtype
    ints = jnp.zeros(batch, jnp.int32)
    memory = jax.vmap(
        lambda state, drive: engine.start(
            problem.neuron, problem.t0, problem.t1, state, drive
        )
    )(problem.state, problem.drive)
    shape = batch, capacity
    return Carry(
        t=jnp.full(batch, problem.t0, dtype),
        state=problem.state,
        position=ints,
        memory=lax.stop_gradient(memory),
        own=Own(
            jnp.full(shape, jnp.inf, dtype),
            jnp.zeros(shape, jnp.int32),
            jnp.zeros(shape, bool),
            ints,
        ),
        voltages=jnp.zeros((batch, problem.num_records, neurons), dtype),
        recorded=ints,
        failed=jnp.zeros(batch, bool),
        running=jnp.ones(batch, bool),
        num_steps=ints,
        num_attempts=jnp.zeros((), jnp.int32),
        steps=None,
    )


def solve_events(
    problem: EventProblem,
    engine: AbstractEngine,
    capacity: int,
    *,
    keep_steps: bool = False,
    differentiable: bool = False,
) -> tuple[EventRun, Carry]:
    """Run a layer event by event.

    With `keep_steps` the final carry holds what the reverse pass needs. If it is
    `differentiable`, the result can be differentiated as it stands, forwards or
    backwards; else it is faster."""
    silent, most = never_spikes(problem.neuron), max_steps(problem, engine, capacity)
    start = _start(problem, engine, capacity)
    if keep_steps:
        empty = empty_steps(start.t, start.state, most)
        start = eqx.tree_at(
            lambda c: c.steps, start, empty, is_leaf=lambda x: x is None
        )

    def busy(carry: Carry):
        return jnp.any(carry.running & (carry.num_steps < most))

    def body(carry: Carry):
        return _body(carry, problem, engine, silent, differentiable)

    kind = "bounded" if differentiable else "lax"
    loop: Callable = eqxi.while_loop
    tries = engine.max_steps(most) if differentiable else None
    end = loop(busy, body, start, max_steps=tries, kind=kind)
    run = EventRun(
        end.own.times,
        end.own.sources,
        end.own.count,
        end.state,
        end.voltages,
        end.failed,
        end.running & (end.own.count <= capacity),
    )
    return run, end
