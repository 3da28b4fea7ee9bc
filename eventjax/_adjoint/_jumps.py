"""Eventprop at a neuron's own spikes: the jump of its voltage's cotangent.

The only sequential part is each neuron's own chain of jumps; what a jump changes before it
is another matter, see `_cotangent.py`.
"""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._solver._rows import Rows
from .._solver._tiles import compute_once, put
from .._solver._window import Neurons, Window
from ._cotangent import AbstractJumps


class Sums(eqx.Module):
    """Over the spikes of each sample and neuron, what parameters' gradients are made of:
    the voltage's cotangent before and after, and times its derivatives."""

    before: Array
    after: Array
    by_mem: Array
    by_syn: Array


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


def jump_of(v, slope, height, t_bar, tau_mem, max_jump):
    """The jump of the voltage's cotangent at a spike. `slope` is tau_mem V' before it,
    `height` is v_threshold - v_reset."""
    if max_jump is not None:
        slope = jnp.maximum(slope, smallest_slope(height, max_jump))
    return (v * (slope + height) - tau_mem * t_bar) / slope


class Passed(eqx.Module):
    """The spikes of a window from `first` on, up to `last`; `rounds` of one neuron at
    most."""

    first: Int[Array, ""]
    last: Int[Array, ""]
    rounds: Int[Array, ""]


def through_spikes(
    v: Float[Array, "batch neurons"],
    jumps: AbstractJumps,
    t_bars: Float[Array, " places"],
    sums: Rows | None,
    window: Window,
    passed: Passed,
    spikes: Rows,
    neurons: Neurons,
    max_jump: float | None,
    tile: int,
) -> tuple[Rows | None, AbstractJumps]:
    """Pass the window's spikes, the last of each neuron first; `v` is the voltage's
    cotangent at its end, `t_bars` are those of spike times. Returns the `Sums` with them,
    and the `jumps`."""
    batch, num = v.shape

    def jump(nth, k, carry):
        (link_v, link_time), sums, jumps = carry
        at = passed.first + k * tile
        spike, t_bar = spikes.slice(at, tile), lax.dynamic_slice(t_bars, (at,), (tile,))
        spike = compute_once(spike, passed.rounds > 0)
        real = at + jnp.arange(tile, dtype=jnp.int32) < passed.last
        real &= spike.nth == nth
        pair = jnp.where(real, spike.pair, 0)
        here = neurons.at(pair, num)
        taus = here.taus
        since = jnp.where(real, link_time[pair] - spike.time, 0.0)
        v_after = link_v[pair] * jnp.exp(-since / taus.mem)
        height = here.v_threshold - here.v_reset
        slope = jnp.where(real, credible_slope(spike.i, here), 1.0)
        v_before = jump_of(v_after, slope, height, t_bar, taus.mem, max_jump)
        if sums is not None:
            old = sums.take(pair)
            by_mem, by_syn = old.by_mem, old.by_syn
            if spike.v_by_mem is not None:
                by_mem += v_before * spike.v_by_mem
                by_syn += v_before * spike.v_by_syn
            new = Sums(old.before + v_before, old.after + v_after, by_mem, by_syn)
            sums = sums.put(pair, real, new)

        spike = eqx.tree_at(
            lambda s: (s.pair, s.segment),
            spike,
            (pair, jnp.where(real, spike.segment, 0)),
        )
        jumps = jumps.add(v_before - v_after, spike, real, taus)
        link = put(link_v, pair, real, v_before), put(link_time, pair, real, spike.time)
        return link, sums, jumps

    def one_round(r, carry):
        step = lambda k, carry: jump(passed.rounds - 1 - r, k, carry)
        tiles = -(-(passed.last - passed.first) // tile)
        return lax.fori_loop(0, tiles, step, carry)

    end = jnp.broadcast_to(window.ends[-1], (batch, num)).reshape(-1)
    carry = (v.reshape(-1), end), sums, jumps
    _, sums, jumps = lax.fori_loop(0, passed.rounds, one_round, carry)
    return sums, jumps
