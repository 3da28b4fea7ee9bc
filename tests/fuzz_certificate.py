"""Whether spikes are those of a layer of LIF neurons: no solver, but a proof.

What a layer does between its spikes has a closed form. So spikes that somebody claims can
be checked one by one: at each the voltage stands at its threshold, and nowhere else does
it go beyond. Then none is lost and none invented. In long doubles of NumPy, all samples
and neurons at once; it shares nothing with eventjax.
"""

import dataclasses

import numpy as np


Real = np.longdouble


@dataclasses.dataclass
class Neurons:
    """Parameters of `ej.LIF`; `refractory` in ms."""

    tau_mem: np.ndarray
    tau_syn: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray
    bias: np.ndarray
    refractory: np.ndarray

    @classmethod
    def of(cls, neuron) -> "Neurons":
        refractory = getattr(neuron, "refractory", 0.0)
        lif = getattr(neuron, "neuron", neuron)
        full = lambda x: np.broadcast_to(np.asarray(x, Real), neuron.size)
        names = "tau_mem", "tau_syn", "v_threshold", "v_reset", "bias"
        parts = {name: full(getattr(lif, name)) for name in names}
        return cls(**parts, refractory=full(refractory))


@dataclasses.dataclass
class Certificate:
    """What came of it, one value for each sample."""

    # How far V is off the threshold at a spike, or beyond it elsewhere, as a part of what
    # rounding explains: at most 1 is right.
    excess: np.ndarray
    # How close V comes to the threshold without a spike, and how steep it is at spikes,
    # as a part of the threshold and for a membrane time constant.
    margin: np.ndarray
    slope: np.ndarray


def _psp(s, p: Neurons):
    """Voltage at `s` after a unit of current, for any ratio of time constants."""
    mem, syn = s / p.tau_mem, s / p.tau_syn
    half = (mem - syn) / 2
    small = np.abs(half) < 0.5
    square = np.where(small, half, 0) ** 2
    sinhc = np.ones_like(square)
    for k in range(20, 1, -2):
        sinhc = 1 + square / (k * (k + 1)) * sinhc
    apart = np.where(small, 1, p.tau_mem - p.tau_syn)
    far = p.tau_syn / apart * (np.exp(-mem) - np.exp(-syn))
    return np.where(small, mem * np.exp(-(mem + syn) / 2) * sinhc, far)


def _voltage(v, i, s, p: Neurons):
    return p.bias + (v - p.bias) * np.exp(-s / p.tau_mem) + i * _psp(s, p)


def _peak(v, i, s, p: Neurons):
    """The largest voltage within a time `s`."""
    there = i != 0
    x = p.tau_syn * ((v - p.bias) / np.where(there, i, 1) - 1)
    y = (1 / p.tau_syn - 1 / p.tau_mem) * x
    ok = there & (y > -1)
    y = np.where(ok, y, 0)
    near = np.abs(y) < 1e-8
    t = -x * np.where(near, 1 - y / 2, np.log1p(y) / np.where(near, 1, y))
    inside = ok & (t > 0) & (t < s)
    flat = _voltage(v, i, np.where(inside, t, 0), p)
    ends = np.maximum(v, _voltage(v, i, s, p))
    return np.maximum(ends, np.where(inside, flat, -np.inf))


def certify(
    neurons: Neurons,
    arrivals: tuple[np.ndarray, np.ndarray],
    spikes: tuple[np.ndarray, np.ndarray],
    t0: float,
    t1: float,
    eps: float,
) -> Certificate:
    """Check the spikes of a layer.

    **Arguments:**

    - `arrivals`: times in ms, shape `[batch, events]`, `+inf` where there is none, and the
        currents they add, `[batch, events, neurons]`; in any order.
    - `spikes`: times and sources, `[batch, capacity]`.
    - `eps`: of the float type of the run.

    **Returns:** a `Certificate`. It is one of what starts from rest.
    """
    p, (times, currents), (spike_times, sources) = neurons, arrivals, spikes
    batch, events, num = currents.shape
    shape, capacity = (batch, num), spike_times.shape[1]
    held_until = spike_times + p.refractory[sources]
    when = np.concatenate([times, spike_times, held_until], axis=1).astype(Real)
    order = np.argsort(when, axis=1, kind="stable")

    v, i = np.zeros(shape, Real), np.zeros(shape, Real)
    held, t = np.zeros(shape, int), np.full(batch, t0, Real)
    drop, slope_seen = np.zeros(shape, Real), np.zeros(shape, Real)
    size = np.broadcast_to(np.abs(p.v_threshold) + np.abs(p.bias), shape).astype(Real)
    excess, margin = np.zeros(batch, Real), np.full(batch, np.inf, Real)
    slope = np.full(batch, np.inf, Real)
    row, unit = np.arange(batch), np.arange(num)
    for k in range(order.shape[1] + 1):
        event = order[:, k] if k < order.shape[1] else np.full(batch, -1)
        stop = when[row, event] if k < order.shape[1] else np.full(batch, t1, Real)
        there = stop <= t1
        if not there.any():
            continue
        stop = np.where(there, stop, t)
        is_arrival = there & (event >= 0) & (event < events)
        is_spike = there & (event >= events) & (event < events + capacity)
        is_release = there & (event >= events + capacity)
        nth = np.clip(event - events, 0, None) % capacity
        mine = unit[None] == sources[row, nth][:, None]

        # Up to the event.
        s, free = (stop - t)[:, None], held == 0
        steep = np.abs(i + p.bias - v) / p.tau_mem
        slope_seen = np.where(free, np.maximum(slope_seen, steep), 0)
        size = np.maximum(np.maximum(size, np.abs(v)), np.abs(i))
        error = eps * (64 * (size + drop) + 16 * slope_seen * np.abs(t1))
        top = np.where(free, _peak(v, i, s, p), v)
        over = (top - p.v_threshold) / error
        over = np.where(free, over, 0)
        excess = np.maximum(excess, over.max(axis=1))
        ends_in_spike = is_spike[:, None] & mine
        gap = (p.v_threshold - top) / np.abs(p.v_threshold)
        gap = np.where(free & ~ends_in_spike, np.maximum(gap, 0), np.inf)
        margin = np.minimum(margin, np.where(s[:, 0] > 0, gap.min(axis=1), np.inf))
        v = np.where(free, _voltage(v, i, s, p), v)
        i = i * np.exp(-s / p.tau_syn)
        drop = drop * np.exp(-s / p.tau_mem)
        t = stop

        # What it does.
        if is_arrival.any():
            new = currents[row, np.clip(event, 0, max(events - 1, 0))]
            i = i + np.where(is_arrival[:, None], new, 0)
        spiking = is_spike[:, None] & mine
        if spiking.any():
            off = np.abs(v - p.v_threshold) / error
            # Held neurons do not spike.
            off = np.where(held > 0, np.inf, off)
            excess = np.maximum(excess, np.where(spiking, off, 0).max(axis=1))
            rise = (i + p.bias - v) / np.abs(p.v_threshold)
            rise = np.where(spiking, rise, np.inf)
            slope = np.minimum(slope, rise.min(axis=1))
            drop = drop + np.where(spiking, np.abs(v - p.v_reset), 0)
            v = np.where(spiking, p.v_reset, v)
            held = held + (spiking & (p.refractory > 0))
            slope_seen = np.where(spiking, 0, slope_seen)
        held = held - (is_release[:, None] & mine & (p.refractory > 0))
    return Certificate(excess, margin, slope)
