"""Eventprop at a neuron's own spikes: the jump of its voltage's cotangent.

The only sequential part is each neuron's own chain of jumps; what a jump changes at the
arrivals before it is added afterwards, because everything between jumps is linear.
"""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._lif_flow import psp, Steps, Taus
from .._solver._rows import Rows
from .._solver._window import Neurons, wide, Window
from .._solver._work_queue import compute_once, put


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


def _jump(v, slope, height, t_bar, tau_mem, max_jump):
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


class Cotangent(eqx.Module):
    """The cotangents of V and I at a window's start, and just after each arrival; of V
    there only if it is wanted."""

    v: Float[Array, "batch neurons"]
    i: Float[Array, "batch neurons"]
    reads_v: Float[Array, "arrivals batch neurons"] | None
    reads_i: Float[Array, "arrivals batch neurons"]

    @classmethod
    def without_spikes(
        cls, v: Array, i: Array, window: Window, taus: Taus, reads_v: bool
    ) -> "Cotangent":
        """From those at the window's end, each for itself: as a chain from arrival to
        arrival, XLA on CPU would compute each of them from the end."""
        left = window.ends[-1:] - window.times
        steps = compute_once(Steps.of(left, wide(taus)), left[-1, 0, 0] <= 0)
        at_start, reads = (
            jax.tree.map(f, steps) for f in (lambda x: x[0], lambda x: x[1:])
        )
        return cls(
            v * at_start.mem,
            i * at_start.syn + v * at_start.gain,
            v[None] * reads.mem if reads_v else None,
            i[None] * reads.syn + v[None] * reads.gain,
        )


def through_spikes(
    v: Float[Array, "batch neurons"],
    cotangent: Cotangent,
    t_bars: Float[Array, " places"],
    sums: Rows | None,
    window: Window,
    passed: Passed,
    spikes: Rows,
    neurons: Neurons,
    max_jump: float | None,
    tile: int,
) -> tuple[Rows | None, Cotangent]:
    """Pass the window's spikes, the last of each neuron first; `v` is the voltage's
    cotangent at its end, `cotangent` what there would be without them, `t_bars` are those
    of spike times. Returns the `Sums` with them, and the cotangents with their jumps."""
    batch, num = v.shape
    pairs, size = batch * num, window.ends.shape[0]
    lanes = window.start.shape[1]
    start, ends = window.start.reshape(-1), window.ends.reshape(size, -1)
    arrival = jnp.arange(size, dtype=jnp.int32)[:, None]

    def jump(nth, k, carry):
        (link_v, link_time), sums, cotangent = carry
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
        v_before = _jump(v_after, slope, height, t_bar, taus.mem, max_jump)
        if sums is not None:
            old = sums.take(pair)
            by_mem, by_syn = old.by_mem, old.by_syn
            if spike.v_by_mem is not None:
                by_mem += v_before * spike.v_by_mem
                by_syn += v_before * spike.v_by_syn
            new = Sums(old.before + v_before, old.after + v_after, by_mem, by_syn)
            sums = sums.put(pair, real, new)

        lane = pair // (num // lanes)
        h_start = jnp.where(real, spike.time - start[lane], 0.0)
        before = real[None] & (arrival < spike.segment[None])
        h = spike.time[None] - ends.at[:, lane].get(mode="promise_in_bounds")
        # Shared by what follows, or else computed in each place
        change, h = compute_once(
            (v_before - v_after, jnp.where(before, h, 0.0)), passed.rounds > 0
        )
        at_start = jnp.where(real, pair, pairs)
        at = jnp.where(before, arrival * pairs + pair[None], size * pairs)
        cotangent = Cotangent(
            _add(cotangent.v, at_start, change * jnp.exp(-h_start / taus.mem)),
            _add(cotangent.i, at_start, change * psp(h_start, taus.mem, taus.syn)),
            _add(cotangent.reads_v, at, change[None] * jnp.exp(-h / wide(taus.mem))),
            _add(
                cotangent.reads_i,
                at,
                change[None] * psp(h, *wide((taus.mem, taus.syn))),
            ),
        )
        link = put(link_v, pair, real, v_before), put(link_time, pair, real, spike.time)
        return link, sums, cotangent

    def one_round(r, carry):
        step = lambda k, carry: jump(passed.rounds - 1 - r, k, carry)
        tiles = -(-(passed.last - passed.first) // tile)
        return lax.fori_loop(0, tiles, step, carry)

    end = jnp.broadcast_to(window.ends[-1], (batch, num)).reshape(-1)
    carry = (v.reshape(-1), end), sums, cotangent
    _, sums, cotangent = lax.fori_loop(0, passed.rounds, one_round, carry)
    return sums, cotangent


def _add(to: Array | None, place: Array, by: Array) -> Array | None:
    """`place` counts through `to`, and no place comes twice; one behind the end is none."""
    if to is None:
        return None
    flat = to.reshape(-1).at[place].add(by, mode="drop", unique_indices=True)
    return flat.reshape(to.shape)
