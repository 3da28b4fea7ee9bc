"""The benchmark's workloads: weights, inputs and exact answers as NumPy arrays.

A workload is made once from a seed, saved to one `.npz` file and handed to every
library, so that all of them get the same weights and the same input spikes. The exact
answers stored with it come from `exact.py`.

Times are in ms, voltages are in units of the threshold.
"""

import dataclasses
import json
import pathlib
from typing import Any, ClassVar

import numpy as np

from experiments.benchmark import exact, inputs


@dataclasses.dataclass(frozen=True)
class Workload:
    """What all workloads have: the neurons, and the scripts that run them."""

    tau_mem: float = 20.0  # ms
    tau_syn: float = 5.0  # ms
    threshold: float = 1.0
    v_reset: float = 0.0
    tau0: float = 0.5  # ms, of the loss over first spikes
    seed: int = 0
    scripts: ClassVar[dict[str, str]]  # module by library; ours is the first
    variants: ClassVar[dict[str, dict[str, Any]]] = {}  # further ones: what they change

    @property
    def physics(self) -> dict[str, float]:
        """The arguments of `exact_layer` that the workload gives."""
        names = ("tau_mem", "tau_syn", "threshold", "v_reset", "t1")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class TwoLayers(Workload):
    """A hidden layer and outputs, which spike or do not."""

    def answers(self, data: dict) -> dict:
        """Exact spike counts per sample, first spike times of outputs that spike, and the
        largest voltages of outputs that do not."""
        given = data["times"].astype(np.float64), data["sources"]
        hidden = exact.exact_layer(*given, data["w_hidden"], **self.physics)
        output = exact.exact_layer(*hidden, data["w_out"], **self.physics)
        voltages = exact.exact_max_voltages(*hidden, data["w_out"], **self.physics)
        return {
            "hidden_spikes": np.isfinite(hidden[0]).sum(axis=1),
            "output_spikes": np.isfinite(output[0]).sum(axis=1),
            "first_spikes": exact.by_neuron(*output, self.num_outputs)[..., 0],
            "max_voltages": voltages,
        }


@dataclasses.dataclass(frozen=True)
class W1(TwoLayers):
    """Yin-Yang: 5 input spikes, 120 hidden LIF neurons, 3 output LIF neurons.

    Inputs are a bias spike at 0 ms and spikes at `t_late` times x, y, 1 - x and 1 - y.
    Initial weights follow Wunderlich and Pehle (2021), N(1.5, 0.78) and N(0.93, 0.1);
    the hidden ones are multiplied by `hidden_scale`, so that a sample has about 100
    hidden spikes. The loss is the cross-entropy over first output spike times,
    -log softmax(-t/tau0).
    """

    batch: int = 150
    num_inputs: int = 5
    num_hidden: int = 120
    num_outputs: int = 3
    spiking_outputs: bool = True
    t_late: float = 30.0  # ms
    t1: float = 60.0  # ms
    hidden_scale: float = 1.28
    scripts: ClassVar[dict[str, str]] = {
        "eventjax": "ours",
        "jaxsnn": "peers.jaxsnn",
        "eventax": "peers.eventax",
        "spyx": "peers.spyx",
    }

    def arrays(self, rng: np.random.Generator) -> dict:
        """Weights, inputs and labels."""
        points, labels = inputs.yin_yang(self.batch, rng)
        bias = np.zeros((self.batch, 1))
        times = self.t_late * np.concatenate([points, 1 - points, bias], axis=1)
        order = np.argsort(times, axis=1, kind="stable")
        hidden_shape = (self.num_inputs, self.num_hidden)
        return {
            "times": np.take_along_axis(times, order, axis=1),
            "sources": order,
            "labels": labels,
            "w_hidden": self.hidden_scale * rng.normal(1.5, 0.78, hidden_shape),
            "w_out": rng.normal(0.93, 0.1, (self.num_hidden, self.num_outputs)),
        }


