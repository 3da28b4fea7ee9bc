"""The benchmark's workloads: weights, inputs and exact answers as NumPy arrays.

A workload is made once from a seed, saved to one `.npz` file and handed to every
library, so that all of them get the same weights and the same input spikes. The
exact spike counts and first spike times stored with it come from
[`exact_layer`][], an event-driven float64 solution that shares no code with any of
the libraries measured.

Times are in ms, voltages are in units of the threshold.
"""

import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class W1:
    """Yin-Yang: 5 input spikes, 120 hidden LIF neurons, 3 output LIF neurons.

    tau_mem dV/dt = -V + I, tau_syn dI/dt = -I, an arriving spike adds its weight to
    I, a neuron whose V reaches the threshold spikes and is reset. Inputs are a bias
    spike at 0 ms and spikes at `t_late` times x, y, 1 - x and 1 - y. Initial weights
    follow Wunderlich and Pehle (2021), N(1.5, 0.78) and N(0.93, 0.1); the hidden ones
    are multiplied by `hidden_scale`, so that a sample has about 100 hidden spikes.
    The loss is the cross-entropy over first output spike times, -log softmax(-t/tau0).
    """

    batch: int = 150
    num_inputs: int = 5
    num_hidden: int = 120
    num_outputs: int = 3
    tau_mem: float = 20.0  # ms
    tau_syn: float = 5.0  # ms
    threshold: float = 1.0
    v_reset: float = 0.0
    t_late: float = 30.0  # ms
    t1: float = 60.0  # ms
    tau0: float = 0.5  # ms, of the loss
    hidden_scale: float = 1.28
    seed: int = 0


WORKLOADS = {"W1": W1}


def yin_yang(num_samples: int, rng: np.random.Generator):
    """Points from the Yin-Yang disc in [0, 1]^2, equally many of each class.

    **Returns:** `(points, labels)` with shapes `[num_samples, 2]` and `[num_samples]`;
    the classes are 0 (yin), 1 (yang) and 2 (dots).
    """
    points = rng.uniform(size=(50 * num_samples, 2))
    x, y = points.T
    to_right = np.hypot(x - 0.75, y - 0.5)
    to_left = np.hypot(x - 0.25, y - 0.5)
    dots = (to_right < 0.1) | (to_left < 0.1)
    yin = (to_left <= 0.25) | ((y > 0.5) & (to_right > 0.25))
    classes = np.where(dots, 2, np.where(yin, 0, 1))
    inside = np.hypot(x - 0.5, y - 0.5) <= 0.5
    labels = np.arange(num_samples) % 3
    chosen = np.zeros(num_samples, int)
    for label in range(3):
        mine = labels == label
        chosen[mine] = np.nonzero(inside & (classes == label))[0][: mine.sum()]
    return points[chosen], labels


def exact_layer(times, sources, weight, *, tau_mem, tau_syn, threshold, v_reset, t1):
    """All spikes of a layer of LIF neurons, in float64, each solved by bisection.

    Between two arrivals V(s) = (v + c i) exp(-s/tau_mem) - c i exp(-s/tau_syn), with
    c = tau_syn / (tau_mem - tau_syn), has at most one maximum. V reaches the threshold
    before it or not at all, so the first crossing is bracketed and cannot be missed.

    **Arguments:**

    - `times`, `sources`: input spikes, `[batch, events]`, sorted, `inf` where empty.
    - `weight`: `[inputs, neurons]`.

    **Returns:** `(times, sources)` of the layer's spikes in the same form.
    """
    weight = np.asarray(weight, np.float64)
    batch, num_neurons = times.shape[0], weight.shape[1]
    c = tau_syn / (tau_mem - tau_syn)
    rate = 1 / tau_syn - 1 / tau_mem
    v, i = np.zeros((2, batch, num_neurons))

    def voltage(s, v, i):
        return (v + c * i) * np.exp(-s / tau_mem) - c * i * np.exp(-s / tau_syn)

    start = np.zeros(batch)
    ends = np.concatenate([np.minimum(times, t1), np.full((batch, 1), t1)], axis=1)
    found = []
    for k in range(ends.shape[1]):
        offset = np.zeros((batch, num_neurons))  # the neuron's place in the segment
        length = np.broadcast_to((ends[:, k] - start)[:, None], offset.shape)
        open_ = np.ones_like(offset, bool)
        while open_.any():
            rest = length - offset
            with np.errstate(divide="ignore", invalid="ignore"):
                peak = -np.log((v + c * i) * tau_syn / (c * i * tau_mem)) / rate
            peak = np.where((i > v) & (i > 0) & (v + c * i > 0), peak, 0.0)
            high = np.minimum(peak, rest)
            open_ &= (high > 0) & (voltage(high, v, i) >= threshold)
            where = np.nonzero(open_)
            lo, hi = np.zeros(len(where[0])), high[where]
            for _ in range(60):
                mid = (lo + hi) / 2
                above = voltage(mid, v[where], i[where]) >= threshold
                lo, hi = np.where(above, lo, mid), np.where(above, mid, hi)
            offset[where] += hi
            found.append((where[0], start[where[0]] + offset[where], where[1]))
            i[where] *= np.exp(-hi / tau_syn)
            v[where] = v_reset
        rest = length - offset
        v, i = voltage(rest, v, i), i * np.exp(-rest / tau_syn)
        if k < times.shape[1]:
            arrived = np.isfinite(times[:, k]) & (times[:, k] < t1)
            i += np.where(arrived[:, None], weight[sources[:, k]], 0.0)
        start = ends[:, k]
    return _pack(batch, *(np.concatenate(x) for x in zip(*found, strict=True)))


