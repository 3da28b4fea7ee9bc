"""Runs on a time grid whose backward pass is written out."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._neuron import AdaptiveLIF, VoltageState
from .._solver._clocked_problem import ClockedProblem, ClockedRun
from .._solver._event_problem import never_spikes
from .._solver._step import advance
from ._base import AbstractClockedAdjoint
from ._clocked_loop import run_steps
from ._eligibility import run_eligible
from ._eprop import EProp
from ._mpd_ed import MPDED


class Learnt(eqx.Module):
    """All that gradients reach."""

    currents: Float[Array, "steps batch neurons"]
    v: Float[Array, "batch neurons"]


class Course(eqx.Module):
    """What happens in a step, or in each."""

    spikes: Float[Array, "*steps batch neurons"]
    distance: Float[Array, "*steps batch neurons"]  # to the threshold, before the reset
    v: Float[Array, "*steps batch neurons"]  # after the reset


def run_grid(problem: ClockedProblem, rule: AbstractClockedAdjoint) -> ClockedRun:
    """Run a layer under a rule: by the loop that all share, or by the backward pass that
    the rule has been given."""
    if isinstance(rule, EProp) and not never_spikes(problem.neuron):
        return run_eligible(problem, rule)
    is_written_out = isinstance(rule, MPDED) and rule.backward is not None
    if not is_written_out or never_spikes(problem.neuron):
        return run_steps(problem, rule)
    _check(problem)
    bare = eqx.tree_at(
        lambda p: (p.currents, p.state), problem, (None, None), is_leaf=_is_none
    )
    learnt = Learnt(problem.currents, problem.state.v)
    spikes, v = _run(learnt, problem=bare, rule=rule)
    states = None
    if problem.keep_states:
        v_steps = course(learnt, bare).v
        states = VoltageState(
            eqxi.nondifferentiable_backward(v_steps, msg=_NO_VOLTAGES)
        )
    return ClockedRun(spikes, VoltageState(v), states, None)


_NO_VOLTAGES = (
    "Recorded voltages of layers that spike have no gradient under a `backward` of "
    "`MPDED`: leave it out, or let the loss read spikes."
)


def _is_none(x) -> bool:
    return x is None


def _check(problem: ClockedProblem) -> None:
    neuron = problem.neuron
    if not isinstance(neuron, AdaptiveLIF):
        wrong = f"neurons are `{type(neuron).__name__}`"
    elif any(map(eqx.is_array, jax.tree.leaves(neuron))):
        wrong = "neurons have parameters that are arrays"
    elif problem.recurrence is not None:
        wrong = "layer is recurrent"
    elif problem.drive is not None:
        wrong = "layer has a `drive`"
    else:
        return
    raise ValueError(
        "A `backward` of `MPDED` is for feed-forward layers of `AdaptiveLIF` with numbers "
        f"for parameters, but here the {wrong}: use `MPDED(mask)` without `backward`, "
        "which gives the same gradients for all of these."
    )


def course(learnt: Learnt, problem: ClockedProblem) -> Course:
    """The steps, one after the other."""
    neuron, grid = problem.neuron, problem.grid
    dtype = learnt.v.dtype

    def step(v: Array, given: tuple[Array, Array]):
        number, current = given
        t = grid.start(number, dtype)

        def one(v, current):
            state = VoltageState(v)
            state = advance(problem.integrator, neuron, t, state, 0.0, grid.dt)
            state = neuron.receive(state, current)
            t_end = grid.start(number + 1, dtype)
            distance = neuron.threshold(t_end, state)
            v = jnp.where(distance >= 0, neuron.reset(t_end, state).v, state.v)
            return v, (distance >= 0).astype(dtype), distance

        v, spikes, distance = jax.vmap(one)(v, current)
        return v, Course(spikes, distance, v)

    numbers = jnp.arange(grid.num_steps, dtype=jnp.int32)
    return lax.scan(step, learnt.v, (numbers, learnt.currents))[1]


@eqx.filter_custom_vjp
def _run(learnt, *, problem, rule):
    del rule
    done = course(learnt, problem)
    return done.spikes, done.v[-1]


@_run.def_fwd
def _forward(perturbed, learnt, *, problem, rule):
    del perturbed
    done = course(learnt, problem)
    kept = rule.slope(done.distance), done.spikes > 0
    return (done.spikes, done.v[-1]), kept


@_run.def_bwd
def _backward(kept, bars, perturbed, learnt, *, problem, rule):
    del perturbed
    slope, spikes = kept
    bar, end = bars
    bar = jnp.zeros_like(slope) if bar is None else bar
    end = jnp.zeros_like(learnt.v) if end is None else end
    decay = jnp.exp(jnp.asarray(-problem.grid.dt / problem.neuron.tau_mem, end.dtype))
    by_current = rule.backward(bar * slope, spikes.astype(end.dtype), decay, end)
    return Learnt(by_current, decay * by_current[0])
