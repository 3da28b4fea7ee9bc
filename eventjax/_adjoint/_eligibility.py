"""The factorised form of e-prop, in plain operations."""

import dataclasses

import jax
from jax import lax
from jaxtyping import Array, Float

from .._solver._clocked_problem import ClockedProblem, ClockedRun
from .._solver._delay_steps import delayed_currents, DelaySteps, product
from ._clocked_loop import run_steps
from ._eprop import EProp


Raster = Float[Array, "steps batch neurons"]


def run_eligible(problem: ClockedProblem, rule: EProp) -> ClockedRun:
    """Run a layer so that gradients pass neither from neuron to neuron nor through resets.

    A recurrent layer runs twice: first to know its spikes, then each neuron by itself with
    the currents and the spikes of the first time. The second is what is differentiated:
    going back in time it meets no weights."""
    recurrence = problem.recurrence
    if recurrence is None:
        return run_steps(problem, rule)
    bare = dataclasses.replace(problem, keep_states=False, keep_currents=True)
    first = lax.stop_gradient(run_steps(bare, rule))
    assert first.currents is not None and first.spikes is not None
    recurrent = _recurrent(recurrence.rows, first.spikes, recurrence.delay)
    # All that arrives, with the gradient that each part of it has
    currents = _same(first.currents, problem.currents, recurrent)
    alone = dataclasses.replace(problem, recurrence=None, currents=currents)
    return run_steps(alone, rule, known=first.spikes)


@jax.custom_jvp
def _same(value: Raster, *parts: Raster) -> Raster:
    """`value`, with the derivative of the sum of its parts."""
    del parts
    return value


@_same.defjvp
def _(primals, tangents):
    _, *dots = tangents
    total = dots[0]
    for dot in dots[1:]:
        total = total + dot
    return primals[0], total


def _recurrent(
    rows: Float[Array, "rows neurons"], spikes: Raster, delay: DelaySteps
) -> Raster:
    """What spikes bring back within the run: a matrix product for all steps at once."""
    return delayed_currents(spikes, rows, delay)[: len(spikes)]


@jax.custom_jvp
def routed(
    rows: Float[Array, "neurons outputs"],
    raster: Raster,
    feedback: tuple[Float[Array, "_ outputs"], ...],
    hidden: tuple[Float[Array, "steps batch _"], ...],
) -> Float[Array, "steps batch outputs"]:
    """What a readout receives from the last layer's `raster`. Its gradient by the spikes of
    the `hidden` layers comes by feedback weights, and these, where they learn, get the
    gradient of the readout's."""
    del feedback, hidden
    return product(raster, rows)


@routed.defjvp
def _(primals, tangents):
    rows, raster, feedback, _ = primals
    rows_dot, _, feedback_dot, hidden_dot = tangents
    dot = product(raster, rows_dot)
    for matrix, change, learnt in zip(feedback, hidden_dot, feedback_dot, strict=True):
        dot = dot + product(change, matrix)
        if learnt.shape == rows.shape:  # else it is `Random`, which learns nothing
            dot = dot + product(raster, learnt)
    return product(raster, rows), dot
