"""W1 and W3 in jaxsnn: its event-based path with Eventprop, inside jaxsnn's environment.

Times are in seconds there. jaxsnn solves for spike times in closed form when tau_mem is
tau_syn or 2 tau_syn. With any other pair its `LIF` uses the second formula without a
word, and spike times come out wrong (0.03 ms here). Hence three rows:

- several spikes: reset to 0, with tau_syn = tau_mem / 2 and weights multiplied such
  that hidden and output spikes are as many as in the workload;
- one spike: the setting of jaxsnn's Yin-Yang example, reset to -1000, so that a neuron
  spikes once; the same time constants, hidden weights multiplied likewise;
- several spikes, same network: the workload's own time constants and weights, with
  jaxsnn's `newton_solver` put in the place of the closed form inside `LIF`.

A layer takes one step per event, its inputs' included, so a layer's buffer is made as
long as the busiest sample needs: fewer would lose spikes, more would cost time.

Its event-based path has no neurons that do not spike, so in W3 the outputs are LIF neurons
and the loss is that of W1; the row is beside ours for that network. The setting with one
spike is left out there: more hidden spikes are wanted than there are neurons.
"""

import dataclasses
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import jax.random as jr
import jaxsnn.event.modules.lif.lif as lif_module  # pyright: ignore[reportMissingImports]
import numpy as np
from jaxsnn.event.loss import first_spike  # pyright: ignore[reportMissingImports]
from jaxsnn.event.modules import LIF, Linear, Source  # pyright: ignore[reportMissingImports]
from jaxsnn.event.modules.lif.parameters import LIFParameters  # pyright: ignore[reportMissingImports]
from jaxsnn.event.solver import newton_solver  # pyright: ignore[reportMissingImports]
from jaxsnn.event.topology import Topology  # pyright: ignore[reportMissingImports]
from jaxsnn.event.types import Spike  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, exact, rates, workloads


MS = 1e-3  # jaxsnn counts in seconds


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: its name, synaptic time constant in ms, reset and root finder."""

    name: str
    tau_syn: float | None = None  # None: the workload's
    v_reset: float = 0.0
    newton: bool = False


SETTINGS = (
    Setting("several spikes", tau_syn=10.0),
    Setting("one spike", tau_syn=10.0, v_reset=-1000.0),
    Setting("several spikes, same network", newton=True),
)


def newton(tau_mem, tau_syn, threshold, state, t_max):
    """jaxsnn's Newton solver with the closed form of V, in place of its formula."""
    c = tau_syn / (tau_mem - tau_syn)

    def excess(state, t):
        slow = jnp.exp(-t / tau_mem)
        gain = -jnp.expm1(-t * (1 / tau_syn - 1 / tau_mem))
        return slow * (state.V + c * state.I * gain) - threshold

    return newton_solver(excess, 0.0, state, t_max)


def matched(setting: Setting, spec, data):
    """Weights with which the setting's network spikes as often as the workload's.

    **Returns:** `(spec, data)` with the weights, exact counts and exact first spike
    times of that network.
    """
    spec = dataclasses.replace(
        spec, tau_syn=setting.tau_syn or spec.tau_syn, v_reset=setting.v_reset
    )
    if setting.tau_syn is None:
        return spec, data
    inputs = data["times"].astype(np.float64), data["sources"]

    def layer(inputs, name, factor):
        times, sources = inputs
        return exact.exact_layer(times, sources, factor * data[name], **spec.physics)

    def count(spikes):
        return np.isfinite(spikes[0]).sum(axis=1).mean()

    wanted = data["hidden_spikes"].mean(), data["output_spikes"].mean()
    first = rates.scale_until(lambda f: count(layer(inputs, "w_hidden", f)), wanted[0])
    second = 1.0
    if setting.v_reset > -1.0:
        hidden = layer(inputs, "w_hidden", first)
        second = rates.scale_until(
            lambda f: count(layer(hidden, "w_out", f)), wanted[1]
        )
    weights = {"w_hidden": first * data["w_hidden"], "w_out": second * data["w_out"]}
    data = data | {k: v.astype(np.float32) for k, v in weights.items()}
    return spec, data | spec.answers(data)