def _pack(batch, samples, times, neurons):
    """Lists of (sample, time, neuron) to sorted, padded `[batch, events]` arrays."""
    width = max(1, np.bincount(samples, minlength=batch).max())
    out_times = np.full((batch, width), np.inf)
    out_sources = np.zeros((batch, width), np.int32)
    for b in range(batch):
        mine = np.nonzero(samples == b)[0]
        mine = mine[np.argsort(times[mine], kind="stable")]
        out_times[b, : len(mine)] = times[mine]
        out_sources[b, : len(mine)] = neurons[mine]
    return out_times, out_sources


def first_spike_times(times, sources, num_neurons):
    """The first spike time in ms of each neuron, `[batch, num_neurons]`, or `inf`."""
    return np.stack(
        [np.where(sources == n, times, np.inf).min(axis=1) for n in range(num_neurons)],
        axis=1,
    )


def physics(spec: W1) -> dict[str, float]:
    """The arguments of [`exact_layer`][] that `spec` gives."""
    names = ("tau_mem", "tau_syn", "threshold", "v_reset", "t1")
    return {name: getattr(spec, name) for name in names}


def exact(spec: W1, data: dict) -> dict:
    """Exact spike counts per sample and first output spike times of a workload."""
    inputs = data["times"].astype(np.float64), data["sources"]
    hidden = exact_layer(*inputs, data["w_hidden"], **physics(spec))
    output = exact_layer(*hidden, data["w_out"], **physics(spec))
    return {
        "hidden_spikes": np.isfinite(hidden[0]).sum(axis=1),
        "output_spikes": np.isfinite(output[0]).sum(axis=1),
        "first_spikes": first_spike_times(*output, spec.num_outputs),
    }


def make(spec: W1) -> dict:
    """Weights, inputs, labels and exact answers of a workload as NumPy arrays."""
    rng = np.random.default_rng(spec.seed)
    points, labels = yin_yang(spec.batch, rng)
    bias = np.zeros((spec.batch, 1))
    times = spec.t_late * np.concatenate([points, 1 - points, bias], axis=1)
    order = np.argsort(times, axis=1, kind="stable")
    hidden_shape = (spec.num_inputs, spec.num_hidden)
    w_hidden = spec.hidden_scale * rng.normal(1.5, 0.78, hidden_shape)
    w_out = rng.normal(0.93, 0.1, (spec.num_hidden, spec.num_outputs))
    data = {
        "times": np.take_along_axis(times, order, axis=1).astype(np.float32),
        "sources": order.astype(np.int32),
        "labels": labels.astype(np.int32),
        "w_hidden": w_hidden.astype(np.float32),
        "w_out": w_out.astype(np.float32),
    }
    return data | exact(spec, data)


def save(spec: W1, path: pathlib.Path):
    """Write a workload to an `.npz` file: its arrays and every number of `spec`."""
    np.savez(path, **make(spec), **dataclasses.asdict(spec))


def load(path: pathlib.Path) -> tuple[W1, dict]:
    """Read what [`save`][] wrote."""
    with np.load(path) as file:
        arrays = dict(file)
    names = [field.name for field in dataclasses.fields(W1)]
    return W1(**{name: arrays.pop(name).item() for name in names}), arrays
