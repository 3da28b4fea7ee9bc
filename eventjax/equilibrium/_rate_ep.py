"""Equilibrium propagation with rates: the reference."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from ._base import AbstractRule, check_beta
from ._network import Network
from ._outcome import Outcome
from ._phase import drive_of
from ._rates import (
    AbstractActivation,
    at_rest,
    check_steps,
    difference,
    HardSigmoid,
    relax,
)


class RateEP(AbstractRule):
    r"""Equilibrium propagation between two settled states of a network of rates.

    Rates `r` settle on $r = f(W r + b)$ in the free phase, and from there, with
    $\beta (y - r)$ added to the currents of the outputs, on others close by.

    $$\Delta W_{ij} = \frac{1}{\beta} \big[ r_i r_j\,(nudged) - r_i r_j\,(free) \big]$$

    For small $\beta$, once both phases have settled, this is minus the gradient of
    $\frac{1}{2} \sum (y - r)^2$, which is how a call of the rule gives it. `LIFRate()` is
    the mean field of the spiking network, what `EqSpike` comes close to with long filters.

    **Arguments:**

    - `activation`: f, `HardSigmoid()` for rates in [0, 1] or `LIFRate()`.
    - `beta`: strength of the nudge. The cost of the reference has no factor 1/2, so its
        value is half of this one.
    - `free`, `nudged`: number of steps.
    - `step`: how far rates go in one towards where they are drawn, up to 1.
    - `random_sign`: draw the sign of `beta` for each batch, with the `key` of the call;
        without a key it is that of `beta`. It takes away the bias of first order in
        `beta`, on average.

    **Raises:** `ValueError` for values that cannot work.

    ??? cite

        Scellier and Bengio, Frontiers in Computational Neuroscience 11:24 (2017). There
        the states of each example are kept between epochs; here every phase starts at
        rest.
    """

    activation: AbstractActivation = HardSigmoid()
    beta: float = eqx.field(static=True, default=1.0)
    free: int = eqx.field(static=True, default=20)
    nudged: int = eqx.field(static=True, default=4)
    step: float = eqx.field(static=True, default=0.5)
    random_sign: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_beta(self.beta)
        check_steps(free=self.free, nudged=self.nudged)
        if not 0 < self.step <= 1:
            raise ValueError(f"`step` must lie between 0 and 1, got {self.step}.")

    def check(self, network: Network) -> None:
        del network

    def max_target(self, network: Network) -> float:
        return self.activation.max_rate(network.neuron)

    def settle(self, network: Network, inputs: Array) -> tuple[Outcome, Any]:
        rates = relax(
            network,
            self.activation,
            drive_of(network, inputs),
            at_rest(network, inputs.shape[0]),
            self.free,
            self.step,
        )
        return Outcome.of_rates(rates[-1]), rates

    def teach(self, network, inputs, targets, state, weight, key) -> Network:
        beta = jnp.asarray(self.beta, network.dtype)
        if self.random_sign and key is not None:
            beta = beta * jr.rademacher(key, (), network.dtype)
        nudged = relax(
            network,
            self.activation,
            drive_of(network, inputs),
            state,
            self.nudged,
            self.step,
            beta,
            targets,
        )
        return difference(network, inputs, state, nudged, weight / beta)
