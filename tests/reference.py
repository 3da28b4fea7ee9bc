"""An event-by-event simulator of one sample of a LIF layer, in plain NumPy float64.

It shares nothing with eventjax, neither code nor formulas where there is a choice, and
is written to be read, not to be fast.
"""

import dataclasses
import math

import numpy as np
from scipy.optimize import brentq


@dataclasses.dataclass
class Run:
    times: np.ndarray  # spikes, ascending
    sources: np.ndarray
    v: np.ndarray  # at t1
    i: np.ndarray


@dataclasses.dataclass
class Neuron:
    tau_mem: float
    tau_syn: float
    v_threshold: float
    v_reset: float
    bias: float
    v: float
    i: float

    def _psp(self, s: float) -> float:
        """Voltage at `s` from a unit current at 0, for any ratio of time constants."""
        mem, syn = s / self.tau_mem, s / self.tau_syn
        half = (mem - syn) / 2
        if abs(half) > 0.5:
            ratio = self.tau_syn / (self.tau_mem - self.tau_syn)
            return ratio * (math.exp(-mem) - math.exp(-syn))
        square = half * half
        sinhc = 1.0
        for k in range(16, 1, -2):
            sinhc = 1.0 + square / (k * (k + 1)) * sinhc
        return mem * math.exp(-(mem + syn) / 2) * sinhc

    def voltage(self, s: float) -> float:
        decay = math.exp(-s / self.tau_mem)
        return self.v * decay + self.bias * (1 - decay) + self.i * self._psp(s)

    def _slope_sign(self, s: float) -> float:
        """dV/dt times something positive that keeps it in range on long segments."""
        rate = 1 / self.tau_syn - 1 / self.tau_mem
        if rate == 0:
            return self.bias - self.v + self.i * (1 - s / self.tau_mem)
        if rate > 0:
            fall = math.exp(-rate * s)
            charge = -math.expm1(-rate * s) / (rate * self.tau_mem)
            return self.bias - self.v + self.i * (fall - charge)
        fall = math.exp(rate * s)
        charge = math.expm1(rate * s) / (rate * self.tau_mem)
        return (self.bias - self.v) * fall + self.i * (1 - charge)

    def crossing(self, length: float) -> float:
        """Time to the first crossing within `length`, `inf` if there is none."""
        gap = lambda s: self.voltage(s) - self.v_threshold
        if self.v >= self.v_threshold:
            return 0.0
        start, end = 0.0, length
        first, last = self._slope_sign(0.0), self._slope_sign(length)
        if first * last < 0:
            turn = brentq(self._slope_sign, 0.0, length, xtol=1e-300, rtol=1e-15)
            start, end = (0.0, turn) if first > 0 else (turn, length)
        elif first <= 0 and last <= 0:
            return math.inf
        if gap(end) < 0:
            return math.inf
        if gap(start) >= 0:
            return start  # pyright: ignore
        root, _ = brentq(gap, start, end, xtol=1e-300, rtol=1e-15, full_output=True)
        return root

    def advance(self, s: float) -> None:
        self.v = self.voltage(s)
        self.i *= math.exp(-s / self.tau_syn)


def simulate(
    rows,
    times,
    index,
    t1,
    *,
    t0=0.0,
    tau_mem=20.0,
    tau_syn=5.0,
    v_threshold=1.0,
    v_reset=0.0,
    bias=0.0,
    v=0.0,
    i=0.0,
    recurrent=None,
    recurrent_delay=0.0,
    max_spikes=10_000,
) -> Run:
    """Arrival `k` adds `rows[index[k]]` to the currents at `times[k]`; those after `t1`
    do not arrive. Neuron parameters are numbers, or arrays of one for each neuron.
    `recurrent` and its delay may have an axis in front: then a spike comes back that
    often."""
    rows = np.asarray(rows, float)
    size = rows.shape[1]
    each = [np.broadcast_to(np.asarray(x, float), size) for x in
            (tau_mem, tau_syn, v_threshold, v_reset, bias, v, i)]  # fmt: skip
    neurons = [Neuron(*map(float, values)) for values in zip(*each)]
    copies = 1 if np.ndim(recurrent) < 3 else len(recurrent)
    delays = np.broadcast_to(np.asarray(recurrent_delay, float), (copies, size))
    if recurrent is not None:
        recurrent = np.reshape(recurrent, (copies, size, size))

    arrivals = [(float(t), rows[k]) for t, k in zip(times, index)]
    spikes: list[tuple[float, int]] = []
    t = float(t0)
    while True:
        arrivals = sorted(arrivals, key=lambda arrival: arrival[0])  # stable
        stop = min([t1] + [time for time, _ in arrivals[:1]])
        ahead = [neuron.crossing(stop - t) for neuron in neurons]
        if min(ahead) < math.inf:
            step = min(ahead)
            now = min(t + step, stop)
            spiking = [n for n in range(size) if min(t + ahead[n], stop) == now]
            for neuron in neurons:
                neuron.advance(step)
            for n in spiking:
                neurons[n].v = neurons[n].v_reset
                spikes.append((now, n))
                if recurrent is not None:
                    back = zip(delays[:, n], recurrent[:, n])
                    arrivals += [(now + delay, row) for delay, row in back]
            t = now
            if len(spikes) > max_spikes:
                raise RuntimeError(f"More than {max_spikes} spikes.")
            continue
        for neuron in neurons:
            neuron.advance(stop - t)
        t = stop
        if not arrivals or arrivals[0][0] > t1:
            break
        _, row = arrivals.pop(0)
        for neuron, weight in zip(neurons, row):
            neuron.i += float(weight)
    return Run(
        np.array([time for time, _ in spikes]),
        np.array([n for _, n in spikes], int),
        np.array([neuron.v for neuron in neurons]),
        np.array([neuron.i for neuron in neurons]),
    )