@dataclasses.dataclass(frozen=True)
class W3(TwoLayers):
    """Latency MNIST at the start of training: 784 inputs, 350 hidden LIF neurons, 10
    outputs that are leaky integrators.

    Weights follow Wunderlich and Pehle (2021), N(0.078, 0.045) and N(0.2, 0.37), and so
    does the loss, the cross-entropy over the largest output voltages. Pixels are made up
    in MNIST's likeness: 150 of a sample are bright, most of them in the middle and often
    the same ones within a class; two fifths are as bright as can be and spike within 0.3
    ms, the others spike at any time up to 20 ms, in 1/255 of which times are rounded.

    With `spiking_outputs` the outputs are LIF neurons, the loss is that of W1: for
    libraries that have no other outputs.
    """

    batch: int = 50
    num_inputs: int = 784
    num_active: int = 150
    num_hidden: int = 350
    num_outputs: int = 10
    spiking_outputs: bool = False
    t_dark: float = 20.0  # ms, when a pixel that is just not dark spikes
    t1: float = 40.0  # ms
    scripts: ClassVar[dict[str, str]] = {
        "eventjax": "ours",
        "jaxsnn": "peers.jaxsnn",
        "spyx": "peers.spyx",
    }

    def arrays(self, rng: np.random.Generator) -> dict:
        """Weights, inputs and labels."""
        labels = np.arange(self.batch) % self.num_outputs
        side = round(self.num_inputs**0.5)
        x = np.arange(self.num_inputs) % side - (side - 1) / 2
        y = np.arange(self.num_inputs) // side - (side - 1) / 2
        likely = -(x**2 + y**2) / 40 + rng.normal(
            0, 2, (self.num_outputs, self.num_inputs)
        )
        size = (self.batch, self.num_inputs)
        chance = likely[labels] + rng.gumbel(size=size)
        sources = np.sort(np.argsort(-chance, axis=1)[:, : self.num_active], axis=1)
        lowest = np.where(rng.uniform(size=sources.shape) < 0.4, 252, 1)
        level = rng.integers(lowest, 256)
        times = self.t_dark * (1 - level / 255)
        order = np.argsort(times, axis=1, kind="stable")
        hidden_shape = (self.num_inputs, self.num_hidden)
        return {
            "times": np.take_along_axis(times, order, axis=1),
            "sources": np.take_along_axis(sources, order, axis=1),
            "labels": labels,
            "w_hidden": rng.normal(0.078, 0.045, hidden_shape),
            "w_out": rng.normal(0.2, 0.37, (self.num_hidden, self.num_outputs)),
        }


@dataclasses.dataclass(frozen=True)
class WD(Workload):
    """Event detection: 64 LIF neurons that reach each other without delay.

    For libraries that integrate an ODE from event to event, whatever the neuron: nothing
    of this workload needs a closed form. Each of 24 inputs spikes once within 20 ms.
    Weights N(0.4, 0.5) and N(0, 0.2), none from a neuron to itself, give each sample
    some 70 spikes. The loss is the sum of (t / t1)^2 over all spikes, divided by the
    number of neurons; its gradient is with respect to input and recurrent weights.
    """

    batch: int = 8
    num_inputs: int = 24
    num_hidden: int = 64
    t_late: float = 20.0  # ms, by when all inputs have spiked
    t1: float = 30.0  # ms
    scripts: ClassVar[dict[str, str]] = {
        "eventjax": "ours_recurrent",
        "eventax": "peers.eventax_recurrent",
    }

    def arrays(self, rng: np.random.Generator) -> dict:
        """Weights and inputs."""
        size = (self.batch, self.num_inputs)
        w_recurrent = rng.normal(0.0, 0.2, (self.num_hidden, self.num_hidden))
        return {
            "times": np.sort(rng.uniform(0, self.t_late, size), axis=1),
            "sources": rng.permuted(np.indices(size)[1], axis=1),
            "w_hidden": rng.normal(0.4, 0.5, (self.num_inputs, self.num_hidden)),
            "w_recurrent": np.where(np.eye(self.num_hidden), 0.0, w_recurrent),
        }

    def answers(self, data: dict) -> dict:
        """All spike times by neuron, `[batch, neurons, spikes]`, and counts."""
        given = data["times"].astype(np.float64), data["sources"]
        weights = data["w_hidden"], data["w_recurrent"]
        spikes = exact.exact_layer(*given, *weights, **self.physics)
        return {
            "hidden_spikes": np.isfinite(spikes[0]).sum(axis=1),
            "spike_times": exact.by_neuron(*spikes, self.num_hidden),
        }


