"""What a network for spoken words is trained for, and what it says a word is."""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

import eventjax as ej

from ._config import Speech


_WEIGHTINGS = {
    "sum": ej.weightings.Uniform(),
    "sum_exp": ej.weightings.Exponential(),
    "linear": ej.weightings.Linear(),
    "sigmoid": ej.weightings.Sigmoid(),
}


@ft.cache
def make_loss(config: Speech):
    """The loss for `fit`: that of the readout, and in training the regulariser."""

    def loss_fn(network: ej.Network, batch: dict[str, jax.Array], key: Any):
        sol = simulate(network, batch, config)
        losses, predicted = judge(sol, batch["label"], config)
        if key is not None:
            losses = losses + ej.losses.firing_rate(
                sol,
                0,
                strength=config.lambda_reg * config.loss_scale,
                target=config.target,
                tau_mem=network.layers[0].neuron.tau_mem,
            )
        return losses, sol, {"accuracy": predicted == batch["label"]}

    return loss_fn


def simulate(
    network: ej.Network, batch: dict[str, jax.Array], config: Speech
) -> ej.Solution:
    how: dict[str, Any] = {}
    if config.gradient == "surrogate":
        how = {"solver": ej.Clocked(config.dt), "adjoint": ej.Surrogate()}
    # Times are stored in single precision, whatever the network computes in.
    times = jnp.asarray(batch["times"], jax.dtypes.canonicalize_dtype(float))
    spikes = ej.Spikes(times, jnp.asarray(batch["sources"]))
    weighting = _WEIGHTINGS.get(config.loss)
    return ej.simulate(
        network, spikes, config.t1, integrate=weighting, throw=False, **how
    )


def judge(sol: ej.Solution, label: jax.Array, config: Speech) -> tuple[Array, Array]:
    """The loss of each sample, and which class the network takes it for."""
    if config.loss == "first_spike":
        times = sol.first_spike_times
        # Where all are silent no class is named, which is wrong whatever the label.
        named = jnp.argmin(times, axis=-1)
        named = jnp.where(jnp.isfinite(jnp.min(times, axis=-1)), named, -1)
        return _first_spike_loss(sol, label, config), named.astype(label.dtype)
    if config.loss == "max":
        outputs = config.scale * sol.max_voltages
        losses = ej.losses.max_voltage_cross_entropy(outputs, label)
    else:
        outputs = config.scale * sol.voltage_integrals
        losses = ej.losses.integral_cross_entropy(outputs, label)
    return losses, jnp.argmax(outputs, axis=-1).astype(label.dtype)


def _first_spike_loss(sol: ej.Solution, label: jax.Array, config: Speech) -> Array:
    """Silent outputs enter the softmax 1 ms after the end; a silent label has a phantom
    spike at the end, which is not a derivative."""
    times = sol.first_spike_times
    cross_entropy = ej.losses.first_spike_cross_entropy(
        times,
        label,
        tau0=config.tau0,
        silent_times=jnp.full_like(times, config.t1 + 1.0),
    )
    phantom = ej.losses.silent_times(sol, config.tau_mem, delay=0.0)
    return cross_entropy + ej.losses.exponential_spike_penalty(
        times, label, alpha=config.alpha, tau1=config.tau1, silent_times=phantom
    )
