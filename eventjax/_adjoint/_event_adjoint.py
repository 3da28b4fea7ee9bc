"""The custom derivative of a run of any neurons, and the same run for plain automatic
differentiation."""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp

from .._solver._event_loop import solve_events
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from ._event_equations import event_backward, EventCotangents, EventTrace


# Gradients go to the first argument only. `fixed` is (t0, t1, index, engine).
@eqx.filter_custom_vjp
def _run(problem, *, fixed, capacity, recurrent):
    problem, engine = _whole(problem, fixed)
    return solve_events(problem, engine, capacity)[0]


@_run.def_fwd
def _forward(perturbed, problem, *, fixed, capacity, recurrent):
    problem, engine = _whole(problem, fixed)
    run, end = solve_events(problem, engine, capacity, keep_steps=True)
    return run, EventTrace.of(end)


@_run.def_bwd
def _backward(trace, grad_run, perturbed, problem, *, fixed, capacity, recurrent):
    problem, engine = _whole(problem, fixed)
    zeros = lambda given, like: jnp.zeros_like(like) if given is None else given
    batch, neurons = problem.drive.shape
    recorded = jnp.zeros((batch, problem.num_records, neurons), problem.drive.dtype)
    state = jax.tree.map(
        zeros, grad_run.state, problem.state, is_leaf=lambda x: x is None
    )
    bars = EventCotangents(
        zeros(grad_run.times, trace.times),
        state,
        zeros(grad_run.voltages, recorded),
    )
    grads = event_backward(problem, engine, trace, bars, recurrent)
    blank = eqx.tree_at(_fixed, problem, (None, None, None))
    return eqx.tree_at(
        lambda p: [getattr(p, name) for name in grads],
        blank,
        list(grads.values()),
        is_leaf=lambda x: x is None,
    )


def _fixed(problem: EventProblem) -> tuple:
    return problem.t0, problem.t1, problem.index


def _whole(problem: EventProblem, fixed: Any) -> tuple[EventProblem, AbstractEngine]:
    *arrays, engine = fixed
    is_none = lambda x: x is None
    problem = eqx.tree_at(_fixed, problem, tuple(arrays), is_leaf=is_none)
    # Constants of a nested `jit` come here as NumPy's.
    return jax.tree.map(jnp.asarray, problem), engine


def event_eventprop(
    problem: EventProblem,
    engine: AbstractEngine,
    capacity: int,
    recurrent: bool = True,
) -> EventRun:
    """Run a layer whose derivative is that of `event_backward`; unless `recurrent`, own
    spikes arrive at times that count as given."""
    # Integers that come out of a sort carry an empty tangent.
    index = lax.stop_gradient(problem.index)
    fixed = problem.t0, problem.t1, index, engine
    problem = eqx.tree_at(_fixed, problem, (None, None, None))
    return _run(problem, fixed=fixed, capacity=capacity, recurrent=recurrent)


def event_direct(
    problem: EventProblem, engine: AbstractEngine, capacity: int
) -> EventRun:
    """Run a layer by operations that JAX differentiates, forwards or backwards."""
    engine = engine.any_mode()
    return solve_events(problem, engine, capacity, differentiable=True)[0]
