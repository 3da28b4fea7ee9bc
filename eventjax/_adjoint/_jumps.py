"""Eventprop at a neuron's own spikes: the jump of its voltage's cotangent.

The only sequential part is each neuron's own chain of jumps; what a jump changes at the
arrivals before it is added afterwards, because everything between jumps is linear.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import psp
from .._solver._rows import Rows
from .._solver._window import Neurons, Window
from .._solver._work_queue import Queue, rounds, work_off


class Sums(eqx.Module):
    """Over the spikes of each sample and neuron, what parameters' gradients are made of:
    the voltage's cotangent before and after, and times its derivatives."""

    before: Array
    after: Array
    by_mem: Array
    by_syn: Array


class Chains(eqx.Module):
    """How far each neuron's spikes have been passed, and what came of it."""

    last: Int[Array, "batch neurons"]  # place of the last one that has not been passed
    spike_time: Float[Array, "batch capacity"]  # cotangents, by place in the record
    sums: Rows  # of Sums


def smallest_slope(height: Array, max_jump: float) -> Array:
    """The slope tau_mem V' at which a jump multiplies the cotangent by `max_jump`."""
    return height / (max_jump - 1)


def credible_slope(i: Array, neurons: Neurons) -> Array:
    """tau_mem V' at a spike, where I is `i`, but no less than what can be told apart.

    Below a largest voltage that is D above the threshold the slope there is
    sqrt(2 D |tau_mem^2 V''|). D is known to rounding only, so a smaller slope than that of
    one unit of rounding is noise, of either sign; its inverse must not reach a gradient.
    """
    taus, threshold = neurons.taus, neurons.v_threshold
    size = jnp.maximum(jnp.abs(threshold), jnp.abs(threshold - taus.bias))
    bend = jnp.abs(i) * taus.mem / taus.syn
    smallest = jnp.sqrt(2 * float(jnp.finfo(i.dtype).eps) * size * bend)
    return jnp.maximum(i + taus.bias - threshold, smallest)


def _jump(v, slope, height, t_bar, tau_mem, max_jump):
    """The jump of the voltage's cotangent at a spike. `slope` is tau_mem V' before it,
    `height` is v_threshold - v_reset."""
    if max_jump is not None:
        slope = jnp.maximum(slope, smallest_slope(height, max_jump))
    return (v * (slope + height) - tau_mem * t_bar) / slope


class _Link(eqx.Module):
    """Where a neuron stands in its chain of jumps."""

    v: Array  # the voltage's cotangent just before the spike that was passed last
    time: Array  # of that spike
    last: Int[Array, "*shape"]  # place of the next spike to be passed


def through_spikes(
    v: Float[Array, "batch neurons"],
    chains: Chains,
    window: Window,
    first_place: Int[Array, " batch"],
    spikes: Rows,
    neurons: Neurons,
    max_jump: float | None,
    tile: int,
) -> tuple[Chains, tuple[Array, Array]]:
    """Pass the window's spikes, the last of each neuron first; `v` is the voltage's
    cotangent at its end. Also returns what the jumps in each segment add to the
    cotangents of V and I at its start."""
    batch, num = v.shape
    pairs, capacity = batch * num, chains.spike_time.shape[1]
    lanes = window.start.shape[1]
    starts = window.times[:-1].reshape(-1)
    t_bars = chains.spike_time.reshape(-1)

    def jump(pair, real, link, sums, added):
        sample, here = pair // num, neurons.at(pair, num)
        taus = here.taus
        place = sample * capacity + jnp.maximum(link.last, 0)
        spike, t_bar = spikes.take(place), t_bars[place]
        since = jnp.where(real, link.time - spike.time, 0.0)
        v_after = link.v * jnp.exp(-since / taus.mem)
        height = here.v_threshold - here.v_reset
        slope = credible_slope(spike.i, here)
        v_before = _jump(v_after, slope, height, t_bar, taus.mem, max_jump)
        by_mem, by_syn = sums.by_mem, sums.by_syn
        if spike.v_by_mem is not None:
            by_mem += v_before * spike.v_by_mem
            by_syn += v_before * spike.v_by_syn
        sums = Sums(sums.before + v_before, sums.after + v_after, by_mem, by_syn)

        start = starts[spike.segment * (batch * lanes) + pair // (num // lanes)]
        h = jnp.where(real, spike.time - start, 0.0)
        change = v_before - v_after
        mem, gain = jnp.exp(-h / taus.mem), psp(h, taus.mem, taus.syn)
        at = jnp.where(real, spike.segment * pairs + pair, size * pairs)
        add = lambda x, y: x.at[at].add(y, mode="drop", unique_indices=True)
        added = add(added[0], change * mem), add(added[1], change * gain)
        link = _Link(v_before, spike.time, spike.previous)
        return link, sums, added, spike.previous >= first_place[sample]

    size = window.ends.shape[0]
    here = (chains.last >= first_place[:, None]).reshape(-1)
    end = jnp.broadcast_to(window.ends[-1], (batch, num)).reshape(-1)
    link = _Link(v.reshape(-1), end, chains.last.reshape(-1))
    added = (jnp.zeros(size * pairs, v.dtype),) * 2
    if pairs <= tile:  # as in `solve_spikes`
        everyone = jnp.arange(pairs, dtype=jnp.int32)

        def one_round(active, carry):
            link, sums, added = carry
            *new, added, more = jump(everyone, active, link, sums, added)
            select = lambda x, y: jnp.where(active, x, y)
            link, sums = jax.tree.map(select, tuple(new), (link, sums))
            return active & more, (link, sums, added)

        carry = link, chains.sums.tree(), added
        link, sums, added = rounds(here, one_round, carry)
        last, sums = link.last, Rows.of(sums)
    else:

        def visit(pair, real, carry):
            links, sums, added = carry
            old = links.take(pair), sums.take(pair)
            link, new, added, more = jump(pair, real, *old, added)
            links, sums = links.put(pair, real, link), sums.put(pair, real, new)
            return (links, sums, added), more

        carry = Rows.of(link), chains.sums, added
        links, sums, added = work_off(Queue.of(here, tile), tile, visit, carry)
        last = links.tree().last
    chains = Chains(last.reshape(batch, num), chains.spike_time, sums)
    return chains, tuple(x.reshape(-1, batch, num) for x in added)
