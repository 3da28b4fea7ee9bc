"""The events of a gated layer one after the other, in exact time."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._exact_course import attach, current_after, integral, reach
from ._exact_spikes import ExactSpikes


class Problem(eqx.Module):
    """A layer and what it is given; all arrays of one float type."""

    given: ExactSpikes
    weight: Float[Array, "inputs gates"]
    recurrent: Float[Array, "units gates"] | None
    shift: Float[Array, " gates"]
    threshold: Float[Array, ""]
    t1: Float[Array, ""]
    frame: float = eqx.field(static=True)
    delay: float = eqx.field(static=True)
    coincidence: float = eqx.field(static=True)
    min_current: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    @property
    def rest(self) -> tuple[Float[Array, " units"], Float[Array, " units"]]:
        """Where currents relax to between events, and how fast (1/ms)."""
        gate, candidate = jnp.split(self.shift, 2)
        return jax.nn.relu(candidate), jax.nn.softplus(-gate) / self.frame


class Run(eqx.Module):
    """How far a sample has come. Currents and potentials stand where they were at the last
    jump: spikes in between only count."""

    t: Float[Array, ""]  # of the last jump
    current: Float[Array, " units"]
    potential: Float[Array, " units"]
    emitted: Int[Array, " units"]  # spikes since
    next: Float[Array, " units"]  # how long after `t` the next spike is, or +inf
    # Events that are one: what they add up to so far, and when the first was, or +inf
    drive: Float[Array, " gates"]
    start: Float[Array, ""]
    # What has arrived: input spikes, and own spikes, in the order in which they were sent
    position: Int[Array, ""]
    returned: Int[Array, ""]
    # What has been emitted
    times: Float[Array, " capacity"]
    sources: Int[Array, " capacity"]
    count: Int[Array, ""]


def run_events(problem: Problem) -> Run:
    """All events up to `t1`, and from the last on to it. If `count` is above the capacity
    the run has been given up."""
    length = problem.given.sizes.shape[0] + problem.capacity + 1
    if problem.recurrent is not None:
        length += problem.capacity  # each spike comes back

    def step(run: Run, _):
        return _step(problem, run), None

    run = lax.scan(step, _begin(problem), length=length)[0]
    return _flow(problem, run, problem.t1)


def _begin(problem: Problem) -> Run:
    target, _ = problem.rest
    dtype, capacity = target.dtype, problem.capacity
    zeros, zero = jnp.zeros_like(target), jnp.zeros((), jnp.int32)
    never = jnp.asarray(jnp.inf, dtype)
    run = Run(
        t=jnp.zeros((), dtype),
        current=zeros,
        potential=zeros,
        emitted=zeros.astype(jnp.int32),
        next=zeros,
        drive=problem.shift,
        start=never,
        position=zero,
        returned=zero,
        times=jnp.full(capacity, jnp.inf, dtype),
        sources=jnp.zeros(capacity, jnp.int32),
        count=zero,
    )
    return _look_ahead(problem, run)


def _step(problem: Problem, run: Run) -> Run:
    """The next spike, or else the next arrival, or else nothing."""
    due, _ = _due(problem, run)
    unit = jnp.argmin(run.next).astype(jnp.int32)
    limit = jnp.minimum(due, problem.t1)
    spikes = lax.stop_gradient(run.t) + run.next[unit] <= lax.stop_gradient(limit)
    kind = jnp.where(spikes, 1, jnp.where(jnp.isfinite(due), 2, 0))
    kind = jnp.where(run.count <= problem.capacity, kind, 0)
    branches = [
        lambda run: run,
        lambda run: _emit(problem, run, unit),
        lambda run: _arrive(problem, run),
    ]
    return lax.switch(kind, branches, run)


def _due(problem: Problem, run: Run) -> tuple[Array, Array]:
    """When the next arrival is, `+inf` if there is none up to `t1`, and whether it is of
    an input."""
    size = problem.given.sizes.shape[0]
    never = jnp.full_like(problem.t1, jnp.inf)
    due, is_input = never, jnp.array(True)
    if size:
        time = problem.given.spikes.times[jnp.minimum(run.position, size - 1)]
        due = jnp.where(run.position < size, time, never)
    if problem.recurrent is not None:
        back = run.times[jnp.minimum(run.returned, problem.capacity - 1)]
        back = jnp.where(run.returned < run.count, back + problem.delay, never)
        is_input = due <= back
        due = jnp.where(is_input, due, back)
    return jnp.where(due <= problem.t1, due, never), is_input


def _level(problem: Problem, potential: Array, emitted: Array) -> Array:
    """What the integral of a current must be for the next spike, in ms times its unit."""
    nth = (emitted + 1).astype(potential.dtype)
    return (nth * problem.threshold - potential) * problem.frame


def _horizon(problem: Problem, run: Run) -> Array:
    """No later than this the next jump is, after the last one."""
    due, _ = _due(problem, run)
    first = jnp.where(jnp.isfinite(run.start), run.start, due)
    return jnp.minimum(first + problem.coincidence, problem.t1) - run.t


def _look_ahead(problem: Problem, run: Run) -> Run:
    """With the next spike of all units."""
    problem, held = lax.stop_gradient((problem, run))
    level = _level(problem, held.potential, held.emitted)
    target, rate = problem.rest
    low, high = jnp.zeros_like(level), _horizon(problem, held)
    new = reach(level, held.current, target, rate, low, high)
    return eqx.tree_at(lambda r: r.next, run, new)


def _emit(problem: Problem, run: Run, unit: Int[Array, ""]) -> Run:
    target, rate = (x[unit] for x in problem.rest)
    current, potential = run.current[unit], run.potential[unit]
    level = _level(problem, potential, run.emitted[unit])
    least = lax.stop_gradient(problem.min_current * problem.threshold)
    h = attach(run.next[unit], level, current, target, rate, least)
    new = eqx.tree_at(
        lambda r: (r.times, r.sources, r.count, r.emitted),
        run,
        (
            run.times.at[run.count].set(run.t + h, mode="drop"),
            run.sources.at[run.count].set(unit, mode="drop"),
            run.count + 1,
            run.emitted.at[unit].add(1),
        ),
    )
    level = _level(problem, potential, new.emitted[unit])
    fixed = (level, current, target, rate, run.next[unit], _horizon(problem, new))
    following = reach(*lax.stop_gradient(fixed))
    return eqx.tree_at(lambda r: r.next, new, run.next.at[unit].set(following))


def _arrive(problem: Problem, run: Run) -> Run:
    """One more event; if it is the last of those that are one, the jump."""
    due, is_input = _due(problem, run)
    row = jnp.zeros_like(problem.shift)
    if problem.given.sizes.shape[0]:
        at = run.position  # never beyond the end if the arrival is of an input
        source, size = problem.given.spikes.sources[at], problem.given.sizes[at]
        row = size * problem.weight[source]
    if problem.recurrent is not None:
        own = problem.threshold * problem.recurrent[run.sources[run.returned]]
        row = jnp.where(is_input, row, own)
    taken = is_input.astype(jnp.int32)
    start = jnp.where(jnp.isfinite(run.start), run.start, due)
    run = eqx.tree_at(
        lambda r: (r.drive, r.start, r.position, r.returned),
        run,
        (run.drive + row, start, run.position + taken, run.returned + 1 - taken),
    )
    following, _ = _due(problem, run)
    more = following <= start + problem.coincidence
    return lax.cond(more, lambda r: r, lambda r: _jump(problem, r, due), run)


def _jump(problem: Problem, run: Run, time: Float[Array, ""]) -> Run:
    run = _flow(problem, run, time)
    gate, candidate = jnp.split(run.drive, 2)
    # One minus the gate, which loses no digits where the gate is nearly open
    way = jax.nn.sigmoid(-gate)
    current = run.current + way * (jax.nn.relu(candidate) - run.current)
    run = eqx.tree_at(
        lambda r: (r.current, r.drive, r.start),
        run,
        (current, problem.shift, jnp.full_like(run.start, jnp.inf)),
    )
    return _look_ahead(problem, run)


def _flow(problem: Problem, run: Run, time: Float[Array, ""]) -> Run:
    """At a later time, without events but the spikes that have been emitted."""
    h, (target, rate) = time - run.t, problem.rest
    gained = integral(h, run.current, target, rate) / problem.frame
    spent = run.emitted.astype(gained.dtype) * problem.threshold
    current = current_after(h, run.current, target, rate)
    return eqx.tree_at(
        lambda r: (r.t, r.current, r.potential, r.emitted),
        run,
        (time, current, run.potential + gained - spent, jnp.zeros_like(run.emitted)),
    )
