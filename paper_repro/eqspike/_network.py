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


def make_rule(config: Settings) -> ej.equilibrium.AbstractRule:
    """The rule that a name stands for."""
    q = ej.equilibrium
    if config.rule == "eqspike":
        return q.EqSpike(
            beta=config.beta,
            free=config.free,
            nudged=config.nudged,
            control=config.control,
        )
    steps = dict(free=round(config.free), nudged=round(config.nudged), beta=config.beta)
    if config.rule == "continual_ep":
        hard = q.HardSigmoid()
        return q.ContinualEP(hard, immediate=config.learning_rate, **steps)
    activation = q.HardSigmoid() if config.rule == "hard_ep" else q.LIFRate()
    return q.RateEP(activation, step=config.step, random_sign=False, **steps)


def layer_rates(
    config: Settings, outcome: ej.equilibrium.Outcome, state: Any
) -> list[jax.Array]:
    """Of all layers, the last included: of spikes, the mean over the free phase."""
    if config.rule != "eqspike":
        return list(state)
    return [x.astype(outcome.rates.dtype) / config.free for x in outcome.counts]
