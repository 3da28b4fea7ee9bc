"""A run of a whole network whose gradient is found forward in time, by eligibility traces.

Forwards all layers take a step together, so that nothing of the course is kept which is not
asked for. Backwards they take all steps once more, with their traces, and meet the errors
of the outputs as these come."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .._network import Network
from .._solver import Clocked
from .._solver._grid import Grid
from ._eprop import EProp
from ._trace_gradient import gradient_of, matrices, no_sums, Sums, sums_of_step
from ._trace_network import Course, Drives, Memory, rest_of, Step, step_of


class Given(eqx.Module):
    """What is given as arrays. Gradients reach connections, feedback weights and the bias
    of the readout."""

    network: Network
    counts: Float[Array, "steps batch in"]
    drives: Drives


class How(eqx.Module):
    """The rest."""

    rule: EProp
    solver: Clocked
    grid: Grid
    keep_voltages: bool = eqx.field(static=True)  # of the layers before the readout


class Seen(eqx.Module):
    """What a run shows. Gradients come from `y` and `spikes`."""

    y: Float[Array, "steps batch outputs"]
    spikes: tuple[Float[Array, "steps batch _"], ...]
    voltages: tuple[Float[Array, "steps batch _"], ...] | None
    num_spikes: tuple[Int[Array, " batch"], ...]
    course: Course  # at the end
    max_voltages: Float[Array, "batch outputs"]


def _start(given: Given, how: How) -> tuple[Step, Course]:
    dtype, batch = given.counts.dtype, given.counts.shape[1]
    setting = how.rule, how.solver, how.grid, given.drives, dtype
    return step_of(given.network, *setting), rest_of(given.network, batch, dtype)


def _numbers(given: Given) -> Int[Array, " steps"]:
    return jnp.arange(len(given.counts), dtype=jnp.int32)


def run(given: Given, how: How) -> Seen:
    """All steps, one after the other."""
    step, rest = _start(given, how)
    none = tuple(jnp.zeros(len(x.spikes), jnp.int32) for x in rest.hidden)

    def body(carry, each):
        course, num_spikes, largest = carry
        course, _ = step.go_on(each[0], course, each[1])
        spikes = tuple(x.spikes for x in course.hidden)
        new = [jnp.sum(x, axis=1).astype(jnp.int32) for x in spikes]
        num_spikes = tuple(a + b for a, b in zip(num_spikes, new))
        v = course.readout.v
        largest = jnp.where(v > largest, v, largest)
        voltages = None
        if how.keep_voltages:
            voltages = tuple(x.state.v for x in course.hidden)
        return (course, num_spikes, largest), (v, spikes, voltages)

    start = rest, none, rest.readout.v
    end, kept = lax.scan(body, start, (_numbers(given), given.counts))
    course, num_spikes, largest = end
    return Seen(*kept, num_spikes, course, largest)


class Bars(eqx.Module):
    """Derivatives of a loss, `None` by what it does not read."""

    y: Float[Array, "steps batch outputs"] | None
    spikes: tuple[Float[Array, "steps batch _"] | None, ...]


def gradient(given: Given, how: How, bars: Bars) -> Network:
    """By the weights of all connections, the feedback weights and the readout's bias."""
    step, rest = _start(given, how)
    feedback = matrices(given.network, how.rule.feedback, step.readout_rows)
    no_error = jnp.zeros_like(rest.readout.v)

    def body(carry: tuple[Course, Memory, Sums], each):
        course, memory, sums = carry
        number, counts, bars = each
        new, currents = step.go_on(number, course, counts)
        memory = step.learn(number, course, new, currents, counts, memory)
        error = no_error if bars.y is None else bars.y
        found = sums_of_step(feedback, memory, error, bars.spikes)
        return (new, memory, sums + found), None

    start = rest, step.no_memory(rest), no_sums(step)
    each = _numbers(given), given.counts, bars
    (_, _, sums), _ = lax.scan(body, start, each)
    return gradient_of(given.network, how.rule.feedback, step.rows, sums)


@eqx.filter_custom_vjp
def run_traced(given: Given, *, how: How) -> Seen:
    """`run`, differentiated by `gradient`."""
    return run(given, how)


@run_traced.def_fwd
def _forward(perturbed, given, *, how):
    _check(perturbed)
    return run(given, how), None


@run_traced.def_bwd
def _backward(kept, bars, perturbed, given, *, how):
    del kept, perturbed
    found = gradient(given, how, Bars(bars.y, bars.spikes))
    return eqx.tree_at(lambda g: g.network, eqx.filter(given, lambda x: False), found)


def _check(perturbed: Any) -> None:
    """Raises a `ValueError` for what is to be differentiated and has no traces."""
    *hidden, readout = perturbed.network.layers
    found = [(f"layers[{k}].neuron", x.neuron) for k, x in enumerate(hidden)]
    found += [("the input", perturbed.counts), ("`drive`", perturbed.drives)]
    for name, tree in found:
        if any(jax.tree.leaves(tree)):
            raise ValueError(
                f"Under `EProp(form='traces')` {name} has no gradient, only connections, "
                "feedback weights and the readout's bias have: leave it out of what is "
                "differentiated (`eqx.partition`, `jax.lax.stop_gradient`), or use "
                "`EProp(form='factorised')`."
            )
