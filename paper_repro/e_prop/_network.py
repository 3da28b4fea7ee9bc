"""The networks: layers with recurrence, and a readout of the last one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej

from ._config import Phones


class Readers(eqx.Module):
    """One network, or a second one that reads backwards."""

    networks: tuple[ej.Network, ...]


def make_readers(config: Phones, inputs: int, outputs: int, key: jax.Array) -> Readers:
    keys = jr.split(key, 2 if config.both_ways else 1)
    return Readers(tuple(_network(config, inputs, outputs, k) for k in keys))


def _network(config: Phones, inputs: int, outputs: int, key: jax.Array) -> ej.Network:
    layers, before = [], inputs
    for k, size in enumerate(config.sizes):
        k1, k2, k3 = jr.split(jr.fold_in(key, k), 3)
        to = _dense(before, size, config.gain / before**0.5, k1)
        back = _dense(size, size, config.gain / size**0.5, k2)
        no_autapses = ~np.eye(size, dtype=bool)
        neuron = make_neuron(config, size, k3)
        layers.append(ej.Layer(to, neuron, ej.Masked(back, no_autapses)))
        before = size
    k1, k2 = jr.split(jr.fold_in(key, len(layers)))
    readout = ej.DeltaIntegrator(
        outputs, tau_mem=config.tau_out, bias=jnp.zeros(outputs)
    )
    out = _dense(before, outputs, before**-0.5, k1)
    network = ej.Network([*layers, ej.Layer(out, readout)])
    if config.feedback == "symmetric":
        return network
    std = before**-0.5 if config.feedback == "adaptive" else 1.0
    return ej.init.add_feedback(network, std, key=k2)


def _dense(inputs: int, outputs: int, std: float, key: jax.Array) -> ej.Dense:
    return ej.Dense(inputs, outputs, mean=0.0, std=std, key=key)


def make_neuron(config: Phones, size: int, key: jax.Array) -> ej.AbstractNeuron:
    """A share of the neurons adapts, which ones is drawn."""
    if config.neuron == "izhikevich":
        return ej.SteppedIzhikevich(size)
    share = 0.0 if config.neuron == "lif" else config.adaptive
    adapts = jr.permutation(key, size) < round(share * size)
    settings: dict[str, Any] = dict(
        tau_mem=config.tau_mem,
        tau_adapt=config.tau_adapt,
        beta=jnp.where(adapts, config.beta, 0.0),
        v_threshold=config.threshold,
        refractory=config.refractory,
    )
    if config.neuron == "stdp_alif":
        return ej.STDPALIF(
            size,
            refractory_slope=config.refractory_slope,
            window=config.window,
            **settings,
        )
    return ej.SteppedALIF(size, **settings)


def trainable(readers: Readers) -> Any:
    """All but which neurons adapt, and by how much."""
    free = jax.tree.map(eqx.is_inexact_array, readers)
    hidden = lambda r: [y.neuron for n in r.networks for y in n.layers[:-1]]
    fixed = [jax.tree.map(lambda _: False, neuron) for neuron in hidden(free)]
    return eqx.tree_at(hidden, free, fixed)


def is_readout(readers: Readers) -> Any:
    """Where the weights are that shrink under adaptive feedback: of readouts and of
    feedback."""
    none = jax.tree.map(lambda _: False, readers)

    def where(r: Readers) -> list[Any]:
        readouts = [n.layers[-1].connection.weight for n in r.networks]
        feedback = [y.feedback for n in r.networks for y in n.layers[:-1]]
        return [*readouts, *feedback]

    return eqx.tree_at(where, none, [True] * len(where(none)))


def shape(config: Phones) -> ej.surrogates.AbstractShape:
    """The pseudo-derivative. Its height is `gamma`, not divided by the threshold."""
    if config.neuron == "izhikevich":
        return ej.surrogates.Exponential(30.0, config.gamma)
    return ej.surrogates.Triangle(config.threshold, config.gamma)


def adjoint(config: Phones) -> ej.AbstractAdjoint:
    if config.rule == "bptt":
        return ej.Surrogate(shape(config))
    feedback = {
        "symmetric": ej.feedback.Symmetric,
        "random": ej.feedback.Random,
        "adaptive": ej.feedback.Adaptive,
    }[config.feedback]
    return ej.EProp(feedback(), shape=shape(config))
