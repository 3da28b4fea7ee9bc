"""The network, and the rules that train it."""

from typing import Any

import jax

import eventjax as ej

from ._config import Settings
from ._data import CLASSES, PIXELS


def make_neuron(config: Settings) -> ej.equilibrium.Neuron:
    return ej.equilibrium.Neuron(
        tau_mem=config.tau_mem, tau_syn=config.tau_syn, tau_filter=config.tau_filter
    )


def make_network(config: Settings, key: jax.Array) -> ej.equilibrium.Network:
    return ej.equilibrium.Network(
        (PIXELS, *config.hidden, CLASSES),
        neuron=make_neuron(config),
        gain=config.gain,
        bias=config.bias,
        key=key,
    )


def make_rule(config: Settings) -> Any:
    """`EqSpike`, or the `RateEP` that a name stands for."""
    q = ej.equilibrium
    if config.rule == "eqspike":
        return q.EqSpike(
            beta=config.beta,
            free=config.free,
            nudged=config.nudged,
            control=config.control,
        )
    continual = config.rule == "continual_ep"
    hard = continual or config.rule == "hard_ep"
    return q.RateEP(
        beta=config.beta,
        free=round(config.free),
        nudged=round(config.nudged),
        step=config.step,
        activation=q.hard_sigmoid if hard else q.FiringRate(make_neuron(config)),
        immediate=config.learning_rate if continual else None,
    )


def settle(config: Settings, rule: Any, network: Any, pixels: jax.Array) -> Any:
    """The free phase alone: an `Outcome` or a `Settled`."""
    if config.rule == "eqspike":
        return ej.equilibrium.predict(network, pixels, rule.free)
    return rule.settle(network, pixels)


def layer_rates(config: Settings, found: Any) -> list[jax.Array]:
    """Of all layers, the last included: of spikes, the mean over the free phase."""
    if config.rule != "eqspike":
        return list(found.layers)
    return [count.astype(found.rates.dtype) / config.free for count in found.counts]
