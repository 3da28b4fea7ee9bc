"""Each neuron of the library, as small as will spike: what the contract tests run over."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import eventjax as ej


SIZE, INPUTS, EVENTS, T1 = 3, 4, 10, 30.0

# A neuron whose parameters are arrays, so that gradients reach them, and the mean of the
# weights with which a few spikes come of the input below.
MAKERS: dict[str, tuple[Callable, float]] = {
    "LIF": (lambda p: ej.LIF(SIZE, tau_mem=p(9.0, 13.0), tau_syn=p(3.0, 5.0)), 1.6),
    "ALIF": (
        lambda p: ej.ALIF(
            SIZE, tau_mem=p(9.0, 13.0), tau_adapt=p(30.0, 50.0), beta=p(0.2, 0.4)
        ),
        2.0,
    ),
    "DeltaLIF": (
        lambda p: ej.DeltaLIF(SIZE, tau_mem=p(9.0, 13.0), bias=p(0.8, 1.3)),
        0.3,
    ),
    "QIF": (lambda p: ej.QIF(SIZE, tau_mem=p(9.0, 13.0), bias=p(0.1, 0.2)), 2.0),
    "DeltaQIF": (
        lambda p: ej.DeltaQIF(SIZE, tau_mem=p(5.0, 8.0), bias=p(0.1, 0.2)),
        0.4,
    ),
    "EIF": (lambda p: ej.EIF(SIZE, tau_mem=p(9.0, 13.0), bias=p(0.1, 0.2)), 2.0),
    "Izhikevich": (lambda p: ej.Izhikevich(SIZE, bias=p(4.0, 6.0)), 8.0),
    "GatedUnit": (
        lambda p: ej.GatedUnit(SIZE, tau_mem=p(5.0, 8.0), gate_gain=p(1.0, 2.0)),
        1.2,
    ),
    "Refractory": (
        lambda p: ej.Refractory(ej.LIF(SIZE, tau_mem=p(9.0, 13.0)), p(1.5, 3.0)),
        2.5,
    ),
    "RefractoryIzhikevich": (
        lambda p: ej.Refractory(ej.Izhikevich(SIZE, bias=p(4.0, 6.0)), p(1.5, 3.0)),
        8.0,
    ),
}


def make_neuron(name: str, seed: int = 0) -> ej.AbstractNeuron:
    rng = np.random.default_rng(seed)
    return MAKERS[name][0](lambda low, high: jnp.asarray(rng.uniform(low, high, SIZE)))


def make_weights(name: str, seed: int = 0) -> tuple[Array, Array]:
    """Of the input, and of the recurrent connection."""
    rng = np.random.default_rng(100 + seed)
    mean = MAKERS[name][1]
    weight = rng.normal(mean, 0.4 * mean, (INPUTS, SIZE))
    return jnp.asarray(weight), jnp.asarray(rng.normal(0, 0.2 * mean, (SIZE, SIZE)))
