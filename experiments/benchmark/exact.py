"""Exact answers in float64, from event to event, each spike bracketed ever more closely.

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
    delay=0.0,
    tau_mem,
    tau_syn,
    threshold,
    v_reset,
    t1,
):
    """All spikes of a layer of LIF neurons, whose threshold is positive.

    **Arguments:**

    - `times`, `sources`: input spikes, `[batch, events]`, sorted, `inf` where empty.
    - `weight`: `[inputs, neurons]`.
    - `recurrent`: `[neurons, neurons]`, what a spike adds to I, or `None`.
    - `delay`: how much later it does so, one number for all of them.

    **Returns:** `(times, sources)` of the layer's spikes in the same form.
    """
    taus = tau_mem, tau_syn
    batch, num_neurons = times.shape[0], np.shape(weight)[1]
    rows, back = _padded(weight), None if recurrent is None else _padded(recurrent)
    ends = np.concatenate([np.minimum(times, t1), np.full((batch, 1), t1)], axis=1)
    index = np.where(times < t1, sources, -1)  # the last row is zero
    index = np.concatenate([index, np.full((batch, 1), -1)], axis=1)
    v, i = np.zeros((2, batch, num_neurons))
    now, place = np.zeros(batch), np.zeros(batch, int)
    on_the_way, found = _Queue(batch), []
    # Each sample goes on to its next event, be it an arrival or its own spike.
    while (place < ends.shape[1]).any():
        busy = np.nonzero(place < ends.shape[1])[0]
        given, returning = ends[busy, place[busy]], on_the_way.first(busy)
        returns = returning[0] < given
        arrival = np.where(returns, returning[0], given)
        v_busy, i_busy = v[busy], i[busy]
        rest = (arrival - now[busy])[:, None]
        wait = _waits(v_busy, i_busy, rest, threshold, taus)
        neuron = np.argmin(wait, axis=1)
        wait = wait[np.arange(len(busy)), neuron]
        spikes = np.isfinite(wait)
        step = np.where(spikes, wait, rest[:, 0])[:, None]
        v_busy = _voltage(step, v_busy, i_busy, *taus)
        i_busy = i_busy * np.exp(-step / tau_syn)
        v_busy[spikes, neuron[spikes]] = v_reset
        now[busy] = np.where(spikes, now[busy] + step[:, 0], arrival)
        returns &= ~spikes
        arrives = ~spikes & ~returns
        i_busy += rows[np.where(arrives, index[busy, place[busy]], -1)]
        if back is not None:
            i_busy += back[np.where(returns, returning[1], -1)]
            on_the_way.drop_first(busy[returns])
            mine = busy[spikes]
            on_the_way.put(mine, now[mine] + delay, neuron[spikes])
        v[busy], i[busy] = v_busy, i_busy
        place[busy] += arrives
        found.append((busy[spikes], now[busy[spikes]], neuron[spikes]))
    return _pack(batch, *(np.concatenate(x) for x in zip(*found, strict=True)))


class _Queue:
    """Spikes on their way back, of each sample the first ones first: all take equally
    long."""

    def __init__(self, batch):
        self.times = np.full((batch, 64), np.inf)
        self.neurons = np.full((batch, 64), -1)
        self.start, self.end = np.zeros((2, batch), int)

    def first(self, samples):
        """When and from which neuron; `inf` where there are none."""
        place = samples, self.start[samples]
        return self.times[place], self.neurons[place]

    def drop_first(self, samples):
        self.start[samples] += 1

    def put(self, samples, times, neurons):
        place = samples, self.end[samples]
        self.times[place], self.neurons[place] = times, neurons
        self.end[samples] += 1
        if self.end.max() == self.times.shape[1]:  # the place behind the last is empty
            more = ((0, 0), (0, self.times.shape[1]))
            self.times = np.pad(self.times, more, constant_values=np.inf)
            self.neurons = np.pad(self.neurons, more, constant_values=-1)


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


def exact_integrals(times, sources, weight, *, tau_mem, tau_syn, t1, **_):
    """(1/t1) int exp(-t/t1) V dt from 0 to `t1` of neurons that do not spike, `[batch,
    neurons]`."""
    c = tau_syn / (tau_mem - tau_syn)
    rest = t1 - np.minimum(times, t1)

    def of_decay(tau):
        rate = 1 / tau + 1 / t1
        return -np.expm1(-rate * rest) / rate

    each = np.exp(-times / t1) / t1 * c * (of_decay(tau_mem) - of_decay(tau_syn))
    weight = np.asarray(weight, np.float64)
    out = np.zeros((len(times), weight.shape[1]))
    for b in range(len(times)):
        out[b] = each[b] @ weight[sources[b]]
    return out


def by_neuron(times, sources, num_neurons):
    """Sorted spike times in ms of each neuron, `[batch, num_neurons, spikes]`, filled up
    with `inf`, of which there is at least one."""
    times, batch = np.asarray(times), len(times)
    sample, place = np.nonzero(np.isfinite(times))
    owner, times = (
        sample * num_neurons + np.asarray(sources)[sample, place],
        times[sample, place],
    )
    order = np.lexsort((times, owner))
    owner, times = owner[order], times[order]
    count = np.bincount(owner, minlength=batch * num_neurons)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    out = np.full((batch * num_neurons, 1 + count.max()), np.inf)
    out[owner, rank] = times
    return out.reshape(batch, num_neurons, -1)


def _waits(v, i, rest, threshold, taus):
    """How long each neuron takes to its threshold, `inf` if it does not get there within
    `rest`.

    V rises only where I > V, and where I > 0 ever more slowly, so that only few come near
    enough to be looked at.
    """
    wait = np.full(v.shape, np.inf)
    near = (i > 0) & (v + np.maximum(i - v, 0) * (rest / taus[0]) >= threshold)
    sample, neuron = np.nonzero(near)
    if len(sample) == 0:
        return wait
    v, i = v[sample, neuron], i[sample, neuron]
    high = np.minimum(_peak(v, i, *taus), rest[sample, 0])
    crosses = (high > 0) & (_voltage(high, v, i, *taus) >= threshold)
    wait[sample[crosses], neuron[crosses]] = _first_crossing(
        high[crosses], v[crosses], i[crosses], threshold, taus
    )
    return wait


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
    """Where V(0) < threshold <= V(high): the interval is cut into 8 again and again,
    which takes a third of the rounds of bisection."""
    low, part = np.zeros_like(high), np.arange(9) / 8
    for _ in range(20):
        places = low[:, None] + (high - low)[:, None] * part
        places[:, -1] = high  # which rounding must not move
        above = _voltage(places, v[:, None], i[:, None], *taus) >= threshold
        above[:, 0], above[:, -1] = False, True
        first = np.argmax(above, axis=1)
        each = np.arange(len(high))
        low, high = places[each, first - 1], places[each, first]
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
