"""Networks of rates: what neurons make of their currents, and how they settle."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._network import Network
from ._neuron import Neuron


class AbstractActivation(eqx.Module):
    """Rates of neurons from their currents."""

    @abc.abstractmethod
    def __call__(self, neuron: Neuron, current: Array) -> Array:
        """Rates in a constant current."""

    @abc.abstractmethod
    def max_rate(self, neuron: Neuron) -> float:
        """The highest rate."""


class HardSigmoid(AbstractActivation):
    """The current itself, between 0 and 1."""

    def __call__(self, neuron: Neuron, current: Array) -> Array:
        return jnp.clip(current, 0.0, 1.0)

    def max_rate(self, neuron: Neuron) -> float:
        return 1.0


class Sigmoid(AbstractActivation):
    """$1/(1 + e^{-4(I - 1/2)})$, that of continual equilibrium propagation."""

    def __call__(self, neuron: Neuron, current: Array) -> Array:
        return jax.nn.sigmoid(4 * (current - 0.5))

    def max_rate(self, neuron: Neuron) -> float:
        return 1.0


class LIFRate(AbstractActivation):
    r"""The rate of the network's spiking neurons in a constant current.

    $$f(I) = \frac{1}{t_{ref} + \tau_{mem} \ln \frac{I}{I - \theta}}$$

    above the threshold, and 0 below, in spikes per ms: the network of rates that a spiking
    one comes close to with long filters. It is very steep near the threshold.
    """

    def __call__(self, neuron: Neuron, current: Array) -> Array:
        fires = current > neuron.v_threshold
        safe = jnp.where(fires, current, 2 * neuron.v_threshold)
        wait = -neuron.tau_mem * jnp.log1p(-neuron.v_threshold / safe)
        return jnp.where(fires, 1 / (neuron.refractory + wait), 0.0)

    def max_rate(self, neuron: Neuron) -> float:
        return neuron.max_rate


def product(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, precision="highest")


def currents(
    weights: tuple[Array, ...], drives: tuple[Array, ...], rates: tuple[Array, ...]
) -> list[Array]:
    """Of each layer: the drive and what its neighbours send; the first matrix is not
    looked at, for inputs are in the drive."""
    totals = []
    for k, drive in enumerate(drives):
        total = drive
        if k > 0:
            total = total + product(rates[k - 1], weights[k].T)
        if k + 1 < len(drives):
            total = total + product(rates[k + 1], weights[k + 1])
        totals.append(total)
    return totals


def relax(
    network: Network,
    activation: AbstractActivation,
    drives: tuple[Array, ...],
    rates: tuple[Array, ...],
    steps: int,
    step: float,
    beta: Array | float = 0.0,
    targets: Array | None = None,
) -> tuple[Array, ...]:
    """All layers at once go towards what their currents ask for; outputs are nudged by
    `beta (targets - rates)`."""

    def body(rates, _):
        totals = currents(network.weights, drives, rates)
        if targets is not None:
            totals[-1] = totals[-1] + beta * (targets - rates[-1])
        wanted = [activation(network.neuron, x) for x in totals]
        return tuple(r + step * (w - r) for r, w in zip(rates, wanted)), None

    return lax.scan(body, rates, length=steps)[0]


def at_rest(network: Network, batch: int) -> tuple[Array, ...]:
    return tuple(jnp.zeros((batch, n), network.dtype) for n in network.layer_sizes)


def difference(
    network: Network,
    inputs: Array,
    free: tuple[Array, ...],
    nudged: tuple[Array, ...],
    scale: Array,
) -> Network:
    """Products of rates on both sides of each synapse, nudged less free, summed over the
    batch with `scale`, `[batch]`; rates themselves for biases."""
    weigh = scale[:, None]
    pairs = zip((inputs, *nudged), nudged, (inputs, *free), free)
    weights = tuple(
        product((weigh * up).T, down) - product((weigh * up0).T, down0)
        for down, up, down0, up0 in pairs
    )
    biases = tuple(jnp.sum(weigh * (x - y), axis=0) for x, y in zip(nudged, free))
    return eqx.tree_at(lambda n: (n.weights, n.biases), network, (weights, biases))


def check_steps(**steps: int) -> None:
    for name, value in steps.items():
        if not (isinstance(value, int) and value > 0):
            raise ValueError(
                f"`{name}` must be a positive whole number of steps, got {value}."
            )
