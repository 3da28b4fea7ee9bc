"""Neurons in closed form taken from event to event once more, to see whether the spikes
that a solver claims are theirs: all of them, and no other.

The courses are the neurons' own `flow`, which other tests hold against an ODE solver; the
solver's search for crossings has no part in it.
"""

import dataclasses
import heapq
import itertools as it

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eventjax as ej


LOOKS = 12  # between two events, besides the end


@dataclasses.dataclass
class Replay:
    """`excess` is the largest distance from the threshold that should not be, in units
    of what rounding explains: one at most. `slope` is the smallest at a spike, in 1/ms."""

    excess: float = 0.0
    slope: float = np.inf


@eqx.filter_jit
def _courses(neuron, state, dt):
    """States and distances from the threshold on the way; the last ones are at `dt`."""
    parts = jnp.linspace(0.0, 1.0, LOOKS + 1)[1:]
    zero = jnp.zeros(neuron.size)
    states = jax.vmap(lambda part: neuron.flow(state, zero, part * dt))(parts)
    gaps = jax.vmap(lambda x: neuron.threshold(0.0, x))(states)
    end = jax.tree.map(lambda x: x[-1], states)
    before = neuron.flow(state, zero, dt * (1 - 1e-6))
    slope = (gaps[-1] - neuron.threshold(0.0, before)) / (1e-6 * dt)
    return end, gaps, slope


@eqx.filter_jit
def _after_spike(neuron, state, source):
    back = neuron.reset(0.0, state)
    mine = jnp.arange(neuron.size, dtype=jnp.int32) == source
    return jax.tree.map(lambda x, y: jnp.where(mine, x, y), back, state)


@eqx.filter_jit
def _receive(neuron, state, row):
    return neuron.receive(state, row)


@eqx.filter_jit
def _gap(neuron, state):
    return neuron.threshold(0.0, state)


def _size(state) -> float:
    return 1.0 + max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(state))


def replay(layer: ej.Layer, given, claimed, t1: float, tolerance: float) -> Replay:
    """One sample. `given` and `claimed` are times and sources of the input and of the
    layer's spikes, without empty places. `tolerance` times the size of the state is what
    rounding explains."""
    neuron, out = layer.neuron, Replay()
    state, slope = neuron.initial_state(), np.zeros(neuron.size)
    arrivals, order = [], it.count()

    def bring(connection, time, source):
        lag = np.broadcast_to(connection.delays(), connection.in_size)[source]
        row = connection.rows(jnp.asarray(source))
        heapq.heappush(arrivals, (time + float(lag), next(order), row))

    for time, source in zip(*given, strict=True):
        bring(layer.connection, float(time), int(source))
    spikes, t, k = list(zip(*claimed, strict=True)), 0.0, 0
    while True:
        spike = spikes[k][0] if k < len(spikes) else np.inf
        arrival = arrivals[0][0] if arrivals else np.inf
        to = min(spike, arrival, t1)
        error = tolerance * _size(state)
        if to > t:
            state, gaps, slope = _courses(neuron, state, np.float64(to - t))
            gaps, slope = np.asarray(gaps), np.asarray(slope)
            error = max(error, tolerance * _size(state))
            # Rounding of times counts as well.
            error = error + 4e-16 * t1 * float(np.max(np.abs(slope)))
            out.excess = max(out.excess, float(np.max(gaps)) / error)
            t = to
        gap = np.asarray(_gap(neuron, state))
        if min(spike, arrival) > t1:
            return out
        first = spikes[k][1] if k < len(spikes) else 0
        if spike == t and (arrival > t or gap[first] >= -error):
            # One that stands above has just been put there.
            out.excess = max(out.excess, -float(gap[first]) / error)
            if abs(gap[first]) <= error:
                out.slope = min(out.slope, float(slope[first]))
            state = _after_spike(neuron, state, np.int32(first))
            if layer.recurrent is not None:
                bring(layer.recurrent, t, int(first))
            k += 1
        else:
            _, _, row = heapq.heappop(arrivals)
            # Whoever stands above and has not spiked has been left out.
            out.excess = max(out.excess, float(np.max(gap)) / error)
            state = _receive(neuron, state, row)
