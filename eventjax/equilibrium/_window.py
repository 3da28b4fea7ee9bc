"""One window: as long as the refractory time, which is also the delay of every synapse.

So a neuron spikes at most once in it, and what arrives are the spikes of the window before:
all layers can be taken through it side by side.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._solver import AbstractSolver, Clocked
from ._clocked_window import clocked_spikes
from ._intervals import begin
from ._neuron import Neuron
from ._one_by_one import spikes_one_by_one
from ._side_by_side import spikes_side_by_side
from ._state import Activity
from ._traces import pass_window


def advance(
    neuron: Neuron,
    weights: tuple[Array, ...],
    state: tuple[Activity, ...],
    drives: tuple[Array, ...],
    own: Array,
    solver: AbstractSolver,
) -> tuple[Activity, ...]:
    """The state one window later.

    **Arguments:**

    - `neuron`, `weights`: of the network; the first matrix is not looked at.
    - `state`: of all layers.
    - `drives`: constant currents, `[batch, neurons]` for each layer.
    - `own`: weight of the synapses of the last layer's neurons onto themselves, `[batch]`.
    - `solver`: `ClosedForm` or `Clocked`.
    """
    new = []
    for k, at in enumerate(state):
        others, parts = [], []
        if k > 0:
            others.append(state[k - 1])
            parts.append(weights[k].T)
        if k + 1 < len(state):
            others.append(state[k + 1])
            parts.append(weights[k + 1])
        is_last = k + 1 == len(state)
        self_weight = own[:, None] if is_last else jnp.zeros_like(own)[:, None]
        given = at, others, parts, drives[k], self_weight
        if isinstance(solver, Clocked):
            spikes, v = clocked_spikes(neuron, *given, solver.dt)
        else:
            spikes, v = _exact_spikes(neuron, *given)
        x, r = pass_window(neuron, at.x, at.r, spikes)
        new.append(Activity(v, at.x, x, r, spikes))
    return tuple(new)


def _exact_spikes(
    neuron: Neuron,
    at: Activity,
    others: list[Activity],
    parts: list[Array],
    drive: Array,
    own: Array,
) -> tuple[Array, Array]:
    current = own * at.arrived
    if not others:
        # A single layer has nothing to wait for: one source that never spikes.
        arrivals = jnp.full((at.v.shape[0], 1), jnp.inf, at.v.dtype)
        weight = jnp.zeros((1, at.v.shape[1]), at.v.dtype)
    else:
        arrivals = jnp.concatenate([x.spikes for x in others], axis=1)
        weight = jnp.concatenate(parts)
        arrived = jnp.concatenate([x.arrived for x in others], axis=1)
        current = current + jnp.matmul(arrived, weight, precision="highest")
    layer = begin(neuron, at.v, current, drive, own, at.spikes)

    def one_by_one(layer, arrivals, weight):
        return spikes_one_by_one(neuron, layer, arrivals, weight)

    def side_by_side(layer, arrivals, weight):
        return spikes_side_by_side(neuron, layer, arrivals, weight)

    return lax.platform_dependent(
        layer, arrivals, weight, cpu=one_by_one, default=side_by_side
    )
