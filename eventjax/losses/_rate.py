"""A regulariser of firing rates, which is not the derivative of a spike count."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def firing_rate(
    sol: Any,
    layer: int,
    *,
    strength: float,
    target: float = 14.0,
    tau_mem: Float[Array, " neurons"] | float,
) -> Float[Array, "*batch"]:
    r"""Pulls the mean spike count of each neuron of a layer towards a target.

    $$L = \frac{\lambda}{2} \sum_l \left(\bar N_l - \nu\right)^2$$

    $\bar N_l$ is the spike count of neuron $l$, averaged over the batch. Under exact spike
    times the true derivative of a count is zero, so the gradient is one by decree: at each
    of its spikes, in every sample, the adjoint variable of the neuron's voltage jumps by

    $$\lambda_{V,l} \leftarrow \lambda_{V,l} - \frac{\lambda}{B} (\bar N_l - \nu),$$

    after the regular jump, in a batch of $B$ samples whose losses are averaged. It comes
    through a cotangent on spike times,
    $-\lambda (\bar N_l - \nu)\, \tau_{mem} \dot V(t_k)$ in each sample. **It is not a
    derivative**: central differences do not find it. A neuron that fires too often gets
    spikes that come later and so, in the end, fewer of them. A neuron that never fires has
    no spike to hold on to and gets nothing (`eventjax.train.lift_silent` helps).

    On a time grid (`Clocked`) counts have a surrogate gradient, and the gradient of $L$ is
    the plain one through them.

    **Arguments:**

    - `sol`: what `eventjax.simulate` returned for the whole batch. Read are
        `spikes[layer]` and `slopes[layer]`, or `frames[layer]`.
    - `layer`: which layer, counted from 0, of neurons whose voltage alone decides when
        they spike, as `LIF`.
    - `strength`: $\lambda$. That of the paper's code belongs to gradients that are smaller
        than the exact ones by a factor. With times in ms multiply it by the output
        neurons' `tau_mem` for losses on voltage integrals (5e-10 becomes 1e-8 at 20 ms),
        by the duration `t1` for the maximum voltage, by 1 for spike times.
    - `target`: $\nu$, spikes per sample.
    - `tau_mem`: the time constant of the layer's neurons in ms, a number or `[neurons]`.
        No gradient reaches it from here.

    **Returns:** the same value for each sample, `[*batch]`: add it to the losses and take
    their mean.

    **Raises:** `ValueError` for a layer that does not exist, never spikes or has no
    slopes, a negative strength, or a `tau_mem` of another shape.

    ??? cite

        Nowotny, Turner and Knight, Neuromorphic Computing and Engineering (2025),
        doi:10.1088/2634-4386/ada852; `target=14`.
    """
    if not 0 <= layer < len(sol.spikes):
        raise ValueError(
            f"`layer` must lie in 0 to {len(sol.spikes) - 1}, since there are "
            f"{len(sol.spikes)} layers, got {layer}."
        )
    if not strength >= 0:
        raise ValueError(f"`strength` must not be negative, got {strength}.")
    size = jax.tree.leaves(sol.final_state[layer].neuron)[0].shape[-1]
    if jnp.shape(tau_mem) not in ((), (size,)):
        raise ValueError(
            f"`tau_mem` must be a number or have shape ({size},), one for each neuron of "
            f"layer {layer}, got shape {jnp.shape(tau_mem)}."
        )
    if sol.frames[layer] is not None:
        counts = jnp.sum(sol.frames[layer].counts, axis=-2)
        excess = _mean(counts) - target
        return jnp.broadcast_to(_value(excess, strength), counts.shape[:-1])
    spikes = sol.spikes[layer]
    if spikes is None:
        raise ValueError(
            f"Layer {layer} never spikes, so it has no firing rate: give the layer of "
            "neurons that do, as `LIF`."
        )
    slopes = dict(enumerate(sol.slopes)).get(layer)
    if slopes is None:
        raise ValueError(
            f"`firing_rate` needs the slopes of layer {layer}, which are known for `LIF` "
            "under `ClosedForm()` and `Eventprop()`: simulate it with these, or under "
            "`Clocked(dt)` and `Surrogate()`."
        )
    times, there = spikes.times, jnp.isfinite(spikes.times)
    counts = spikes.counts_per_source(size).astype(times.dtype)
    excess = _mean(counts) - target
    # tau_mem V' = I + b - theta, which turns the jump at a spike into lambda_V's own.
    # Empty places have no spike, and their `inf` must not enter a product.
    slopes = jnp.where(there, slopes, 0.0)
    scale = excess * jnp.asarray(tau_mem, times.dtype)
    pull = lax.stop_gradient(strength * jnp.take(scale, spikes.sources) * slopes)
    finite = jnp.where(there, times, 0.0)
    moved = -jnp.sum(pull * (finite - lax.stop_gradient(finite)), axis=-1)
    return moved + lax.stop_gradient(_value(excess, strength))


def _mean(counts: Float[Array, "*batch neurons"]) -> Float[Array, " neurons"]:
    """Over all batch axes."""
    return jnp.mean(counts, axis=tuple(range(counts.ndim - 1)))


def _value(excess: Float[Array, " neurons"], strength: float) -> Float[Array, ""]:
    return 0.5 * strength * jnp.sum(excess**2)
