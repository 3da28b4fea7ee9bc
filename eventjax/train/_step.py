"""One training step and one evaluation step, each compiled as a whole."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._simulate_first_spikes import FirstSpikeSolution
from .._solution import RESULTS, Solution
from ._devices import (
    all_samples,
    anywhere,
    Devices,
    divided,
    largest,
    mean,
    mesh_of,
    on_each,
    own_key,
    replicated,
    total,
)
from ._outcome import outcome_of


# (model, batch, key) -> (losses [*batch], solution, metrics by name, each [*batch])
LossFn = Callable[
    [Any, Any, PRNGKeyArray | None],
    tuple[
        Float[Array, "*batch"],
        Solution | FirstSpikeSolution | None,
        dict[str, Array],
    ],
]


class Report(eqx.Module):
    """What a step has to say: whether it is good, and sums over its samples.

    - `result`: how the simulation went, an item of `eventjax.RESULTS` per sample.
    - `simulated`: whether it went well for all of them.
    - `overfull`: whether a layer emitted more spikes than its capacity.
    - `finite`: whether the loss and all gradients are.
    - `needed`: per layer, the most spikes that a sample emitted; `None` if it never spikes.
    - `samples`, `metrics`: how many samples, and sums over them, `"loss"` included.
    - `spike_counts`: per layer, spikes of each neuron in all samples, or `None`.
    """

    result: Any
    simulated: Bool[Array, ""]
    overfull: Bool[Array, ""]
    finite: Bool[Array, ""]
    needed: tuple[Int[Array, ""] | None, ...]
    samples: Int[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    spike_counts: tuple[Int[Array, "..."] | None, ...]


def make_step(
    loss_fn: LossFn,
    optimiser: optax.GradientTransformation,
    trainable: PyTree | Callable[[Any], bool] = eqx.is_inexact_array,
    *,
    devices: Devices | None = None,
) -> Callable:
    """A compiled training step that changes nothing unless all went well.

    **Arguments:**

    - `loss_fn`: `(model, batch, key) -> (losses, solution, metrics)`: the loss of each
        sample, what `simulate(..., throw=False)` or `simulate_first_spikes` returned, and
        further values of each sample by name. The mean of the losses is minimised. A model
        without spikes, such as an artificial network to compare with, has `None` for a
        solution.
    - `optimiser`: its state is made by `optimiser.init(eqx.filter(model, trainable))`.
        Its `update` gets the extra argument `spike_counts` if it takes one: for each layer
        the spikes of each neuron in this step, `[neurons]`, or `None`.
    - `trainable`: which leaves of the model are trained, as for `eqx.filter`.
    - `devices`: a sequence of devices such as `jax.devices()`, or a `jax.sharding.Mesh`,
        all axes of which count as one. Each takes its share of the batch, along the first
        axis of its arrays, and calls `loss_fn` with that; gradients and sums are those of
        the whole batch, to rounding. Where there are several, each has its own random
        numbers: its `key` is the step's, folded with the device's place in the row. By
        default all runs on one.

    **Returns:** `step((batch, key), model, opt_state) -> (report, model, opt_state)`. The
    model and state handed in are donated: their memory is used again, so use what is
    returned. If the simulation failed, or the loss or a gradient is not finite, the model
    and state returned are those handed in, and the `Report` says why. With `devices` both
    are returned on each of them, and a batch that cannot be divided is a `ValueError`.
    """
    mesh = mesh_of(devices)
    recipe = (loss_fn, optimiser, trainable, mesh)

    def step(batch__key, model, opt_state):
        batch, key = batch__key
        batch__key = divided(mesh, batch), replicated(mesh, key)
        model, opt_state = replicated(mesh, (model, opt_state))
        return _step((recipe, batch__key), model, opt_state)

    return step


# Not a closure, so that runs with the same loss and optimiser share one compilation.
@eqx.filter_jit(donate="all-except-first")
def _step(recipe__batch__key, model, opt_state):
    (loss_fn, optimiser, trainable, mesh), (batch, key) = recipe__batch__key
    params, fixed = eqx.partition(model, trainable)

    def run(same, batch):
        params, fixed, key = same
        key = own_key(mesh, key)

        def mean_loss(params):
            losses, sol, metrics = loss_fn(eqx.combine(params, fixed), batch, key)
            return jnp.mean(losses), (losses, sol, metrics)

        grad_fn = eqx.filter_value_and_grad(mean_loss, has_aux=True)
        (loss, aux), grads = grad_fn(params)
        loss, grads = mean(mesh, (loss, grads))
        model = eqx.combine(params, fixed)
        return _report(mesh, model, *aux, checked=(loss, grads)), grads

    report, grads = on_each(mesh, run, (params, fixed, key), batch)
    # Optax mixes types here and there, which is an error where promotion is strict.
    with jax.numpy_dtype_promotion("standard"):
        update = optax.with_extra_args_support(optimiser).update
        updates, new_opt_state = update(
            grads, opt_state, params, spike_counts=report.spike_counts
        )
    new_params = eqx.apply_updates(params, updates)
    good = report.simulated & report.finite
    params = _choose(good, new_params, params)
    opt_state = _choose(good, new_opt_state, opt_state)
    return report, eqx.combine(params, fixed), opt_state


def evaluate_batch(
    loss_fn: LossFn,
    model: PyTree,
    batch: PyTree,
    is_real: Bool[Array | np.ndarray, " batch"],
    mesh: Mesh | None = None,
) -> Report:
    """The report of a batch without a gradient; samples that are not real do not count."""
    batch, is_real = divided(mesh, (batch, is_real))
    return _evaluate((loss_fn, mesh), replicated(mesh, model), (batch, is_real))


@eqx.filter_jit
def _evaluate(recipe, model, batch__real) -> Report:
    loss_fn, mesh = recipe

    def run(model, batch__real):
        batch, is_real = batch__real
        losses, *rest = loss_fn(model, batch, None)
        return _report(mesh, model, losses, *rest, is_real=is_real, checked=losses)

    return on_each(mesh, run, model, batch__real)


def _report(mesh, model, losses, sol, metrics, *, checked, is_real=None) -> Report:
    values = {"loss": losses, **metrics}
    for name, value in values.items():
        if jnp.shape(value) != jnp.shape(losses):
            raise ValueError(
                f"`loss_fn` must return one value per sample: the losses have shape "
                f"{jnp.shape(losses)}, but `{name}` has {jnp.shape(value)}."
            )
    real = jnp.ones(jnp.shape(losses), bool) if is_real is None else is_real
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(checked)]
    went = outcome_of(sol, model, real)
    full = went.result == RESULTS.capacity_exceeded
    return Report(
        result=all_samples(mesh, went.result),
        simulated=~anywhere(mesh, jnp.any(went.result != RESULTS.successful)),
        overfull=anywhere(mesh, jnp.any(full)),
        finite=~anywhere(mesh, ~jnp.all(jnp.stack(finite))),
        needed=largest(mesh, went.needed),
        samples=total(mesh, jnp.sum(real)),
        metrics=total(
            mesh, {name: _sum(value, real) for name, value in values.items()}
        ),
        spike_counts=total(mesh, went.spike_counts),
    )


def _sum(values: Array, real: Array) -> Array:
    dtype = jax.dtypes.canonicalize_dtype(float)
    return jnp.sum(jnp.where(real, values.astype(dtype), 0.0))


def _choose(good: Array, new: PyTree, old: PyTree) -> PyTree:
    def one(new, old):
        return jnp.where(good, new, old) if eqx.is_array(new) else new

    return jax.tree.map(one, new, old)
