from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._network import Network
from .._solver import Clocked
from .._solver._grid import Grid
from ..feedback import AbstractFeedback, Symmetric
from ..surrogates import Triangle
from ._eprop import EProp
from ._trace_checks import check_for_traces
from ._trace_gradient import gradient_of, matrices, sums_of_step
from ._trace_network import Course, Memory, rest_of, Step, step_of


class OnlineState(eqx.Module):
    """Where an online run stands, made by `OnlineEProp.start`: what the network does and
    its eligibility traces. These take `batch * weights` floats for each part of the state
    of a neuron that input reaches, and twice as many more."""

    course: Course
    memory: Memory
    number: Int[Array, ""]  # of the next step
    batch_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def spikes(self) -> tuple[Float[Array, "*batch _"], ...]:
        """Who spiked in the last step, for each layer before the readout."""
        each = [x.spikes for x in self.course.hidden]
        return tuple(x.reshape(*self.batch_shape, x.shape[-1]) for x in each)


class OnlineEProp(eqx.Module):
    r"""e-prop while a network runs: a gradient after each step, in a memory that does not
    depend on their number.

    $$\epsilon^t = \frac{\partial s^t}{\partial s^{t-1}}\, \epsilon^{t-1}
    + \frac{\partial s^t}{\partial W}, \qquad
    e^t = \psi^t\, \frac{\partial x^t}{\partial s^t}\, \epsilon^t, \qquad
    \bar e^t = \kappa\, \bar e^{t-1} + e^t$$

    $s$ is the state of a neuron, $x$ its distance to the threshold, $\psi$ the
    pseudo-derivative and $\kappa$ the decay of the readout in a step. The step that a
    network takes is itself linearised, so this holds for all neurons. While the weights
    stay the same, the gradients of all steps add up to that of `EProp`.

    ```python
    learner = ej.OnlineEProp(ej.Clocked(1.0))
    state = learner.start(network)
    for x, target in zip(inputs, targets):
        state, y = learner.step(network, state, x)
        gradient = learner.gradient(network, state, y - target)
        updates, opt_state = optimiser.update(gradient, opt_state)
        network = eqx.apply_updates(network, updates)
    ```

    **Arguments:**

    - `solver`: a `Clocked`, which says how long a step is, in ms.
    - `feedback`, `shape`: those of `EProp`.

    The last layer of a network is a `DeltaIntegrator` whose `tau_mem` is a number, and all
    connections are `Dense`, or `Masked` ones of it; `start` raises a `ValueError` for
    others. Parameters of neurons that are arrays have no gradient, `None`, but for the
    `bias` of the readout.

    ??? cite

        Bellec et al., Nature Communications 11:3625 (2020), equations 1, 3, 4, 13 and 14,
        read from code only; see the README of `paper_repro/e_prop`.
    """

    solver: Clocked
    rule: EProp

    def __init__(
        self,
        solver: Clocked,
        feedback: AbstractFeedback = Symmetric(),
        *,
        shape: Callable[[Array], Array] = Triangle(1.0, 0.3),
    ):
        self.solver = solver
        self.rule = EProp(feedback, shape=shape, form="traces")

    def start(
        self, network: Network, batch_shape: Sequence[int] = (), *, dtype: Any = None
    ) -> OnlineState:
        """A run from rest.

        **Arguments:**

        - `network`: the network, of which `step` and `gradient` may get others of the same
            sizes later.
        - `batch_shape`: of the samples that run side by side.
        - `dtype`: float type of the run, that of the readout's weights if not given.

        **Returns:** the state before the first step.

        **Raises:** `ValueError` for a network that has no traces, or whose layers do not
        fit the feedback.
        """
        check_for_traces(network)
        self.rule.check_network(network)
        if dtype is None:
            rows = network.layers[-1].connection.rows
            dtype = jax.eval_shape(rows, jnp.zeros(1, jnp.int32)).dtype
        batch = int(np.prod(tuple(batch_shape), dtype=int))
        course = rest_of(network, batch, dtype)
        memory = self._step(network, course).no_memory(course)
        number = jnp.zeros((), jnp.int32)
        return OnlineState(course, memory, number, tuple(batch_shape))

    def step(
        self, network: Network, state: OnlineState, counts: Float[Array, "*batch in"]
    ) -> tuple[OnlineState, Float[Array, "*batch outputs"]]:
        """All layers go on for one step.

        **Arguments:**

        - `network`: the network.
        - `state`: where the run stands.
        - `counts`: spikes of each input in this step, or any values.

        **Returns:** where it stands then, and the voltages of the readout.

        **Raises:** `ValueError` for `counts` of another shape.
        """
        size = network.layers[0].connection.in_size
        counts = _flat("counts", counts, state, size)
        step = self._step(network, state.course)
        course, currents = step.go_on(state.number, state.course, counts)
        states = state.course, course, currents
        memory = step.learn(state.number, *states, counts, state.memory)
        y = course.readout.v.reshape(*state.batch_shape, course.readout.v.shape[-1])
        return OnlineState(course, memory, state.number + 1, state.batch_shape), y

    def gradient(
        self,
        network: Network,
        state: OnlineState,
        error: Float[Array, "*batch outputs"],
        by_spikes: Sequence[Float[Array, "*batch _"] | None] | None = None,
    ) -> Network:
        """The gradient of the step that `step` has just taken.

        **Arguments:**

        - `network`, `state`: as `step` was given the one and has given the other.
        - `error`: derivative of the step's loss by the voltages of the readout.
        - `by_spikes`: its derivatives by the spikes of each layer before the readout,
            `state.spikes`, as of a regulariser of firing rates; `None` if it has none.

        **Returns:** gradients summed over the batch, in a network of the same structure,
        with `None` in place of all that has none.

        **Raises:** `ValueError` for errors of another shape.
        """
        *hidden, readout = network.layers
        error = _flat("error", error, state, readout.neuron.size)
        by_spikes = [None] * len(hidden) if by_spikes is None else by_spikes
        if len(by_spikes) != len(hidden):
            raise ValueError(
                f"`by_spikes` must have one entry for each of the {len(hidden)} layers "
                f"before the readout, got {len(by_spikes)}."
            )
        own = [
            None if x is None else _flat(f"by_spikes[{k}]", x, state, y.neuron.size)
            for k, (x, y) in enumerate(zip(by_spikes, hidden))
        ]
        step = self._step(network, state.course)
        back = matrices(network, self.rule.feedback, step.readout_rows)
        sums = sums_of_step(back, state.memory, error, own)
        return gradient_of(network, self.rule.feedback, step.rows, sums)

    def _step(self, network: Network, course: Course) -> Step:
        endless = Grid(0.0, self.solver.dt, 0)  # the number of steps is not known
        none = [None] * len(network.layers)
        dtype = course.readout.v.dtype
        return step_of(network, self.rule, self.solver, endless, none, dtype)


def _flat(name: str, value: Array, state: OnlineState, size: int) -> Array:
    """With a single batch axis, of the float type of the run."""
    shape = *state.batch_shape, size
    if jnp.shape(value) != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {jnp.shape(value)}.")
    return jnp.asarray(value, state.course.readout.v.dtype).reshape(-1, size)
