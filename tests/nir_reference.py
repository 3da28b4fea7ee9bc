"""NIR's equations as they stand, solved numerically in NIR's own unit of time: one
population, with an input and a recurrent connection."""

import heapq

import nir
import numpy as np
from scipy.integrate import solve_ivp


def solve(node, weight, inputs, t1, *, area=1.0, current=0.0, start=None, back=None):
    """Spikes `(times, neurons)` and the voltages at `t1`.

    `inputs` are times and sources; a spike is a Dirac pulse of integral `area`. `current`
    is a constant input beside the spikes, `start` the state `[v, I]`, and `back` the
    weights and the delays of the neurons' own spikes.
    """
    filtered = isinstance(node, (nir.CubaLIF, nir.CubaLI))
    tau = node.tau_mem if filtered else node.tau
    n = tau.size
    threshold = getattr(node, "v_threshold", np.full(n, np.inf))

    def field(t, y):
        v, i = y[:n], y[n:]
        if not filtered:
            return np.concatenate([(node.v_leak - v + node.r * current) / tau, 0 * i])
        dv = (node.v_leak - v + node.r * i) / tau
        return np.concatenate([dv, (-i + node.w_in * current) / node.tau_syn])

    crossings = []
    for k in range(n if np.all(np.isfinite(threshold)) else 0):
        crossing = lambda t, y, k=k: y[k] - threshold[k]
        crossing.terminal, crossing.direction = True, 1
        crossings.append(crossing)
    queue = [(time, j, weight[:, source]) for j, (time, source) in enumerate(inputs)]
    heapq.heapify(queue)
    t, y = 0.0, np.zeros(2 * n) if start is None else start
    times, neurons = [], []

    def spike(which):
        for k in which:
            y[k] = node.v_reset[k]
            times.append(t)
            neurons.append(k)
            if back is not None:
                place = len(inputs) + len(times)
                heapq.heappush(queue, (t + back[1][k], place, back[0][:, k]))

    while t < t1:
        until = min(queue[0][0], t1) if queue else t1
        if until > t:
            run = solve_ivp(
                field,
                (t, until),
                y,
                method="DOP853",
                rtol=1e-10,
                atol=1e-12,
                events=crossings or None,
                max_step=0.004,
            )
            t, y = run.t[-1], run.y[:, -1].copy()
            if run.status == 1:
                spike([k for k, found in enumerate(run.t_events) if len(found)])
                continue
        if t >= t1:
            break
        _, _, weights = heapq.heappop(queue)
        if filtered:
            y[n:] += node.w_in * weights * area / node.tau_syn
        else:
            y[:n] += node.r * weights * area / tau
            spike(np.flatnonzero(y[:n] >= threshold))
    return np.array(times), np.array(neurons, int), y[:n]
