import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from .._spikes import Spikes


def drop_spikes(spikes: Spikes, rate: float, *, key: PRNGKeyArray) -> Spikes:
    """Remove each spike with probability `rate`, independently of all others.

    **Arguments:**

    - `spikes`: any batch shape.
    - `rate`: in [0, 1).
    - `key`: a `jax.random` key.

    **Returns:** `Spikes` of the same shape, sorted, with the empty places at the end.

    **Raises:** `ValueError` if `rate` is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"`rate` must lie in [0, 1), got {rate}.")
    # Only what is empty is not kept: a time that cannot be is for `simulate` to find.
    there = spikes.times != jnp.inf
    kept = jr.bernoulli(key, 1 - rate, spikes.times.shape) & there
    # What is left is in order already: each spike moves up by the gaps before it.
    place = jnp.where(kept, jnp.cumsum(kept, axis=-1) - 1, spikes.capacity)

    def one(times, sources, place):
        moved = jnp.full_like(times, jnp.inf).at[place].set(times, mode="drop")
        return moved, jnp.zeros_like(sources).at[place].set(sources, mode="drop")

    move = jnp.vectorize(one, signature="(k),(k),(k)->(k),(k)")
    return Spikes(*move(spikes.times, spikes.sources, place))
