from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from ._select import selected


class LiftState(eqx.Module):
    """Spikes of each neuron since the epoch began, and steps applied in it."""

    counts: Int[Array, " neurons"]
    steps: Int[Array, ""]


def lift_silent(
    where: Callable[[Any], Any],
    layer: int,
    *,
    steps_per_epoch: int,
    amount: float = 0.002,
    everyone: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Adds a little to the incoming weights of neurons that were silent for an epoch.

    No gradient reaches a neuron that never spikes, so no loss can bring it back. This is a
    rule, not a derivative.

    ```python
    optax.chain(
        optax.adam(1e-3),
        ej.train.lift_silent(
            lambda network: network.layers[0].connection.weight, 0, steps_per_epoch=250
        ),
    )
    ```

    An epoch is `steps_per_epoch` steps that were applied. A step that `fit` skips or
    repeats leaves the state as it was, so no spike is counted twice.

    **Arguments:**

    - `where`: selects the weights, `[sources, neurons]`, from the model.
    - `layer`: which layer's spikes count, from 0.
    - `steps_per_epoch`: `len(batches)`.
    - `amount`: what is added to each weight.
    - `everyone`: add it to the weights of all neurons, silent or not. So does the code of
        the paper below, while its authors' other programs lift the silent ones only; which
        of the two the paper means is UNCONFIRMED.

    **Returns:** a transformation of updates, to come after the optimiser. Its `update`
    needs the extra argument `spike_counts`, which the step of `make_step` gives: for each
    layer the spikes of each neuron in this step, `[neurons]`.

    **Raises:** `ValueError` for less than one step, a negative amount, weights that are
    not trained or of another shape, or a layer that counts no spikes.

    ??? cite

        Nowotny, Turner and Knight, Neuromorphic Computing and Engineering (2025),
        doi:10.1088/2634-4386/ada852; `amount=0.002`.
    """
    if steps_per_epoch < 1:
        raise ValueError(
            f"`steps_per_epoch` must be at least 1, got {steps_per_epoch}."
        )
    if not amount >= 0:
        raise ValueError(f"`amount` must not be negative, got {amount}.")

    def init(params) -> LiftState:
        weight = selected(where, params)
        if weight.ndim != 2:
            raise ValueError(
                "`where` must select weights of shape [sources, neurons], got shape "
                f"{weight.shape}."
            )
        return LiftState(
            jnp.zeros(weight.shape[1], jnp.int32), jnp.zeros((), jnp.int32)
        )

    def update(updates, state: LiftState, params=None, *, spike_counts, **others):
        del params, others
        new = _counts(spike_counts, layer, state.counts.shape)
        counts, steps = state.counts + new, state.steps + 1
        ends = steps >= steps_per_epoch
        lifted = ends & (jnp.ones_like(counts, bool) if everyone else counts == 0)

        def lift(update):
            more = jnp.where(lifted, amount, 0.0).astype(update.dtype)
            return update + more[None, :]

        zero = lambda x: jnp.where(ends, jnp.zeros_like(x), x)
        return (
            eqx.tree_at(where, updates, replace_fn=lift),
            LiftState(zero(counts), zero(steps)),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _counts(spike_counts: Any, layer: int, shape: tuple[int, ...]) -> Array:
    if not 0 <= layer < len(spike_counts) or spike_counts[layer] is None:
        spiking = [k for k, x in enumerate(spike_counts) if x is not None]
        raise ValueError(
            f"`layer` must be one that spikes, {spiking} in this network, got {layer}."
        )
    if spike_counts[layer].shape != shape:
        raise ValueError(
            f"`where` must select the weights into layer {layer}, which has "
            f"{spike_counts[layer].shape[0]} neurons, but they reach {shape[0]}."
        )
    return spike_counts[layer]
