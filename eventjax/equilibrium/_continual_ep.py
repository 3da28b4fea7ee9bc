"""Continual equilibrium propagation: weights move with the rates."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._base import AbstractRule, check_beta, check_immediate
from ._network import Network
from ._outcome import Outcome
from ._phase import drive_of
from ._rates import (
    AbstractActivation,
    at_rest,
    check_steps,
    currents,
    product,
    relax,
    Sigmoid,
)


class ContinualEP(AbstractRule):
    r"""Equilibrium propagation in which weights change at every step of the nudged phase.

    In discrete time $r \leftarrow f(W r + b)$, to which outputs in the nudged phase add
    $\beta (y - r)$; at each of its steps

    $$\Delta W_{ij} = \frac{1}{\beta} \big[ r_i r_j\,(t + 1) - r_i r_j\,(t) \big],$$

    and $\eta$ times the batch's sum of this is added to the weights before the next. The
    gradient of a call is minus the whole change, divided by $\eta$: with a learning rate
    of the same value the weights end where they were at the end of the phase. Since the
    nudge is outside of f, the update lacks the slopes of f at the outputs: it has the
    direction of the gradient only where these are alike, as with `HardSigmoid()`.

    **Arguments:**

    - `activation`: f, `Sigmoid()`, `HardSigmoid()` or `LIFRate()`.
    - `beta`: strength of the nudge.
    - `free`, `nudged`: number of steps.
    - `immediate`: $\eta$, for the mean of the batch; `None` keeps weights as they are
        until the end of the phase.

    **Raises:** `ValueError` for values that cannot work.

    ??? cite

        Ernoult, Grollier, Querlioz, Bengio, Scellier, arXiv 2005.04168 (2020): discrete
        model; `free=40, nudged=15, beta=0.2` with 512 hidden units on MNIST.
    """

    activation: AbstractActivation = Sigmoid()
    beta: float = eqx.field(static=True, default=0.2)
    free: int = eqx.field(static=True, default=40)
    nudged: int = eqx.field(static=True, default=15)
    immediate: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_beta(self.beta)
        check_steps(free=self.free, nudged=self.nudged)
        check_immediate(self.immediate)

    def check(self, network: Network) -> None:
        del network

    def max_target(self, network: Network) -> float:
        return self.activation.max_rate(network.neuron)

    def settle(self, network: Network, inputs: Array) -> tuple[Outcome, Any]:
        start = at_rest(network, inputs.shape[0])
        drives = drive_of(network, inputs)
        rates = relax(network, self.activation, drives, start, self.free, 1.0)
        return Outcome.of_rates(rates[-1]), rates

    def teach(self, network, inputs, targets, state, weight, key) -> Network:
        del key
        weigh = (weight / self.beta)[:, None]
        eta = 0.0 if self.immediate is None else self.immediate
        drives = drive_of(network, inputs)
        # What a changed input matrix and bias do to the currents of the first layer.
        gram = product(inputs, inputs.T) + 1

        def both(rates) -> tuple[Array, ...]:
            return tuple(
                product((weigh * up).T, down) for up, down in zip(rates[1:], rates)
            )

        begin = both(state)

        def body(rates, _):
            change = [new - old for new, old in zip(both(rates), begin)]
            weights = [w + eta * c for w, c in zip(network.weights[1:], change)]
            moved = [weigh * (r - r0) for r, r0 in zip(rates, state)]
            bias = [jnp.sum(x, axis=0)[None] for x in moved[1:]]
            more = [product(gram, moved[0]), *bias]
            now = tuple(x + eta * y for x, y in zip(drives, more))
            totals = currents((network.weights[0], *weights), now, rates)
            new = [self.activation(network.neuron, x) for x in totals]
            new[-1] = new[-1] + self.beta * (targets - rates[-1])
            return tuple(new), None

        end, _ = lax.scan(body, state, length=self.nudged)
        moved = [weigh * (r - r0) for r, r0 in zip(end, state)]
        change = tuple(new - old for new, old in zip(both(end), begin))
        weights = (product(moved[0].T, inputs), *change)
        biases = tuple(jnp.sum(x, axis=0) for x in moved)
        return eqx.tree_at(lambda n: (n.weights, n.biases), network, (weights, biases))
