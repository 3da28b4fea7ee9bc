"""The nudged phase and what it teaches."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .._solver import AbstractSolver
from ._network import Network
from ._phase import add_counts, drive_of, no_counts, Nudge, nudged
from ._spike_update import window_update
from ._state import Activity
from ._window import advance


class Contrast(eqx.Module):
    """What `contrast` returns.

    - `update`: what to add to the network, of its structure.
    - `state`: of all branches at the end, `[branches * batch, neurons]`.
    - `counts`: spikes of each neuron of the nudged branch that comes first.
    """

    update: Network
    state: tuple[Activity, ...]
    counts: tuple[Int[Array, "batch _"], ...]


def contrast(
    network: Network,
    inputs: Float[Array, "batch inputs"],
    targets: Float[Array, "batch outputs"],
    state: tuple[Activity, ...],
    weight: Float[Array, " batch"],
    branches: tuple[tuple[Any, Any], ...],
    windows: int,
    immediate: float | None,
    solver: AbstractSolver,
) -> Contrast:
    """Run the nudged phase from the end of a free one.

    **Arguments:**

    - `network`, `inputs`, `targets`, `state`: of the samples.
    - `weight`: how much each sample counts; 1 / batch makes the update a mean.
    - `branches`: for each run side by side how strongly it is nudged and by how much its
        update counts.
    - `windows`: how long.
    - `immediate`: if given, weights change by this times the update after every window.
    - `solver`: as for `run_phase`.
    """
    neuron, dtype, batch = network.neuron, network.dtype, inputs.shape[0]
    copies = len(branches)
    tile = lambda x: jnp.concatenate([x] * copies)
    state, inputs, targets = jax.tree.map(tile, (state, inputs, targets))
    spread = lambda values: jnp.repeat(
        jnp.stack([jnp.asarray(x, dtype) for x in values]), batch
    )
    beta = spread([b for b, _ in branches])
    scale = spread([c for _, c in branches]) * tile(weight)

    at_first, own = nudged(network, drive_of(network, inputs), Nudge(targets, beta))
    begin = tuple(a.r for a in state)
    # How much of a sample's change of rate another one's input current gets, through a
    # change of the input weights and of the bias: no need to change the matrix itself.
    gram = jnp.matmul(inputs, inputs.T, precision="highest") + 1

    def moved(state: tuple[Activity, ...]) -> list[Array]:
        return [scale[:, None] * (a.r - r) for a, r in zip(state, begin)]

    def now(changes, state):
        """Weights and drives as they have become."""
        if immediate is None:
            return network.weights, at_first
        weights = [w + immediate * c for w, c in zip(network.weights[1:], changes)]
        rates = moved(state)
        first = jnp.matmul(gram, rates[0], precision="highest")
        others = [jnp.sum(x, axis=0)[None] for x in rates[1:]]
        new = [x + immediate * c for x, c in zip(at_first, [first, *others])]
        return (network.weights[0], *weights), tuple(new)

    def body(carry, _):
        changes, state, counts = carry
        weights, drives = now(changes, state)
        new = advance(neuron, weights, state, drives, own, solver)
        changes = tuple(
            c + window_update(neuron, up, down, new_up.spikes, new_down.spikes, scale)
            for c, up, down, new_up, new_down in zip(
                changes, state[1:], state, new[1:], new
            )
        )
        return (changes, new, add_counts(counts, new)), None

    changes = tuple(jnp.zeros_like(w) for w in network.weights[1:])
    start = changes, state, no_counts(state)
    (changes, end, counts), _ = lax.scan(body, start, length=windows)
    rates = moved(end)
    first = jnp.matmul(rates[0].T, inputs, precision="highest")
    biases = tuple(jnp.sum(x, axis=0) for x in rates)
    update = eqx.tree_at(
        lambda n: (n.weights, n.biases), network, ((first, *changes), biases)
    )
    return Contrast(update, end, tuple(c[:batch] for c in counts))
