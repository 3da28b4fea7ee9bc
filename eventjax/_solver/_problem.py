"""What every way of solving a LIF layer is given, and what it gives back."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._spikes import sort_events


class LayerProblem(eqx.Module):
    """A layer of LIF neurons and all that arrives at it, in arrays of one float type.

    Neuron parameters have shape `[]` (the same for all), `[1, neurons]` or
    `[batch, neurons]`. `recurrent` and `recurrent_delay` are both `None` or both there.

    Arrivals are in lists sorted by time. Either a sample has one list (one *lane*), and an
    arrival of row `k` adds `rows[k]` to the currents; or each neuron has a list (a lane) of
    its own, and in that of neuron `n` it adds `rows[k, n]` to its current only.
    """

    rows: Float[Array, "rows neurons"]
    # A spike of n comes back as copies c, `recurrent_delay[c, n]` ms later (>= 0), and adds
    # `recurrent[c, n]`.
    recurrent: Float[Array, "copies neurons neurons"] | None
    recurrent_delay: Float[Array, "copies neurons"] | None
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array | None  # None: these neurons never spike
    v_reset: Array | None
    bias: Array
    v: Float[Array, "batch neurons"]  # state at t0
    i: Float[Array, "batch neurons"]
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, "events batch lanes"]  # ascending, +inf where empty
    index: Int[Array, "events batch lanes"]  # the row of each arrival

    @property
    def own_lists(self) -> bool:
        """Whether each neuron has a list of its own."""
        return self.times.shape[2] > 1

    @property
    def received(self) -> Float[Array, "events batch neurons"]:
        """What each arrival adds to the current of each neuron in whose list it is."""
        if not self.own_lists:
            return self.rows[self.index[:, :, 0]]
        neuron = jnp.arange(self.rows.shape[1], dtype=jnp.int32)
        return self.rows[self.index, neuron[None, None]]


def one_list(
    rows: Float[Array, "rows neurons"],
    times: Float[Array, "events batch lanes"],
    index: Int[Array, "events batch lanes"],
) -> tuple[Array, Array, Array]:
    """Rows, times and index of the same arrivals in one list for each sample, shape
    `[all, batch]`, for whoever takes one event at a time: each arrival at a single neuron
    becomes one with a row of its own."""
    _, batch, lanes = times.shape
    if lanes == 1:
        return rows, times[:, :, 0], index[:, :, 0]
    neuron = jnp.arange(lanes, dtype=jnp.int32)
    index = index * lanes + neuron[None, None]
    # Row k * neurons + n is that of source k at neuron n, zero elsewhere.
    rows = rows[:, :, None] * jnp.eye(lanes, dtype=rows.dtype)[None]
    flat = lambda x: jnp.moveaxis(x, 1, 0).reshape(batch, -1)
    times, index = sort_events(flat(times), flat(index))
    return rows.reshape(-1, lanes), times.T, index.T


class LayerRun(eqx.Module):
    """What the neurons did. Spikes of `(t0, t1]` sorted by time within each sample, empty
    places `+inf` and source 0. If `num_spikes` exceeds the capacity the lists hold some
    of the spikes only, and the run is to be thrown away."""

    times: Float[Array, "batch capacity"]
    sources: Int[Array, "batch capacity"]
    num_spikes: Int[Array, " batch"]
    v: Float[Array, "batch neurons"]  # state at t1
    i: Float[Array, "batch neurons"]
    num_clipped: Int[Array, " batch"] | None = None  # spikes whose jump is bounded
