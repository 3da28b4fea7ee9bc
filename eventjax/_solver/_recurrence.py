"""How spikes come back to their own layer on a time grid."""

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._delay_steps import delayed_currents, DelaySteps


class Recurrence(eqx.Module):
    """A layer's connection to itself. The loop remembers the spikes of the last
    `delay.bound` steps in a ring, those of step `k` in place `k % delay.bound`."""

    rows: Float[Array, "rows neurons"]
    delay: DelaySteps
    # Where each synapse has a delay of its own: the weights of each delay, zeros between.
    by_delay: Float[Array, "delays rows neurons"] | None

    def __init__(self, rows: Float[Array, "rows neurons"], delay: DelaySteps):
        self.rows = rows
        self.delay = delay
        self.by_delay = None
        if not isinstance(delay.steps, int) and delay.steps.ndim == 2:
            values = jnp.asarray(delay.values, jnp.int32)[:, None, None]
            self.by_delay = jnp.where(
                values == jnp.asarray(delay.steps)[None], rows[None], 0.0
            )

    def start(self, batch: int) -> Float[Array, "ring batch neurons"]:
        """Spikes before the run are not in the ring: their currents are known."""
        return jnp.zeros((self.delay.bound, batch, self.rows.shape[1]), self.rows.dtype)

    def current(
        self, ring: Float[Array, "ring batch neurons"], step: Int[Array, ""]
    ) -> Float[Array, "batch neurons"]:
        """What arrives in a step. Row `c * neurons + k` is copy `c` of neuron `k`."""
        steps, bound = self.delay.steps, self.delay.bound
        num, size = self.rows.shape
        if self.by_delay is not None:
            places = (step - jnp.asarray(self.delay.values, jnp.int32)) % bound
            spikes = jnp.tile(ring[places], (1, 1, num // size))
            return jnp.einsum("dbr,drn->bn", spikes, self.by_delay)
        if isinstance(steps, int):
            place = 0 if bound == 1 else (step - steps) % bound
            spikes = lax.dynamic_index_in_dim(ring, place, 0, False)
            spikes = jnp.tile(spikes, (1, num // size))
        else:
            source = jnp.arange(num, dtype=jnp.int32) % size
            places = jnp.broadcast_to((step - steps) % bound, source.shape)
            spikes = ring[places, :, source].T
        return spikes @ self.rows

    def remember(
        self,
        ring: Float[Array, "ring batch neurons"],
        step: Int[Array, ""],
        spikes: Float[Array, "batch neurons"],
    ) -> Float[Array, "ring batch neurons"]:
        """The ring with the spikes of a step, instead of its oldest."""
        bound = self.delay.bound
        place = 0 if bound == 1 else step % bound
        return lax.dynamic_update_index_in_dim(ring, spikes, place, 0)

    def on_the_way(
        self, spikes: Float[Array, "steps batch neurons"]
    ) -> Float[Array, "ahead batch neurons"]:
        """The currents that the spikes of a run bring in the steps after it."""
        last = spikes[-min(len(spikes), self.delay.bound) :]
        return delayed_currents(last, self.rows, self.delay)[len(last) :]
