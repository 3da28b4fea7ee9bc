"""The equations of Eventprop for a whole layer in one kernel: those of `_equations.py`,
arrival by arrival, backwards. See `_layer_kernel.py` of the solver."""

from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

from .._neuron._lif_flow import Steps
from .._solver._kernel_parts import (
    any_of,
    neurons_at,
    PARAMETERS,
    Plan,
    put,
    shapes,
    take,
)
from .._solver._layer_kernel import inputs, KernelTrace
from .._solver._problem import LayerProblem
from ._equations import (
    Cotangents,
    first_sums,
    in_problem,
    of_neurons,
    time_cotangents,
    Wanted,
)
from ._jumps import credible_slope, jump_of, Sums


class _Carry(NamedTuple):
    v: Any  # cotangents of the state where each neuron stands
    i: Any
    time: Any
    spike: Any  # place of its last spike that has not been passed, or -1
    sums: Sums
    delays: tuple[Any, ...]


def _kernel(
    plan: Plan,
    max_jump: float | None,
    own_paths: bool,
    names: tuple[str, ...],
    *refs,
) -> None:
    ref = dict(zip(names, refs, strict=True))
    b, j = pl.program_id(0), pl.program_id(1)
    here = pl.ds(j * plan.lanes, plan.lanes)
    neurons = neurons_at([ref[name] for name in PARAMETERS], b, here)
    taus = neurons.taus
    lane = lax.iota(jnp.int32, plan.lanes)
    height = neurons.v_threshold - neurons.v_reset

    def back(carry: _Carry, time) -> _Carry:
        """To an earlier time without own spikes in between."""
        steps = Steps.of(carry.time - time, taus)
        i = carry.i * steps.syn + carry.v * steps.gain
        time = jnp.broadcast_to(time, carry.time.shape)
        return carry._replace(v=carry.v * steps.mem, i=i, time=time)

    def later_than(step, carry: _Carry):
        there = carry.spike >= 0
        return there & (
            take(ref["step"], b, j, carry.spike, where=there, otherwise=-1) > step
        )

    def jump(step, carry: _Carry) -> _Carry:
        real = later_than(step, carry)
        at = b, j, carry.spike
        time = jnp.where(real, take(ref["time"], *at, where=real), carry.time)
        after = back(carry, time)
        current = take(ref["i"], *at, where=real)
        slope = jnp.where(real, credible_slope(current, neurons), 1.0)
        t_bar = take(ref["t_bars"], *at, where=real)
        tall = jnp.where(real, height, 1.0)
        v = jump_of(after.v, slope, tall, t_bar, taus.mem, max_jump)
        v_before, v_after = jnp.where(real, v, 0.0), jnp.where(real, after.v, 0.0)
        sums = carry.sums
        by_mem, by_syn = sums.by_mem, sums.by_syn
        if plan.by_tau:
            by_mem += v_before * take(ref["by_mem"], *at, where=real)
            by_syn += v_before * take(ref["by_syn"], *at, where=real)
        sums = Sums(sums.before + v_before, sums.after + v_after, by_mem, by_syn)
        previous = take(ref["previous"], *at, where=real, otherwise=-1)
        spike = jnp.where(real, previous, carry.spike)
        v = jnp.where(real, v, carry.v)
        i = jnp.where(real, after.i, carry.i)
        return _Carry(v, i, time, spike, sums, carry.delays)

    def through_spikes(step, carry: _Carry) -> _Carry:
        """Those after an arrival."""
        more = lambda carry: any_of(later_than(step, carry))
        return lax.while_loop(more, lambda carry: jump(step, carry), carry)

    def read_given(position, carry: _Carry) -> _Carry:
        carry = back(carry, ref["times"][b, position])
        source = ref["index"][b, position]
        if "of_times" in ref:
            row = ref["rows"][source, here]
            t_bar = jnp.sum(time_cotangents(row, carry.v, carry.i, taus))
            ref["of_times"][b, j, position] = t_bar
        plt.atomic_add(ref["of_rows"], (source, here), carry.i)
        return carry

    def read_returned(code, carry: _Carry) -> _Carry:
        copy, place = code // plan.capacity, code % plan.capacity
        who = ref["lane"][b, j, place]
        time = ref["time"][b, j, place] + ref["delay"][copy, who]
        carry = back(carry, time)
        row = ref["recurrent"][copy, who, here]
        t_bar = jnp.sum(time_cotangents(row, carry.v, carry.i, taus))
        plt.atomic_add(ref["of_recurrent"], (copy, who, here), carry.i)
        mine = lane == who
        if own_paths:
            # By the lane that reads it later.
            at = b, j, jnp.full(plan.lanes, place)
            bars = take(ref["t_bars"], *at, where=mine) + t_bar
            put(ref["t_bars"], *at, value=bars, where=mine)
        of_delays = tuple(
            x + jnp.where(mine & (copy == c), t_bar, 0.0)
            for c, x in enumerate(carry.delays)
        )
        return carry._replace(delays=of_delays)

    def one_arrival(n, carry: _Carry) -> _Carry:
        step = steps - 1 - n
        carry = through_spikes(step, carry)
        if not plan.copies:
            return read_given(step, carry)
        code = ref["arrived"][b, step]
        return lax.cond(
            code < plan.events,
            lambda carry: read_given(code, carry),
            lambda carry: read_returned(code - plan.events, carry),
            carry,
        )

    steps, start = ref["steps"][b, j], ref["v_bar"][b, here]
    zeros = jnp.zeros_like(start)
    carry = _Carry(
        start,
        ref["i_bar"][b, here],
        jnp.full(plan.lanes, ref["t1"][0]),
        ref["last"][b, here],
        Sums(zeros, zeros, zeros, zeros),
        (zeros,) * plan.copies,
    )
    carry = lax.fori_loop(0, steps, one_arrival, carry)
    carry = back(through_spikes(-1, carry), ref["t0"][0])
    ref["v"][b, here], ref["i_first"][b, here] = carry.v, carry.i
    for name in _SUMS:
        ref[name][b, here] = getattr(carry.sums, name.removeprefix("sum_"))
    for c, value in enumerate(carry.delays):
        ref["of_delays"][b, c, here] = value