def make_network(spec, data):
    """The topology's parameters and apply function."""
    params = LIFParameters(
        v_reset=spec.v_reset,
        v_th=spec.threshold,
        tau_syn=spec.tau_syn * MS,
        tau_mem=spec.tau_mem * MS,
    )
    arrivals = data["times"].shape[1]
    hidden_steps = arrivals + int(data["hidden_spikes"].max()) + 1
    output_steps = int((data["hidden_spikes"] + data["output_spikes"]).max()) + 1
    topology = Topology(t_max=spec.t1 * MS, backprop_method="eventprop")
    topology.add(
        {
            "input": Source(spec.num_inputs),
            "to_hidden": Linear(pre_weights=jnp.asarray(data["w_hidden"])),
            "hidden": LIF(spec.num_hidden, hidden_steps, params),
            "to_output": Linear(pre_weights=jnp.asarray(data["w_out"])),
            "output": LIF(spec.num_outputs, output_steps, params),
        }
    )
    names = ["input", "to_hidden", "hidden", "to_output", "output"]
    topology.connect(list(zip(names[:-1], names[1:], strict=True)))
    init, apply = topology.done()
    return init(jr.key(0)), apply


def measure(setting: Setting, spec, data) -> dict:
    """Measure one setting."""
    spec, data = matched(setting, spec, data)
    params, apply = make_network(spec, data)
    times, labels = jnp.asarray(data["times"]) * MS, jnp.asarray(data["labels"])
    spikes = Spike(
        time=times,
        idx=jnp.asarray(data["sources"]),
        current=jnp.zeros_like(times),
        layer_idx=jnp.zeros(times.shape, int),
        internal=jnp.ones(times.shape, bool),
    )

    def loss(weights):
        events = apply({"input": spikes}, params | weights)
        first = jax.vmap(lambda x: first_spike(x, spec.num_outputs))(events["output"])
        first = jnp.minimum(first / MS, spec.t1)
        scores = jax.nn.log_softmax(-first / spec.tau0)
        chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)
        counts = [events[x].internal.sum(axis=1) for x in ("hidden", "output")]
        return -chosen.mean(), (first, counts)

    weights = {name: params[name] for name in ("to_hidden", "to_output")}
    forward, _ = _measure.measure(loss, weights)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, (first, counts)), grads) = _measure.measure(step, weights)
    outputs = "" if spec.spiking_outputs else "LIF outputs, first-spike loss; "
    note = f"{outputs}the workload's time constants and weights"
    if setting.tau_syn is not None:
        note = f"{outputs}tau_syn {spec.tau_syn:g} ms, weights scaled to as many spikes"
    return _measure.row(
        f"jaxsnn {setting.name}",
        spec,
        forward,
        gradient,
        list(grads.values()),
        spikes=float(counts[0].mean()),
        output_spikes=float(counts[1].mean()),
        exact_spikes=float(data["hidden_spikes"].mean()),
        exact_output_spikes=float(data["output_spikes"].mean()),
        loss=float(value),
        first_spike_error_ms=_measure.median_error(first, data["first_spikes"]),
        note=note,
        beside="eventjax" if spec.spiking_outputs else "eventjax, LIF outputs",
        versions=_measure.versions("jaxsnn"),
    )


def rows(spec, data) -> Iterator[dict]:
    """Measure all settings."""
    for setting in SETTINGS:
        if setting.v_reset < 0 and data["hidden_spikes"].mean() > spec.num_hidden:
            continue
        solver = newton if setting.newton else lif_module.ttfs_solver
        with mock.patch.object(lif_module, "ttfs_solver", solver):
            yield measure(setting, spec, data)


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
