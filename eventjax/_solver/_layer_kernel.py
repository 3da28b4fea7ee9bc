"""A whole layer in one kernel, forwards.

The windows of `_chunked.py` are right for processors that do one thing after the other
fast. On a GPU each of their small operations is a launch, and that is most of the time.
Here a program takes its neurons from arrival to arrival by itself. Nothing else is
different: the same flow, bound and crossing, the same rule for spikes that come back.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._neuron._lif_flow import Flow
from ._kernel_parts import LATE, PARAMETERS, parameters, Plan, shapes
from ._kernel_program import Program
from ._problem import LayerProblem, LayerRun


class Emitted(NamedTuple):
    """Spikes as programs emit them, `[batch, blocks, capacity + 1]`."""

    time: Any
    i: Any
    lane: Any
    previous: Any  # place of the neuron's spike before, or -1
    step: Any  # arrivals before it
    following: Any  # place of the neuron's next spike, if it has spiked again
    by_mem: Any
    by_syn: Any


class KernelTrace(eqx.Module):
    """What the reverse pass needs."""

    emitted: Emitted
    last: Int[Array, "batch lanes"]  # place of each neuron's last spike, or -1
    steps: Int[Array, "batch blocks"]
    # What arrived at the end of each step: its place in the list of events, or behind all
    # of these `copy * capacity + place` of an own spike
    arrived: Int[Array, "batch steps"] | None
    order: Int[Array, "batch slots"]  # which emitted spike is which in sorted lists
    count: Int[Array, "batch blocks"]
    final: Flow

    def crossings(self, problem: LayerProblem) -> tuple[Array, Array, Array]:
        """As those of `Trace`."""
        batch, num = problem.v.shape
        there = _there(self.emitted, self.count)
        sample = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * num
        pair = jnp.where(there, sample + self.emitted.lane, 0)
        i = jnp.where(there, self.emitted.i, 0.0)
        return pair.reshape(-1), i.reshape(-1), there.reshape(-1)


def _outputs(plan: Plan, dtype) -> dict[str, jax.ShapeDtypeStruct]:
    spikes = plan.batch, plan.blocks, plan.capacity + 1  # see `put`
    lanes = plan.batch, plan.blocks * plan.lanes
    programs = plan.batch, plan.blocks
    out = shapes(dtype, time=spikes, i=spikes, v_end=lanes, i_end=lanes)
    out |= shapes(jnp.int32, lane=spikes, previous=spikes, step=spikes, last=lanes)
    out |= shapes(jnp.int32, count=programs, steps=programs)
    if plan.by_tau:
        out |= shapes(dtype, by_mem=spikes, by_syn=spikes)
        out |= shapes(dtype, v_by_mem=lanes, v_by_syn=lanes, i_by_syn=lanes)
    if plan.copies:
        out |= shapes(jnp.int32, following=spikes, arrived=(plan.batch, plan.steps))
    return out


def inputs(problem: LayerProblem, plan: Plan) -> dict[str, Array]:
    """One place more than there are events, so that there is one."""
    pad = ((0, 0), (0, 1))
    fill = plan.fill
    given = {
        "times": jnp.pad(problem.times[:, :, 0].T, pad, constant_values=LATE),
        "index": jnp.pad(problem.index[:, :, 0].T, pad),
        "rows": fill(problem.rows),
        **dict(zip(PARAMETERS, parameters(problem, plan), strict=True)),
        "v_start": fill(problem.v),
        "i_start": fill(problem.i),
        "t0": problem.t0[None],
        "t1": problem.t1[None],
    }
    if plan.copies:
        given["recurrent"] = fill(problem.recurrent)
        given["delay"] = fill(problem.recurrent_delay)
    return given


def _there(emitted: Emitted, count: Array) -> Array:
    """Which places hold a spike; the last one never does."""
    capacity = emitted.time.shape[2] - 1
    place = jnp.arange(capacity + 1, dtype=jnp.int32)[None, None]
    return place < jnp.minimum(count, capacity)[:, :, None]


def solve(
    problem: LayerProblem, capacity: int, by_tau: bool = False
) -> tuple[LayerRun, KernelTrace]:
    """As `_chunked.solve`."""
    plan = Plan.of(problem, capacity, by_tau)
    given, out = inputs(problem, plan), _outputs(plan, problem.v.dtype)

    def kernel(*refs):
        Program(plan, dict(zip((*given, *out), refs, strict=True))).run()

    made = plan.call(kernel, list(out.values()), given.values())
    made = dict(zip(out, made, strict=True))
    emitted = Emitted(**{name: made.get(name) for name in Emitted._fields})
    flat = lambda x: x.reshape(plan.batch, -1)
    when = flat(jnp.where(_there(emitted, made["count"]), emitted.time, jnp.inf))
    order = jnp.argsort(when, axis=1, stable=True)[:, :capacity].astype(jnp.int32)
    pick = lambda x: jnp.take_along_axis(x, order, axis=1)
    times = pick(when)
    full = jnp.isfinite(times)
    sources = jnp.where(full, pick(flat(emitted.lane)), 0)
    cut = lambda x: None if x is None else x[:, : plan.neurons]
    slopes = None
    if problem.v_threshold is not None:
        at = lambda x: jnp.take_along_axis(
            jnp.broadcast_to(x, problem.v.shape), sources, axis=1
        )
        rise = pick(flat(emitted.i)) + at(problem.bias) - at(problem.v_threshold)
        slopes = jnp.where(full, rise / at(problem.tau_mem), 0.0)
    names = "v_end", "i_end", "v_by_mem", "v_by_syn", "i_by_syn"
    final = Flow(*(cut(made.get(name)) for name in names))
    num_spikes = jnp.sum(made["count"], axis=1, dtype=jnp.int32)
    trace = KernelTrace(
        emitted,
        made["last"],
        made["steps"],
        made.get("arrived"),
        order,
        made["count"],
        final,
    )
    return LayerRun(times, sources, num_spikes, final.v, final.i, slopes=slopes), trace
