"""WD in eventax: its recurrent `EvNN` with `LIF`, inside eventax's environment.

Times and cost hang on how the ODE is solved between events. The first rows are what the
class does by default, Euler steps of constant size and Newton's method to a tolerance of
1e-2 for the crossing, with a few step sizes; 0.01 is the default of its feed-forward class
in the user's unit of time. The last row is the best that was found among what its
arguments allow: steps of a fifth order method, and bisection to 1e-6, which may expand
its bracket. (Newton's method fails there, and so does bisection without expansion.)
Gradients are its default, discretise-then-optimise.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from eventax.evnn import EvNN  # pyright: ignore[reportMissingImports]
from eventax.neuron_models import LIF  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, workloads
from experiments.benchmark.peers.eventax import dense_inputs


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: its name, the ODE step in ms, and further arguments of the class."""

    name: str
    dt: float
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


FIFTH_ORDER = {
    "solver": diffrax.Tsit5(),
    "root_finder": optx.Bisection(1e-6, 1e-6, expand_if_necessary=True),
}
SETTINGS = (
    Setting("Euler, 1 ms steps", 1.0),
    Setting("Euler, 0.1 ms steps", 0.1),
    Setting("Euler, 0.01 ms steps", 0.01),
    Setting("Tsit5, 1 ms steps", 1.0, FIFTH_ORDER),
)


def make_network(setting: Setting, spec, data):
    """The network with the workload's weights: rows are neurons, then inputs."""
    most = int(data["hidden_spikes"].max())
    weights = np.concatenate([data["w_recurrent"], data["w_hidden"]])
    return EvNN(
        neuron_model=LIF,
        n_neurons=spec.num_hidden,
        max_solver_time=spec.t1,
        in_size=spec.num_inputs,
        key=jr.key(0),
        solver_stepsize=setting.dt,
        max_event_steps=2 * most + spec.num_inputs + 40,
        thresh=spec.threshold,
        tsyn=spec.tau_syn,
        tmem=spec.tau_mem,
        vreset=spec.v_reset,
        # The default mask fails where there are not as many inputs as neurons.
        wmask=jnp.ones(weights.shape),
        init_weights=jnp.asarray(weights),
        init_bias=0.0,
        **setting.arguments,
    )


def measure(setting: Setting, spec, data) -> dict:
    """Measure one setting."""
    network = make_network(setting, spec, data)
    inputs = dense_inputs(spec, data)
    most = int(data["hidden_spikes"].max()) + 40

    def loss(weights):
        net = eqx.tree_at(lambda n: n.neuron_model.weights, network, weights)
        run = lambda x: net.spikes_until_t(x, spec.t1, most)
        times = jax.vmap(run)(inputs)
        part = jnp.where(jnp.isfinite(times), times, 0.0) / spec.t1
        losses = jnp.sum(part**2, axis=(1, 2)) / spec.num_hidden
        return losses.mean(), times

    weights = network.neuron_model.weights
    forward, _ = _measure.measure(loss, weights)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, times), grads) = _measure.measure(step, weights)
    return _measure.row(
        f"eventax, {setting.name}",
        spec,
        forward,
        gradient,
        [grads[spec.num_hidden :], grads[: spec.num_hidden]],
        spikes=float(np.isfinite(times).sum() / spec.batch),
        loss=float(value),
        **_measure.spike_errors(times, data["spike_times"]),
        note=f"to {spec.t1:g} ms",
        versions=_measure.versions("eventax", "diffrax", "equinox"),
    )


def rows(spec, data) -> Iterator[dict]:
    """Measure all settings."""
    for setting in SETTINGS:
        yield measure(setting, spec, data)


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