_SUMS = ("sum_before", "sum_after", "sum_by_mem", "sum_by_syn")


def _outputs(
    plan: Plan, problem: LayerProblem, wanted: Wanted
) -> dict[str, jax.ShapeDtypeStruct]:
    lanes = plan.blocks * plan.lanes
    each = plan.batch, lanes
    sizes: dict[str, tuple[int, ...]] = {"v": each, "i_first": each}
    sizes |= dict.fromkeys(_SUMS, each)
    if wanted.times:
        sizes["of_times"] = plan.batch, plan.blocks, plan.events + 1
    if plan.copies:
        sizes["of_delays"] = plan.batch, plan.copies, lanes
    return shapes(problem.v.dtype, **sizes)


def backward(
    problem: LayerProblem,
    trace: KernelTrace,
    bars: Cotangents,
    max_jump: float | None,
    wanted: Wanted,
) -> LayerProblem:
    """As `_equations.backward`."""
    capacity, emitted = bars.times.shape[1], trace.emitted
    plan = Plan.of(problem, capacity, emitted.by_mem is not None)
    given = inputs(problem, plan)
    given |= {k: x for k, x in emitted._asdict().items() if x is not None}
    given |= {"last": trace.last, "steps": trace.steps}
    given |= {"v_bar": plan.fill(bars.v), "i_bar": plan.fill(bars.i)}
    if plan.copies:
        given["arrived"] = trace.arrived
    # Those that are added to come in as zeros, and as the cotangents there are.
    flat = jnp.zeros((plan.batch, emitted.time[0].size), bars.v.dtype)
    sample = jnp.arange(plan.batch, dtype=jnp.int32)[:, None]
    t_bars = flat.at[sample, trace.order].set(bars.times, unique_indices=True)
    zeros = jnp.zeros((problem.rows.shape[0], plan.lanes * plan.blocks), bars.v.dtype)
    added = {"t_bars": t_bars.reshape(emitted.time.shape), "of_rows": zeros}
    if plan.copies:
        added["of_recurrent"] = jnp.zeros_like(given["recurrent"])
    out = _outputs(plan, problem, wanted)
    out |= {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in added.items()}
    names = (*given, *(f"{name} before" for name in added), *out)

    def kernel(*refs):
        _kernel(plan, max_jump, wanted.spikes, names, *refs)

    made = plan.call(
        kernel,
        list(out.values()),
        [*given.values(), *added.values()],
        input_output_aliases={
            len(given) + n: list(out).index(name) for n, name in enumerate(added)
        },
    )
    made = dict(zip(out, made, strict=True))
    cut = lambda x: x[..., : plan.neurons]
    v, i = cut(made["v"]), cut(made["i_first"])
    each = {"v": v, "i": i, "rows": cut(made["of_rows"])}
    if wanted.neurons:
        ours = Sums(*(cut(made[name]) for name in _SUMS))
        sums = jax.tree.map(jnp.add, first_sums(bars, trace.final), ours)
        each |= of_neurons(sums, bars.v - v, problem)
    if wanted.times:
        of_times = jnp.sum(made["of_times"], axis=1)[:, : plan.events]
        there = (problem.times <= problem.t1)[:, :, 0]
        each["times"] = jnp.where(there, of_times.T, 0.0)[:, :, None]
    if plan.copies:
        each["recurrent"] = cut(made["of_recurrent"])
        each["recurrent_delay"] = cut(jnp.sum(made["of_delays"], axis=0))
    return in_problem(problem, each)
