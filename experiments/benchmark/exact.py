"""Exact answers in float64, from event to event, each spike solved by bisection.

They share no code with any of the libraries measured. A LIF neuron obeys
tau_mem dV/dt = -V + I and tau_syn dI/dt = -I, an arriving spike adds its weight to I, and
a neuron whose V reaches the threshold spikes and is reset. Between two events
V(s) = (v + c i) exp(-s/tau_mem) - c i exp(-s/tau_syn), c = tau_syn / (tau_mem - tau_syn),
has at most one maximum. V reaches the threshold before it or not at all, so the first
crossing is bracketed and cannot be missed. Times are in ms.
"""

import numpy as np


def exact_layer(
    times,
    sources,
    weight,
    recurrent=None,
    *,
    tau_mem,
    tau_syn,
    threshold,
    v_reset,
    t1,
):
    """All spikes of a layer of LIF neurons.

    **Arguments:**

    - `times`, `sources`: input spikes, `[batch, events]`, sorted, `inf` where empty.
    - `weight`: `[inputs, neurons]`.
    - `recurrent`: `[neurons, neurons]`, what a spike adds to I at once, or `None`.

    **Returns:** `(times, sources)` of the layer's spikes in the same form.
    """
    taus = tau_mem, tau_syn
    batch, num_neurons = times.shape[0], np.shape(weight)[1]
    rows = _padded(weight)
    ends = np.concatenate([np.minimum(times, t1), np.full((batch, 1), t1)], axis=1)
    index = np.where(times < t1, sources, -1)  # the last row is zero
    index = np.concatenate([index, np.full((batch, 1), -1)], axis=1)
    v, i = np.zeros((2, batch, num_neurons))
    now, place = np.zeros(batch), np.zeros(batch, int)
    found = []
    # Each sample goes on to its next event, be it an arrival or its own spike.
    while (place < ends.shape[1]).any():
        busy = np.nonzero(place < ends.shape[1])[0]
        arrival = ends[busy, place[busy]]
        v_busy, i_busy = v[busy], i[busy]
        rest = (arrival - now[busy])[:, None]
        high = np.minimum(_peak(v_busy, i_busy, *taus), rest)
        crosses = (high > 0) & (_voltage(high, v_busy, i_busy, *taus) >= threshold)
        wait = np.full(crosses.shape, np.inf)
        wait[crosses] = _first_crossing(
            high[crosses], v_busy[crosses], i_busy[crosses], threshold, taus
        )
        neuron = np.argmin(wait, axis=1)
        wait = wait.min(axis=1)
        spikes = np.isfinite(wait)
        step = np.where(spikes, wait, rest[:, 0])[:, None]
        v_busy = _voltage(step, v_busy, i_busy, *taus)
        i_busy = i_busy * np.exp(-step / tau_syn)
        arrived = np.where(spikes, -1, index[busy, place[busy]])
        i_busy += rows[arrived]
        v_busy[spikes, neuron[spikes]] = v_reset
        if recurrent is not None:
            i_busy[spikes] += np.asarray(recurrent, np.float64)[neuron[spikes]]
        v[busy], i[busy] = v_busy, i_busy
        now[busy] = np.where(spikes, now[busy] + step[:, 0], arrival)
        place[busy] += ~spikes
        found.append((busy[spikes], now[busy[spikes]], neuron[spikes]))
    return _pack(batch, *(np.concatenate(x) for x in zip(*found, strict=True)))


def exact_max_voltages(times, sources, weight, *, tau_mem, tau_syn, t1, **_):
    """The largest voltage up to `t1` of neurons that do not spike, `[batch, neurons]`."""
    taus = tau_mem, tau_syn
    rows = _padded(weight)
    index = np.where(times < t1, sources, -1)
    v, i, best = np.zeros((3, times.shape[0], np.shape(weight)[1]))
    now = np.zeros(times.shape[0])
    for k in range(times.shape[1] + 1):
        end = (
            np.minimum(times[:, k], t1) if k < times.shape[1] else np.full_like(now, t1)
        )
        rest = (end - now)[:, None]
        for s in (np.minimum(_peak(v, i, *taus), rest), rest):
            best = np.maximum(best, _voltage(s, v, i, *taus))
        v, i = _voltage(rest, v, i, *taus), i * np.exp(-rest / tau_syn)
        if k < times.shape[1]:
            i += rows[index[:, k]]
        now = end
    return best


def by_neuron(times, sources, num_neurons):
    """Sorted spike times in ms of each neuron, `[batch, num_neurons, spikes]`, filled up
    with `inf`, of which there is at least one."""
    own = sources[:, None] == np.arange(num_neurons)[:, None]
    out = np.sort(np.where(own, times[:, None], np.inf), axis=2)
    return out[..., : 1 + np.isfinite(out).sum(axis=2).max()]


def _voltage(s, v, i, tau_mem, tau_syn):
    c = tau_syn / (tau_mem - tau_syn)
    return (v + c * i) * np.exp(-s / tau_mem) - c * i * np.exp(-s / tau_syn)


def _peak(v, i, tau_mem, tau_syn):
    """When V is largest; 0 where it only falls."""
    c = tau_syn / (tau_mem - tau_syn)
    rate = 1 / tau_syn - 1 / tau_mem
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = -np.log((v + c * i) * tau_syn / (c * i * tau_mem)) / rate
        rises_for_ever = v + c * i <= 0
    peak = np.where(rises_for_ever, np.inf, peak)
    return np.where((i > v) & (i > 0), peak, 0.0)


def _first_crossing(high, v, i, threshold, taus):
    """By bisection, where V(0) < threshold <= V(high)."""
    low = np.zeros_like(high)
    for _ in range(60):
        middle = (low + high) / 2
        above = _voltage(middle, v, i, *taus) >= threshold
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def _padded(rows):
    """In float64, and a last row of zeros."""
    return np.pad(np.asarray(rows, np.float64), ((0, 1), (0, 0)))


def _pack(batch, samples, times, neurons):
    """Lists of (sample, time, neuron) to sorted, padded `[batch, events]` arrays."""
    width = max(1, np.bincount(samples, minlength=batch).max(initial=0))
    out_times = np.full((batch, width), np.inf)
    out_sources = np.zeros((batch, width), np.int32)
    for b in range(batch):
        mine = np.nonzero(samples == b)[0]
        mine = mine[np.argsort(times[mine], kind="stable")]
        out_times[b, : len(mine)] = times[mine]
        out_sources[b, : len(mine)] = neurons[mine]
    return out_times, out_sources
