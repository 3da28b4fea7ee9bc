"""W1 in eventax: one ODE solve from event to event, inside eventax's environment.

`FFEvNN` with its `LIF`, and the defaults of the class wherever the workload does not
decide: Euler steps of constant size, Newton's method for the crossing with tolerance
1e-2, discretise-then-optimise gradients. The step is what accuracy and time hang on:

- 1 ms, the clocked libraries' step. Spikes still end a step, so their count stays
  within 5 % of the exact one even with 4 ms, but first spikes are off by 0.5 ms;
- 0.05 ms, the step of the package's own Yin-Yang example: off by 0.04 ms;
- 0.01, the default in the user's unit of time: off by 0.008 ms, a gradient step takes
  some three times as long as with 0.05 ms. Left out to save the reader's time.

Two ways to run the network are measured. `ttfs`, made for first-spike losses, stops a
sample once all its outputs have spiked; `spikes_until_t` simulates to t1, like every
other row of the table.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from eventax.evnn import FFEvNN  # pyright: ignore[reportMissingImports]
from eventax.neuron_models import LIF  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, workloads


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: the ODE step `dt` in ms, and whether to go on to t1."""

    dt: float
    to_t1: bool
    seconds: float = 4.0


SETTINGS = (Setting(1.0, True), Setting(1.0, False), Setting(0.05, False))


def make_network(spec, data, dt: float, max_events: int):
    """The network with the workload's weights: rows are hidden, output and inputs."""
    hidden, outputs = spec.num_hidden, spec.num_outputs
    size = hidden + outputs
    weights = np.zeros((size + spec.num_inputs, size), np.float32)
    weights[:hidden, hidden:] = data["w_out"]
    weights[size:, :hidden] = data["w_hidden"]
    return FFEvNN(
        layers=[hidden, outputs],
        in_size=spec.num_inputs,
        neuron_model=LIF,
        max_solver_time=spec.t1,
        key=jr.key(0),
        solver_stepsize=dt,
        max_event_steps=max_events,
        thresh=spec.threshold,
        tsyn=spec.tau_syn,
        tmem=spec.tau_mem,
        vreset=spec.v_reset,
        init_weights=jnp.asarray(weights),
        init_bias=0.0,
    )


def dense_inputs(spec, data):
    """Input spike times by neuron, `[batch, inputs, 1]`, as eventax wants them."""
    times = np.zeros((spec.batch, spec.num_inputs, 1), np.float32)
    times[np.arange(spec.batch)[:, None], data["sources"], 0] = data["times"]
    return jnp.asarray(times)


def hidden_spikes(network, inputs, num_hidden: int, until) -> list[float]:
    """Mean count of hidden spikes up to each of the times `until`, `[.., batch]`."""
    times, sources, _ = jax.jit(jax.vmap(network.record))(inputs)
    hidden = jnp.isfinite(times) & (sources < num_hidden)
    counts = [(hidden & (times <= t[:, None])).sum(axis=1) for t in until]
    return [float(count.mean()) for count in counts]


def measure(setting: Setting, spec, data) -> dict:
    """Measure one setting."""
    max_outputs = int(data["output_spikes"].max()) + 20
    max_events = int((data["hidden_spikes"] + data["output_spikes"]).max()) + 40
    network = make_network(spec, data, setting.dt, max_events)
    inputs, labels = dense_inputs(spec, data), jnp.asarray(data["labels"])

    def first_spikes(network, times):
        if not setting.to_t1:
            return network.ttfs(times)
        return network.spikes_until_t(times, spec.t1, max_outputs)[:, 0]

    def loss(weights):
        net = eqx.tree_at(lambda n: n.neuron_model.weights, network, weights)
        times = jax.vmap(first_spikes, in_axes=(None, 0))(net, inputs)
        scores = jax.nn.log_softmax(-jnp.minimum(times, spec.t1) / spec.tau0)
        chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)
        return -chosen.mean(), times

    weights = network.neuron_model.weights
    seconds = setting.seconds
    forward, _ = _measure.measure(loss, weights, seconds=seconds)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, times), grads) = _measure.measure(step, weights, seconds=seconds)
    hidden, size = spec.num_hidden, spec.num_hidden + spec.num_outputs
    end = jnp.full(spec.batch, spec.t1)
    stop = end if setting.to_t1 else jnp.minimum(times.max(axis=1), end)
    spikes, spikes_to_t1 = hidden_spikes(network, inputs, hidden, (stop, end))
    note = f"to {spec.t1:g} ms" if setting.to_t1 else "stops once all outputs spiked"
    how = "" if setting.to_t1 else ", ttfs"
    return _measure.row(
        f"eventax{how}, {setting.dt:g} ms steps",
        spec,
        forward,
        gradient,
        [grads[size:, :hidden], grads[:hidden, hidden:]],
        spikes=spikes,
        spikes_to_t1=spikes_to_t1,
        loss=float(value),
        first_spike_error_ms=_measure.median_error(times, data["first_spikes"]),
        note=note,
        versions=_measure.versions("eventax", "diffrax", "equinox"),
    )


def rows(spec, data) -> list[dict]:
    """Measure all settings."""
    return [measure(setting, spec, data) for setting in SETTINGS]


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
