"""The rule."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._solver import AbstractSolver, ClosedForm
from ._base import AbstractRule, check_beta, check_immediate
from ._check import check_lasts, check_solver, windows_of
from ._contrast import Contrast, contrast
from ._network import Network
from ._outcome import Outcome
from ._phase import Phase, run_phase


class EqSpike(AbstractRule):
    r"""Spiking equilibrium propagation: learning at spikes, from one phase to the next.

    A free phase runs the network on the input; in the nudged phase that follows each output
    is pulled towards its target by a current $\beta (y - x)$, and at each spike of one side
    of a synapse its weight changes by the filtered rate's derivative on the other side:

    $$\Delta W_{ij} = \frac{1}{\beta} \Big[ \sum_{\text{spikes of } i} g_j
    + \sum_{\text{spikes of } j} g_i \Big], \qquad g = \dot r = (x - r) / \tau_f$$

    Input weights change by $\frac{1}{\beta} (r_i(end) - r_i(start)) p_j$ and biases by
    $\frac{1}{\beta} (r_i(end) - r_i(start))$. Over the phase this adds up to the change of
    $r_i r_j$, the gradient of equilibrium propagation.

    Calling the rule gives a loss, $\frac{1}{2} \sum (y - r)^2$ at the end of the free
    phase, whose gradient by the network is minus this update. So it goes into `jax.grad`,
    optax and `ej.train.fit` as any loss does, and the nudged phase runs in the backward
    pass only. **The gradient is an estimate by decree**: central differences find it only
    for long filters and phases. Reverse mode only, and none reaches inputs and targets.

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
        check_beta(self.beta)
        if self.control and self.symmetric:
            raise ValueError(
                "`control` and `symmetric` exclude each other: the difference of two "
                "nudges has lost what a control takes away."
            )
        check_immediate(self.immediate)

    def check(self, network: Network) -> None:
        check_solver(self.solver, network.neuron)
        for name, duration in (("free", self.free), ("nudged", self.nudged)):
            windows_of(name, duration, network.neuron)
            check_lasts(name, duration, network.neuron)

    def max_target(self, network: Network) -> float:
        return network.neuron.max_rate

    def settle(self, network: Network, inputs: Array) -> tuple[Outcome, Any]:
        phase = run_phase(network, inputs, self.free, solver=self.solver)
        return _outcome(phase), phase.state

    def teach(self, network, inputs, targets, state, weight, key) -> Network:
        del key
        return self._contrast(network, inputs, targets, state, weight).update

    def update(
        self,
        network: Network,
        inputs: Float[ArrayLike, "*inputs"],
        targets: Float[ArrayLike, "*targets"],
    ) -> tuple[Network, Phase, Contrast]:
        """Both phases in the open.

        **Arguments:** as of a call.

        **Returns:** what to add to the network (times a learning rate), the mean over the
        batch; the free `Phase`; and a `Contrast` with spikes and states of the nudged one.
        """
        inputs, targets = self.prepare(network, inputs, targets)
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


def predict(
    network: Network,
    inputs: Float[ArrayLike, "*inputs"],
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
    return Outcome.of_rates(phase.state[-1].r, phase.counts)
