"""What all rules have in common: a loss whose gradient is the rule's update."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ._check import as_batch, check_targets, out_of_range
from ._network import Network
from ._outcome import Outcome


class AbstractRule(eqx.Module):
    """A rule that learns from two phases. Call it for a loss, with the rule as gradient."""

    @abc.abstractmethod
    def check(self, network: Network) -> None:
        """A `ValueError` if the rule cannot work for a network."""

    @abc.abstractmethod
    def max_target(self, network: Network) -> float:
        """The highest value of an output."""

    @abc.abstractmethod
    def settle(self, network: Network, inputs: Array) -> tuple[Outcome, Any]:
        """The free phase: its `Outcome`, without losses, and its state at the end."""

    @abc.abstractmethod
    def teach(
        self,
        network: Network,
        inputs: Array,
        targets: Array,
        state: Any,
        weight: Float[Array, " batch"],
        key: PRNGKeyArray | None,
    ) -> Network:
        """The nudged phase from the state at the end of the free one: what to add to the
        network, as a sum over samples, each of which counts `weight` times."""

    def __call__(
        self,
        network: Network,
        inputs: Float[ArrayLike, "*inputs"],
        targets: Float[ArrayLike, "*targets"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, ""], Outcome]:
        r"""The loss of a batch, $\frac{1}{2} \sum (y - r)^2$ at the end of the free phase.

        **Arguments:**

        - `network`: a `Network`.
        - `inputs`: `[batch, inputs]`.
        - `targets`: what outputs should be, from 0 to their highest value (1 /
            `refractory` in spikes per ms, or 1 for rules of rates), `[batch, outputs]`.
        - `key`: a `jax.random` key, for rules that draw a sign of $\beta$.

        **Returns:** the mean loss and an `Outcome`, whose `losses` have gradients, too.
        Where values are known only when a compiled program runs, samples with an input or
        target that is wrong have a loss of `nan`.

        **Raises:** `ValueError` for shapes that do not fit, inputs that are not finite,
        targets out of range, and what the rule cannot work with.
        """
        inputs, targets = self.prepare(network, inputs, targets)
        losses, outcome = _losses(
            network, rule=self, inputs=inputs, targets=targets, key=key
        )
        is_none = lambda x: x is None
        outcome = eqx.tree_at(lambda o: o.losses, outcome, losses, is_leaf=is_none)
        return jnp.mean(losses), outcome

    def prepare(
        self, network: Network, inputs: Any, targets: Any
    ) -> tuple[Array, Array]:
        """Inputs and targets as arrays, if all is right."""
        self.check(network)
        inputs = as_batch("inputs", inputs, network.in_size, network.dtype)
        targets = as_batch("targets", targets, network.layer_sizes[-1], network.dtype)
        if targets.shape[0] != inputs.shape[0]:
            raise ValueError(
                f"`targets` must be for {inputs.shape[0]} samples, as `inputs` are, got "
                f"{targets.shape[0]}."
            )
        check_targets(targets, self.max_target(network))
        return inputs, targets


def check_beta(beta: Any) -> None:
    if not (isinstance(beta, (int, float)) and abs(beta) < float("inf")):
        raise ValueError(f"`beta` must be a finite Python number, got {beta}.")
    if beta == 0:
        raise ValueError(
            "`beta` must not be 0: without a nudge there is nothing to learn from, and the "
            "update is divided by it."
        )


def check_immediate(immediate: Any) -> None:
    if immediate is not None and not 0 < immediate < float("inf"):
        raise ValueError(
            f"`immediate` must be a positive step or `None`, got {immediate}."
        )


def _free(network: Network, rule: AbstractRule, inputs: Array, targets: Array):
    outcome, state = rule.settle(network, inputs)
    losses = 0.5 * jnp.sum((targets - outcome.rates) ** 2, axis=1)
    wrong = jnp.any(out_of_range(targets, rule.max_target(network)), axis=1)
    wrong = wrong | ~jnp.all(jnp.isfinite(inputs), axis=1)
    return jnp.where(wrong, jnp.nan, losses), outcome, state


# Gradients go to the network alone, and come from the losses alone.
@eqx.filter_custom_vjp
def _losses(network, *, rule, inputs, targets, key):
    losses, outcome, _ = _free(network, rule, inputs, targets)
    return losses, outcome


@_losses.def_fwd
def _fwd(perturbed, network, *, rule, inputs, targets, key):
    del perturbed, key
    losses, outcome, state = _free(network, rule, inputs, targets)
    return (losses, outcome), state


@_losses.def_bwd
def _bwd(state, grad_out, perturbed, network, *, rule, inputs, targets, key):
    del perturbed
    grad_losses, _ = grad_out
    if grad_losses is None:
        grad_losses = jnp.zeros(inputs.shape[0], network.dtype)
    update = rule.teach(network, inputs, targets, state, grad_losses, key)
    return jax.tree.map(lambda x: -x, eqx.filter(update, eqx.is_inexact_array))
