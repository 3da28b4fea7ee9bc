"""The rule."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._solver import AbstractSolver, ClosedForm
from ._check import (
    as_batch,
    check_lasts,
    check_targets,
    out_of_range,
    windows_of,
)
from ._contrast import Contrast, contrast
from ._network import Network
from ._outcome import Outcome
from ._phase import Phase, run_phase


class EqSpike(eqx.Module):
    r"""Spiking equilibrium propagation: learning at spikes, from one phase to the next.

    A free phase runs the network on the input; in the nudged phase that follows each output
    is pulled towards its target by a current $\beta (y - x)$, and at each spike of one side
    of a synapse its weight changes by the filtered rate's derivative on the other side:

    $$\Delta W_{ij} = \frac{1}{\beta} \Big[ \sum_{\text{spikes of } i} g_j
    + \sum_{\text{spikes of } j} g_i \Big], \qquad g = \dot r = (x - r) / \tau_f$$

    Input weights change by $\frac{1}{\beta} (r_i(end) - r_i(start)) p_j$ and biases by
    $\frac{1}{\beta} (r_i(end) - r_i(start))$. Over the phase this adds up to the change of
    $r_i r_j$, the gradient of equilibrium propagation.

    Calling the rule gives a loss, $\frac{1}{2} \sum (y - r)^2$ at the end of the free phase,
    whose gradient by the network is minus this update. So it goes into `jax.grad`, optax
    and `ej.train.fit` as any loss does, and the nudged phase runs in the backward pass
    only. **The gradient is an estimate by decree**: central differences find it only for
    long filters and phases. Reverse mode only, and none reaches inputs and targets.

    The paper is known from its abstracts only. That its rule has this form is a hypothesis,
    and phases, filters and $\beta$ are a reconstruction's, unconfirmed.

    **Arguments:**

    - `beta`: strength of the nudge, a current per rate. Not 0. Negative values may silence
        outputs.
    - `free`, `nudged`: length of the phases in ms, at least `tau_syn + tau_filter`; ten and
        five times that is a good start.
    - `control`: run the second phase without nudge as well, and subtract its update: takes
        away what the free phase left unsettled, at twice the cost. Not local in hardware.
    - `symmetric`: nudge by `beta` and, side by side, by `-beta`, and take half the
        difference: no first-order bias in `beta`. Not together with `control`, which would
        cancel.
    - `immediate`: change weights by this much times the update after every window of the
        nudged phase, as continual equilibrium propagation does, instead of at its end. The
        gradient is minus the whole change, divided by this: with a learning rate of the
        same value the weights end where they were at the end of the phase.
    - `solver`: `ej.ClosedForm()` for exact spike times or `ej.Clocked(dt)`.

    **Raises:** `ValueError` for values that cannot work.

    ??? cite

        Martin, Ernoult, Laydevant, Li, Querlioz, Petrisor, Grollier, iScience 24(3), 102222
        (2021); Ernoult, Grollier, Querlioz, Bengio, Scellier, arXiv 2005.04168 (2020), for
        updates at all times of the nudged phase.
    """

    beta: float = eqx.field(static=True, default=0.5)
    free: float = eqx.field(static=True, default=300.0)
    nudged: float = eqx.field(static=True, default=150.0)
    control: bool = eqx.field(static=True, default=False)
    symmetric: bool = eqx.field(static=True, default=False)
    immediate: float | None = eqx.field(static=True, default=None)
    solver: AbstractSolver = ClosedForm()

    def __check_init__(self):
        if not (isinstance(self.beta, (int, float)) and abs(self.beta) < float("inf")):
            raise ValueError(f"`beta` must be a finite Python number, got {self.beta}.")
        if self.beta == 0:
            raise ValueError(
                "`beta` must not be 0: without a nudge there is nothing to learn from, and "
                "the update is divided by it."
            )
        if self.control and self.symmetric:
            raise ValueError(
                "`control` and `symmetric` exclude each other: the difference of two nudges "
                "has lost what a control takes away."
            )
        if self.immediate is not None and not self.immediate > 0:
            raise ValueError(
                f"`immediate` must be a positive step or `None`, got {self.immediate}."
            )

    def __call__(
        self,
        network: Network,
        inputs: Float[ArrayLike, "batch inputs"],
        targets: Float[ArrayLike, "batch outputs"],
        *,
        key: Any = None,
    ) -> tuple[Float[Array, ""], Outcome]:
        """The loss of a batch, with the rule as its gradient.

        **Arguments:**

        - `network`: a `Network`.
        - `inputs`: `[batch, inputs]`.
        - `targets`: rates in spikes per ms, at most 1 / `refractory`,
            `[batch, outputs]`.
        - `key`: not looked at; the other rules of this room draw from theirs.

        **Returns:** the mean loss and an `Outcome`, whose `losses` have gradients, too.
        Where values are known only when a compiled program runs, samples with an input or
        target that is wrong have a loss of `nan`.

        **Raises:** `ValueError` for shapes that do not fit, phases too short for the
        network's filters, and targets out of range.
        """
        inputs, targets = self._check(network, inputs, targets)
        losses, outcome = _losses(network, rule=self, inputs=inputs, targets=targets)
        outcome = eqx.tree_at(
            lambda o: o.losses, outcome, losses, is_leaf=lambda x: x is None
        )
        return jnp.mean(losses), outcome

    def update(
        self,
        network: Network,
        inputs: Float[ArrayLike, "batch inputs"],
        targets: Float[ArrayLike, "batch outputs"],
    ) -> tuple[Network, Phase, Contrast]:
        """Both phases in the open.

        **Arguments:** as of a call.

        **Returns:** what to add to the network (times a learning rate), the mean over the
        batch; the free `Phase`; and a `Contrast` with spikes and states of the nudged one.
        """
        inputs, targets = self._check(network, inputs, targets)
        phase = run_phase(network, inputs, self.free, solver=self.solver)
        weight = jnp.full(inputs.shape[0], 1 / inputs.shape[0], network.dtype)
        made = self._contrast(network, inputs, targets, phase.state, weight)
        return made.update, phase, made

    def _contrast(self, network, inputs, targets, state, weight) -> Contrast:
        beta = self.beta
        branches = ((beta, 1 / beta),)
        if self.control:
            branches = ((beta, 1 / beta), (0.0, -1 / beta))
        if self.symmetric:
            branches = ((beta, 0.5 / beta), (-beta, -0.5 / beta))
        windows = windows_of("nudged", self.nudged, network.neuron)
        return contrast(
            network,
            inputs,
            targets,
            state,
            weight,
            branches,
            windows,
            self.immediate,
            self.solver,
        )

    def _check(self, network, inputs, targets) -> tuple[Array, Array]:
        for name, duration in (("free", self.free), ("nudged", self.nudged)):
            windows_of(name, duration, network.neuron)
            check_lasts(name, duration, network.neuron)
        inputs = as_batch("inputs", inputs, network.in_size, network.dtype)
        targets = as_batch("targets", targets, network.layer_sizes[-1], network.dtype)
        if targets.shape[0] != inputs.shape[0]:
            raise ValueError(
                f"`targets` must be for {inputs.shape[0]} samples, as `inputs` are, got "
                f"{targets.shape[0]}."
            )
        check_targets(targets, network.neuron)
        return inputs, targets


def predict(
    network: Network,
    inputs: Float[ArrayLike, "batch inputs"],
    free: float = 300.0,
    *,
    solver: AbstractSolver = ClosedForm(),
) -> Outcome:
    """Inference: a free phase alone.

    **Arguments:**

    - `network`, `inputs`, `solver`: as for `run_phase`.
    - `free`: length of the phase in ms.

    **Returns:** an `Outcome` without losses.
    """
    return _outcome(run_phase(network, inputs, free, solver=solver))


def _outcome(phase: Phase) -> Outcome:
    rates = phase.state[-1].r
    prediction = jnp.argmax(rates, axis=1).astype(jnp.int32)
    return Outcome(None, rates, prediction, phase.counts)


def _free(network: Network, rule: EqSpike, inputs: Array, targets: Array):
    phase = run_phase(network, inputs, rule.free, solver=rule.solver)
    outcome = _outcome(phase)
    losses = 0.5 * jnp.sum((targets - outcome.rates) ** 2, axis=1)
    wrong = jnp.any(out_of_range(targets, network.neuron), axis=1)
    wrong = wrong | ~jnp.all(jnp.isfinite(inputs), axis=1)
    return jnp.where(wrong, jnp.nan, losses), outcome, phase.state


# Gradients go to the network alone, and come from the losses alone.
@eqx.filter_custom_vjp
def _losses(network, *, rule, inputs, targets):
    losses, outcome, _ = _free(network, rule, inputs, targets)
    return losses, outcome


@_losses.def_fwd
def _fwd(perturbed, network, *, rule, inputs, targets):
    del perturbed
    losses, outcome, state = _free(network, rule, inputs, targets)
    return (losses, outcome), state


@_losses.def_bwd
def _bwd(state, grad_out, perturbed, network, *, rule, inputs, targets):
    del perturbed
    grad_losses, _ = grad_out
    if grad_losses is None:
        grad_losses = jnp.zeros(inputs.shape[0], network.dtype)
    made = rule._contrast(network, inputs, targets, state, grad_losses)
    gradient = jax.tree.map(lambda x: -x, eqx.filter(made.update, eqx.is_inexact_array))
    return gradient
