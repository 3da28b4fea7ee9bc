from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp

from .._solver import AbstractSolver, ClosedForm, DiffraxEvent
from .._solver._chunked import solve
from .._solver._event_problem import AbstractEngine, EventProblem, EventRun
from .._solver._lists import neurons_of
from .._solver._problem import LayerProblem, LayerRun
from ._base import AbstractExactAdjoint, refuse
from ._equations import backward, Cotangents, Wanted
from ._event_adjoint import event_eventprop
from ._jumps import credible_slope, smallest_slope


# Gradients go to the first argument only. `fixed` is (t0, t1, index, streams).
@eqx.filter_custom_vjp
def _run(problem, *, fixed, capacity, max_jump, recurrent, fused):
    problem = _whole(problem, fixed)
    run, trace = _solve(fused)(problem, capacity)
    return _with_clipped(run, trace, problem, max_jump)


@_run.def_fwd
def _forward(perturbed, problem, *, fixed, capacity, max_jump, recurrent, fused):
    by_tau = perturbed.tau_mem or perturbed.tau_syn
    problem = _whole(problem, fixed)
    run, trace = _solve(fused)(problem, capacity, by_tau)
    return _with_clipped(run, trace, problem, max_jump), trace


@_run.def_bwd
def _backward(
    trace, grad_run, perturbed, problem, *, fixed, capacity, max_jump, recurrent, fused
):
    problem = _whole(problem, fixed)
    zeros = jnp.zeros_like(problem.v)
    times = grad_run.times
    empty = jnp.zeros((problem.v.shape[0], capacity), problem.v.dtype)
    bars = Cotangents(
        empty if times is None else times,
        zeros if grad_run.v is None else grad_run.v,
        zeros if grad_run.i is None else grad_run.i,
    )
    p = perturbed
    wanted = Wanted(
        times=bool(p.times),
        spikes=recurrent,
        neurons=any((p.tau_mem, p.tau_syn, p.v_threshold, p.v_reset, p.bias)),
    )
    return _solve_back(fused)(problem, trace, bars, max_jump, wanted)


# Pallas takes a while to import, which those who do not use it need not wait for.
def _solve(fused: bool) -> Callable:
    if not fused:
        return solve
    from .._solver import _layer_kernel

    return _layer_kernel.solve


def _solve_back(fused: bool) -> Callable:
    if not fused:
        return backward
    from . import _kernel_equations

    return _kernel_equations.backward


def _with_clipped(
    run: LayerRun,
    trace: Any,  # `Trace`, or that of the fused kernel
    problem: LayerProblem,
    max_jump: float | None,
) -> LayerRun:
    """Count the spikes whose jump `max_jump` bounds."""
    if max_jump is None or problem.v_threshold is None:
        return run
    batch, num = problem.v.shape
    pair, i, there = trace.crossings(problem)
    here = neurons_of(problem).at(pair, num)
    slope = credible_slope(i, here)
    steep = slope < smallest_slope(here.v_threshold - here.v_reset, max_jump)
    count = jnp.zeros(batch, jnp.int32)
    count = count.at[pair // num].add((there & steep).astype(jnp.int32))
    return eqx.tree_at(lambda r: r.num_clipped, run, count, is_leaf=lambda x: x is None)


def _fixed(problem: LayerProblem) -> tuple:
    return problem.t0, problem.t1, problem.index, problem.streams


def _whole(problem: LayerProblem, fixed) -> LayerProblem:
    problem = eqx.tree_at(_fixed, problem, fixed, is_leaf=lambda x: x is None)
    # Constants of a nested `jit` come here as NumPy's.
    return jax.tree.map(jnp.asarray, problem)


def leaky_eventprop(
    problem: LayerProblem,
    capacity: int,
    max_jump: float | None,
    recurrent: bool = True,
    fused: bool = False,
) -> LayerRun:
    """Run a layer whose derivative is that of `backward`. Unless `recurrent`, own spikes
    arrive at times that count as given, and so no gradient goes from neuron to neuron."""
    if fused and (problem.own_lists or problem.streams is not None):
        raise ValueError(
            "`ClosedForm(fused=True)` has no delays of single synapses and no delay "
            "lines: use `ClosedForm()`, or delays of whole neurons."
        )
    # Integers that come out of a sort carry an empty tangent.
    index = lax.stop_gradient((problem.index, problem.streams))
    fixed = problem.t0, problem.t1, *index
    is_none = lambda x: x is None
    problem = eqx.tree_at(_fixed, problem, (None,) * 4, is_leaf=is_none)
    return _run(
        problem,
        fixed=fixed,
        capacity=capacity,
        max_jump=max_jump,
        recurrent=recurrent,
        fused=fused,
    )


def check_max_jump(max_jump: float | None) -> None:
    if max_jump is not None and not max_jump > 1:
        raise ValueError(
            "`max_jump` must be above 1, the factor of an infinitely steep spike, "
            f"or `None` for exact gradients; got {max_jump}."
        )


def refuse_max_jump(
    adjoint: AbstractExactAdjoint, max_jump: float | None, problem: EventProblem
) -> None:
    if max_jump is not None:
        raise ValueError(
            "`max_jump` bounds the jumps of `LIF` neurons under `ClosedForm` only, "
            f"got {type(problem.neuron).__name__} neurons that are solved event by "
            f"event: use `{type(adjoint).__name__}` without it."
        )


class Eventprop(AbstractExactAdjoint):
    r"""Exact gradients by one pass back through the spikes: the default.

    The adjoint equations of the network, solved backwards as exactly as the network was
    forwards. What is kept are the spikes and what their jumps need, so memory grows with
    spikes and not with time, and there is one weight gradient for the whole batch.

    Gradients reach weights, delays, input spike times, time constants, thresholds, resets,
    biases and the initial state. Reverse mode only: `jax.jvp` raises a `TypeError`; use
    `Direct` for forward mode and second derivatives.

    **Arguments:**

    - `max_jump`: a spike that grazes the threshold multiplies gradients by
        $(I - V_{reset})/(I - \theta)$, without bound. `None` is exact; a number above 1
        bounds this factor, and `Solution.num_clipped` counts the spikes where it did.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), equations 3 to 9, and
        Nowotny, Turner and Knight, arXiv 2212.01232. Gradients of time constants are
        carried forward with the state instead of integrated back, which is equal.
    """

    max_jump: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_max_jump(self.max_jump)

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, (ClosedForm, DiffraxEvent)):
            refuse(self, solver, "`ClosedForm()` or `DiffraxEvent()`")

    def run_leaky(
        self, problem: LayerProblem, capacity: int, fused: bool = False
    ) -> LayerRun:
        return leaky_eventprop(problem, capacity, self.max_jump, fused=fused)

    def run_events(
        self, problem: EventProblem, engine: AbstractEngine, capacity: int
    ) -> EventRun:
        refuse_max_jump(self, self.max_jump, problem)
        return event_eventprop(problem, engine, capacity)
