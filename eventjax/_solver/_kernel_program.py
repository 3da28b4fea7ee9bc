"""What one program of the forward kernel does, see `_layer_kernel.py`."""

from typing import Any, NamedTuple

import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from .._neuron._lif_crossing import first_crossing
from .._neuron._lif_flow import Flow, propagate, Steps, upper_bound
from ._kernel_parts import any_of, LATE, neurons_at, PARAMETERS, Plan, put, rank, take


class _Returns(NamedTuple):
    """For each copy, the next spike of each neuron that comes back, and when."""

    place: Any
    time: Any


class _Carry(NamedTuple):
    flow: Flow
    time: Any
    position: Any
    step: Any
    count: Any
    last: Any
    returns: tuple[_Returns, ...]
    going: Any


class _Stand(NamedTuple):
    """Within one step."""

    flow: Flow
    time: Any  # of each lane
    end: Any
    count: Any
    last: Any
    returns: tuple[_Returns, ...]
    active: Any


class Program:
    """One block of neurons of one sample, all that a kernel does."""

    def __init__(self, plan: Plan, ref: dict[str, Any]):
        self.plan, self.ref = plan, ref
        self.sample, self.block = pl.program_id(0), pl.program_id(1)
        self.here = pl.ds(self.block * plan.lanes, plan.lanes)
        parameters = [ref[name] for name in PARAMETERS]
        self.neurons = neurons_at(parameters, self.sample, self.here)
        self.lane = lax.iota(jnp.int32, plan.lanes)
        self.delays = [ref["delay"][c, :] for c in range(plan.copies)]
        self.t1 = ref["t1"][0]

    def run(self) -> None:
        ref, at = self.ref, (self.sample, self.here)
        end = lax.while_loop(lambda c: c.going, self.one_step, self.start())
        for name, value in {
            "v_end": end.flow.v,
            "i_end": end.flow.i,
            "v_by_mem": end.flow.v_by_mem,
            "v_by_syn": end.flow.v_by_syn,
            "i_by_syn": end.flow.i_by_syn,
            "last": end.last,
        }.items():
            if name in ref:
                ref[name][at] = value
        ref["count"][self.sample, self.block] = end.count
        ref["steps"][self.sample, self.block] = end.step

    def start(self) -> _Carry:
        ref, at = self.ref, (self.sample, self.here)
        v = ref["v_start"][at]
        by_tau = jnp.zeros_like(v) if self.plan.by_tau else None
        none = jnp.full_like(self.lane, -1)
        never = _Returns(none, jnp.full_like(v, LATE))
        zero = jnp.zeros((), jnp.int32)
        return _Carry(
            flow=Flow(v, ref["i_start"][at], by_tau, by_tau, by_tau),
            time=ref["t0"][0],
            position=zero,
            step=zero,
            count=zero,
            last=none,
            returns=(never,) * self.plan.copies,
            going=jnp.ones((), bool),
        )

    def one_step(self, carry: _Carry) -> _Carry:
        """To the next arrival, or to t1."""
        given_time = self.given_time(carry.position)
        end = jnp.minimum(given_time, self.t1)
        for back in carry.returns:
            end = jnp.minimum(end, jnp.min(back.time))
        time = jnp.full_like(carry.flow.v, carry.time)
        stand = _Stand(
            carry.flow,
            time,
            end,
            carry.count,
            carry.last,
            carry.returns,
            self.may_spike(carry.flow, time, end),
        )
        stand = lax.while_loop(
            lambda stand: any_of(stand.active),
            lambda stand: self.one_round(stand, carry.step),
            stand,
        )
        taus = self.neurons.taus
        steps = Steps.of(stand.end - stand.time, taus, self.plan.by_tau)
        flow = propagate(stand.flow, steps, taus.bias)
        return self.receive(carry, stand._replace(flow=flow), given_time)

    def given_time(self, position: Array) -> Array:
        last = self.plan.events  # a place that is there, and late
        return self.ref["times"][self.sample, jnp.minimum(position, last)]

    def may_spike(self, flow: Flow, time: Array, end: Array) -> Array:
        neurons, taus = self.neurons, self.neurons.taus
        part = jnp.minimum((end - time) / taus.mem, 1.0)
        peak = jnp.minimum(part, neurons.peak)
        bound = upper_bound(flow.v, flow.i, part, peak, taus)
        return jnp.maximum(bound, flow.v) >= neurons.v_threshold

    def one_round(self, stand: _Stand, step: Array) -> _Stand:
        """The next spike of each neuron that may have one. Where one of them comes back
        the step ends, and those that are later are left for the next."""
        neurons, taus, flow = self.neurons, self.neurons.taus, stand.flow
        way = stand.end - stand.time
        found, h = first_crossing(
            flow.v, flow.i, way, taus, neurons.v_threshold, any_of
        )
        found &= stand.active
        time, end = jnp.minimum(stand.time + h, stand.end), stand.end
        for delay in self.delays:
            end = jnp.minimum(end, jnp.min(jnp.where(found, time + delay, LATE)))
        found &= time <= end
        steps = Steps.of(jnp.where(found, h, 0.0), taus, self.plan.by_tau)
        before = propagate(flow, steps, taus.bias)
        stand = self.emit(stand._replace(end=end), step, time, before, found)
        after = before.reset(neurons.v_reset)
        flow = jax.tree.map(lambda x, y: jnp.where(found, x, y), after, flow)
        time = jnp.where(found, time, stand.time)
        active = found & self.may_spike(flow, time, end)
        return stand._replace(flow=flow, time=time, active=active)

    def emit(
        self, stand: _Stand, step: Array, time: Array, before: Flow, found: Array
    ) -> _Stand:
        nth, new = rank(found)
        place, ref = stand.count + nth, self.ref
        fits, at = found & (place < self.plan.capacity), (self.sample, self.block)
        for name, value in {
            "time": time,
            "i": before.i,
            "lane": self.block * self.plan.lanes + self.lane,
            "previous": stand.last,
            "step": jnp.full_like(self.lane, step),
            "by_mem": before.v_by_mem,
            "by_syn": before.v_by_syn,
        }.items():
            if name in ref:
                put(ref[name], *at, place, value=value, where=fits)
        if self.delays:
            again = fits & (stand.last >= 0)
            put(ref["following"], *at, stand.last, value=place, where=again)
        returns = []
        for back, delay in zip(stand.returns, self.delays):
            idle = found & (back.place < 0)
            where = jnp.where(idle, place, back.place)
            returns.append(_Returns(where, jnp.where(idle, time + delay, back.time)))
        return stand._replace(
            count=stand.count + new,
            last=jnp.where(found, place, stand.last),
            returns=tuple(returns),
        )

    def receive(self, carry: _Carry, stand: _Stand, given_time: Array) -> _Carry:
        """What arrives at the end of a step: an event, else an own spike, else nothing,
        which is so at t1 only."""
        plan, ref, position = self.plan, self.ref, carry.position
        given = given_time <= stand.end
        source = ref["index"][self.sample, position]
        row = jnp.where(given, ref["rows"][source, self.here], 0.0)
        arrives, returns = given, stand.returns
        if self.delays:
            copy, who, time = self.first_return(returns)
            back = ~given & (time <= stand.end)
            own = ref["recurrent"][copy, who, self.here]
            row, arrives = row + jnp.where(back, own, 0.0), given | back
            mine = [back & (copy == c) & (self.lane == who) for c in range(plan.copies)]
            place = jnp.zeros((), jnp.int32)
            for mask, x in zip(mine, returns):
                place += jnp.sum(jnp.where(mask, x.place, 0), dtype=jnp.int32)
            code = plan.events + copy * plan.capacity + place
            ref["arrived"][self.sample, carry.step] = jnp.where(back, code, position)
            returns = tuple(
                self.next_return(*x, stand.last)
                for x in zip(returns, self.delays, mine)
            )
        # With a full buffer own spikes would come back that are not there.
        going = arrives & ((plan.copies == 0) | (stand.count <= plan.capacity))
        return _Carry(
            flow=stand.flow.receive(row),
            time=stand.end,
            position=position + given.astype(jnp.int32),
            step=carry.step + arrives.astype(jnp.int32),
            count=stand.count,
            last=stand.last,
            returns=returns,
            going=going,
        )

    def first_return(self, returns: tuple[_Returns, ...]) -> tuple[Array, Array, Array]:
        """Which copy of whose spike comes back next, and when."""
        copy = who = jnp.zeros((), jnp.int32)
        first = jnp.min(returns[0].time)
        for c, back in enumerate(returns):
            time = jnp.min(back.time)
            lane = jnp.min(jnp.where(back.time == time, self.lane, self.plan.lanes - 1))
            better = (time < first) | (c == 0)
            copy, who = jnp.where(better, c, copy), jnp.where(better, lane, who)
            first = jnp.minimum(first, time)
        return copy, who, first

    def next_return(
        self, back: _Returns, delay: Array, mine: Array, last: Array
    ) -> _Returns:
        """After a spike of the lane `mine` has come back."""
        ref, at = self.ref, (self.sample, self.block)
        more = mine & (back.place != last)
        place = take(ref["following"], *at, back.place, where=more, otherwise=-1)
        time = take(ref["time"], *at, place, where=more, otherwise=LATE) + delay
        time = jnp.where(more, time, LATE)
        return _Returns(
            jnp.where(mine, place, back.place), jnp.where(mine, time, back.time)
        )
