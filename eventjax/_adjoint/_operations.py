"""How many operations a layer takes where only events cost anything."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


class Operations(eqx.Module):
    """Numbers of operations of a layer, of each sample.

    **Fields:**

    - `forward`: additions of a weight to a voltage, one for each input spike and neuron.
    - `error`: multiplications and additions that carry errors to the layer before.
    - `weight`: those that add to the gradient of a weight.
    """

    forward: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    weight: Float[Array, "*batch"]


def count_operations(
    given: Float[Array, "..."],
    spikes: Float[Array, "..."],
    mask: Bool[Array, "..."],
    given_mask: Bool[Array, "..."] | None = None,
) -> Operations:
    """Operations of a densely connected layer under `MPDED`, forwards and backwards.

    A neuron has an error at a step if its mask is on there, or at a later step with no
    spike of its own from here on before that. Each such pair meets all input spikes of
    its step (for weights) and all neurons of the layer before that need an error there.

    **Arguments:**

    - `given`, `spikes`: frames (`Frames.counts`) of the layer before and of the layer,
        shape `[*batch, steps, units]`.
    - `mask`: where the mask of the layer is on: `spikes > 0` for `masks.Spike`, and all
        for `masks.Dense`.
    - `given_mask`: the same for the layer before, `None` for input, which needs no error.

    **Returns:** `Operations`, shape `[*batch]`. To turn them into energy multiply by that
    of an operation; the paper's energies (Wei et al., arXiv 2403.00270) are UNCONFIRMED.

    **Raises:** `ValueError` for shapes that do not fit, and for an empty mask.
    """
    _check(given, spikes, mask, given_mask)
    fires, on = (jnp.moveaxis(x, -2, 0) for x in (spikes > 0, mask))

    def step(after: Array, here: tuple[Array, Array]):
        fires, on = here
        reached = on | (after & ~fires)
        return reached, reached

    _, reached = lax.scan(step, jnp.zeros_like(on[0]), (fires, on), reverse=True)
    total = lambda x: jnp.sum(x.astype(given.dtype), -1)
    errors = total(jnp.moveaxis(reached, 0, -2))
    arrived = jnp.sum(given, -1)
    forward = jnp.sum(arrived, -1) * spikes.shape[-1]
    weight = jnp.sum(arrived * errors, -1)
    if given_mask is None:
        return Operations(forward, jnp.zeros_like(weight), weight)
    return Operations(forward, jnp.sum(total(given_mask) * errors, -1), weight)


def _check(given: Array, spikes: Array, mask: Array, given_mask: Array | None) -> None:
    pairs = [("mask", mask, spikes), ("given_mask", given_mask, given)]
    for name, value, like in pairs:
        if value is not None and value.shape != like.shape:
            raise ValueError(
                f"`{name}` must have the shape of the frames it is for, {like.shape}, got "
                f"{value.shape}."
            )
        if value is not None and value.size == 0:
            raise ValueError(f"`{name}` is empty, of shape {value.shape}: give frames.")
    if given.shape[:-1] != spikes.shape[:-1]:
        raise ValueError(
            "`given` and `spikes` must have the same batch and steps, got "
            f"{given.shape} and {spikes.shape}."
        )
