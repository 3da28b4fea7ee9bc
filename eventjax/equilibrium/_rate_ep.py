"""Equilibrium propagation without spikes: what the spiking rule is compared with."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._activations import hard_sigmoid
from ._estimate import held, with_gradient
from ._network import Network


_Rates = tuple[Array, ...]


class Settled(NamedTuple):
    """What `RateEP` returns beside the loss.

    - `losses`: of each sample, `[batch]`; their mean is the loss. `None` without targets.
    - `rates`: of the outputs at the end of the free phase, `[batch, outputs]`.
    - `prediction`: the output with the highest rate, `[batch]`.
    - `layers`: rates of all layers, the last included.
    - `moved`: how far the outputs still moved in the last step of the free phase, the
        largest of all; near 0 if they have settled.
    """

    losses: Float[Array, " batch"] | None
    rates: Float[Array, "batch outputs"]
    prediction: Int[Array, " batch"]
    layers: tuple[Float[Array, "batch _"], ...]
    moved: Float[Array, ""]


class RateEP(eqx.Module):
    r"""Equilibrium propagation in a network of rates, in two phases.

    $$r \leftarrow r + \epsilon\,(f(I) - r), \qquad
    I_k = b_k + W_k r_{k-1} + W_{k+1}^T r_{k+1} \; [{} + \beta (y - r)]$$

    with the nudge, in brackets, in the last layer in the second phase, which goes on from
    the end of the first. For small $\beta$ and long phases

    $$-\frac{1}{\beta} \left(\langle r_i r_j \rangle_{nudged}
    - \langle r_i r_j \rangle_{free}\right)$$

    is the gradient of $\tfrac12 |y - r|^2$ at the free fixed point, whatever the activation
    $f$ is that rises with its input.

    ```python
    network = ej.equilibrium.Network([784, 500, 10], gain=1.0, bias=0.0, key=key)
    rule = ej.equilibrium.RateEP(beta=0.5, free=20, nudged=4)

    estimate, settled = eqx.filter_grad(rule, has_aux=True)(network, images, targets)
    ```

    **Arguments:**

    - `beta`: strength of the nudge, not 0. Scellier and Bengio's is half of this, since
        their loss lacks the half.
    - `free`, `nudged`: number of steps in the two phases, at least 1.
    - `step`: $\epsilon$, above 0 and at most 1.
    - `activation`: $f$: `hard_sigmoid`, `FiringRate(neuron)`, or any function that rises.
    - `immediate`: if given, weights change after every nudged step by this much times the
        change of the products in it over $\beta$, as in continual equilibrium propagation;
        a number, or one for each layer. The gradient is then the negative of the whole
        change over this, and taking a step with it in plain gradient descent of this very
        learning rate leads to the weights at the end of the phase.

    **Raises:** `ValueError` for values out of range.

    ??? cite

        Scellier and Bengio, Frontiers in Computational Neuroscience 11:24, 2017, and their
        code. Ernoult et al., Equilibrium propagation with continual weight updates, 2020,
        arXiv 2005.04168, and their code.
    """

    beta: float = eqx.field(static=True)
    free: int = eqx.field(static=True)
    nudged: int = eqx.field(static=True)
    step: float = eqx.field(static=True)
    activation: Callable[[Array], Array]
    immediate: tuple[float, ...] | float | None = eqx.field(static=True)

    def __init__(
        self,
        *,
        beta: float,
        free: int,
        nudged: int,
        step: float = 0.5,
        activation: Callable[[Array], Array] = hard_sigmoid,
        immediate: tuple[float, ...] | float | None = None,
    ):
        if not abs(beta) > 0 or abs(beta) == float("inf"):
            raise ValueError(
                f"`beta` must be finite and not 0, got {beta}: without a nudge the phases "
                "do not differ."
            )
        for name, value in (("free", free), ("nudged", nudged)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1 step, got {value}.")
        if not 0 < step <= 1:
            raise ValueError(f"`step` must be above 0 and at most 1, got {step}.")
        rates = immediate if isinstance(immediate, tuple) else (immediate,)
        if not all(x is None or 0 < x < float("inf") for x in rates):
            raise ValueError(
                f"`immediate` must be positive and finite learning rates, got {immediate}."
            )
        self.beta, self.free, self.nudged, self.step = beta, free, nudged, step
        self.activation, self.immediate = activation, immediate

    def __call__(
        self,
        network: Network,
        inputs: Float[Array, "batch inputs"],
        targets: Float[Array, "batch outputs"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, ""], Settled]:
        """The loss of a batch, with the estimate for its gradient, and what the network
        settled in.

        **Arguments:**

        - `network`: a `Network`. Its neuron has no part in this.
        - `inputs`: rates or any other numbers.
        - `targets`: rates that the last layer should have.
        - `key`: if given, the sign of `beta` is drawn, one for the batch.

        **Raises:** `ValueError` for shapes that do not fit.
        """
        _check(network, inputs, targets)
        fixed = held(network)
        settled = self.settle(fixed, inputs)
        beta = jnp.asarray(self.beta, inputs.dtype)
        if key is not None:
            beta = beta * jr.rademacher(key, (), inputs.dtype)
        if self.immediate is None:
            rates = self._relax(
                fixed, settled.layers, inputs, self.nudged, beta, targets
            )
            change = _change(inputs, settled.layers, rates, beta)
        else:
            change = self._continual(fixed, settled.layers, inputs, beta, targets)
        weights, biases = change
        where = lambda x: (x.weights, x.biases)
        parameters = eqx.filter(network, eqx.is_inexact_array)
        gradient = eqx.tree_at(
            where, parameters, (_negative(weights), _negative(biases))
        )
        losses = 0.5 * jnp.sum((targets - settled.rates) ** 2, axis=1)
        losses = with_gradient(losses, network, gradient)
        return jnp.mean(losses), settled._replace(losses=losses)

    def settle(self, network: Network, inputs: Float[Array, "batch inputs"]) -> Settled:
        """The free phase, from rates of zero."""
        zero = tuple(
            jnp.zeros((len(inputs), size), inputs.dtype) for size in network.layer_sizes
        )
        before = self._relax(network, zero, inputs, self.free - 1)
        rates = self._relax(network, before, inputs, 1)
        moved = jnp.max(jnp.abs(rates[-1] - before[-1]))
        prediction = jnp.argmax(rates[-1], axis=1).astype(jnp.int32)
        return Settled(None, rates[-1], prediction, rates, moved)

    def _relax(
        self,
        network: Network,
        rates: _Rates,
        inputs: Array,
        steps: int,
        beta: Array | None = None,
        targets: Array | None = None,
    ) -> _Rates:
        driven = inputs @ network.weights[0].T + network.biases[0][None]

        def one(_, rates: _Rates) -> _Rates:
            new = []
            for k, rate in enumerate(rates):
                current = driven
                if k > 0:
                    current = rates[k - 1] @ network.weights[k].T
                    current = current + network.biases[k][None]
                if k + 1 < len(rates):
                    current = current + rates[k + 1] @ network.weights[k + 1]
                elif beta is not None and targets is not None:
                    current = current + beta * (targets - rate)
                new.append(rate + self.step * (self.activation(current) - rate))
            return tuple(new)

        return lax.fori_loop(0, steps, one, rates)

    def _continual(
        self,
        network: Network,
        rates: _Rates,
        inputs: Array,
        beta: Array,
        targets: Array,
    ) -> tuple[_Rates, _Rates]:
        """The sum of the changes of all steps, each of which sees the ones before."""
        eta, layers = self.immediate, len(network.weights)
        eta = eta if isinstance(eta, tuple) else (eta,) * layers
        if len(eta) != layers:
            raise ValueError(
                f"`immediate` must have a learning rate for each of the {layers} layers, "
                f"got {len(eta)}."
            )
        start = network.weights, network.biases

        def one(carry, _):
            now, rates, total = carry
            new = self._relax(now, rates, inputs, 1, beta, targets)
            change = _change(inputs, rates, new, beta)
            total = jax.tree.map(jnp.add, total, change)
            moved = tuple(
                tuple(p + e * c for p, e, c in zip(part, eta, changed))
                for part, changed in zip(start, total)
            )
            now = eqx.tree_at(lambda x: (x.weights, x.biases), now, moved)
            return (now, new, total), None

        nothing = jax.tree.map(jnp.zeros_like, start)
        (_, _, total), _ = lax.scan(one, (network, rates, nothing), length=self.nudged)
        return total


def _change(
    inputs: Array, before: _Rates, after: _Rates, beta: Array
) -> tuple[_Rates, _Rates]:
    """How products and rates changed, over beta, mean of the batch."""
    weights, biases = [], []
    scale = beta * len(inputs)
    for k, (old, new) in enumerate(zip(before, after)):
        if k == 0:
            difference = (new - old).T @ inputs
        else:
            difference = new.T @ after[k - 1] - old.T @ before[k - 1]
        weights.append(difference / scale)
        biases.append(jnp.sum(new - old, axis=0) / scale)
    return tuple(weights), tuple(biases)


def _negative(parts: _Rates) -> _Rates:
    return tuple(-x for x in parts)


def _check(network: Network, inputs: Array, targets: Array) -> None:
    if inputs.ndim != 2 or inputs.shape[1] != network.in_size:
        raise ValueError(
            f"`inputs` must have the shape (batch, {network.in_size}), got {inputs.shape}."
        )
    wanted = len(inputs), network.layer_sizes[-1]
    if targets.shape != wanted:
        raise ValueError(
            f"`targets` must have the shape {wanted}, got {targets.shape}."
        )