@dataclasses.dataclass(frozen=True)
class Spoken(Workload):
    """What W2 and W2F have in common: input in the likeness of spoken digits.

    700 channels with 8,000 events in a second go to 256 hidden LIF neurons, these to 20
    leaky integrators. Initial weights follow Nowotny, Turner and Knight (arXiv
    2212.01232), N(0.03, 0.01), N(0, 0.02) where there is recurrence, and N(0, 0.03); the
    input's are multiplied by `hidden_scale`, so that hidden neurons fire at 16 Hz. The loss
    is the paper's L_sum_exp, the cross-entropy of (1/t1) int exp(-t/t1) V dt.
    """

    batch: int = 32
    num_inputs: int = 700
    events: int = 8000  # input spikes of a sample
    num_hidden: int = 256
    num_outputs: int = 20
    t1: float = 1000.0  # ms
    hidden_scale: float = 0.88
    recurrent_std: float = 0.02
    delay: float | None = None  # ms, of the recurrence, if there is one
    scripts: ClassVar[dict[str, str]] = {
        "eventjax": "ours_spoken",
        "eventjax on devices": "ours_spoken_devices",
        "spyx": "peers.spyx_recurrent",
    }

    def arrays(self, rng: np.random.Generator) -> dict:
        """Weights, inputs and labels; the same ones with and without recurrence."""
        sizes = self.events, self.num_inputs, self.num_outputs
        times, sources, labels = inputs.spoken(self.batch, *sizes, self.t1, rng)
        n = self.num_hidden
        out = {"times": times, "sources": sources, "labels": labels}
        out["w_hidden"] = rng.normal(0.03, 0.01, (self.num_inputs, n))
        out["w_hidden"] *= self.hidden_scale
        out["w_out"] = rng.normal(0.0, 0.03, (n, self.num_outputs))
        if self.delay is not None:
            out["w_recurrent"] = rng.normal(0.0, self.recurrent_std, (n, n))
        return out

    def answers(self, data: dict) -> dict:
        """Spike counts, spike times by neuron, `[batch, neurons, spikes]`, and the
        weighted integrals of the outputs."""
        given = data["times"].astype(np.float64), data["sources"]
        weights = data["w_hidden"], data.get("w_recurrent")
        delay = 0.0 if self.delay is None else self.delay
        spikes = exact.exact_layer(*given, *weights, delay=delay, **self.physics)
        integrals = exact.exact_integrals(*spikes, data["w_out"], **self.physics)
        return {
            "hidden_spikes": np.isfinite(spikes[0]).sum(axis=1),
            "spike_times": exact.by_neuron(*spikes, self.num_hidden),
            "integrals": integrals,
        }


@dataclasses.dataclass(frozen=True)
class W2(Spoken):
    """Spoken digits, with recurrence after 1 ms, which is a time step of others, and after
    5 ms."""

    delay: float | None = 1.0
    variants: ClassVar[dict[str, dict[str, Any]]] = {"5 ms delay": {"delay": 5.0}}


@dataclasses.dataclass(frozen=True)
class W2F(Spoken):
    """Spoken digits without recurrence."""


WORKLOADS = {"W1": W1, "W2": W2, "W2F": W2F, "W3": W3, "WD": WD}


def arrays(spec) -> dict:
    """Weights, inputs and labels of a workload, of the types that the libraries get."""
    narrow = {np.dtype(float): np.float32, np.dtype(int): np.int32}
    data = spec.arrays(np.random.default_rng(spec.seed))
    return {name: x.astype(narrow[x.dtype]) for name, x in data.items()}


def make(spec) -> dict:
    """Weights, inputs, labels and exact answers of a workload as NumPy arrays."""
    data = arrays(spec)  # the answers are those for these very numbers
    return data | spec.answers(data)


def save(spec, path: pathlib.Path):
    """Write a workload to an `.npz` file: its arrays and every number of `spec`."""
    text = json.dumps([type(spec).__name__, dataclasses.asdict(spec)])
    np.savez(path, **make(spec), spec=text)


def load(path: pathlib.Path) -> tuple:
    """Read what [`save`][] wrote: the workload and its arrays."""
    with np.load(path) as file:
        arrays = dict(file)
    name, numbers = json.loads(arrays.pop("spec").item())
    return WORKLOADS[name](**numbers), arrays
