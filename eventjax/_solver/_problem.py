"""What every way of solving a LIF layer is given, and what it gives back."""

import equinox as eqx
from jaxtyping import Array, Float, Int


class LayerProblem(eqx.Module):
    """A layer of LIF neurons and all that arrives at it, in arrays of one float type.

    Neuron parameters have shape `[]` (the same for all), `[1, neurons]` or
    `[batch, neurons]`. `recurrent` and `recurrent_delay` are both `None` or both there.
    """

    rows: Float[Array, "rows neurons"]  # an arrival of row k adds rows[k] to I
    recurrent: Float[Array, "neurons neurons"] | None  # spike of n adds recurrent[n]
    recurrent_delay: Float[Array, " neurons"] | None  # ms after the spike, >= 0
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array | None  # None: these neurons never spike
    v_reset: Array | None
    bias: Array
    v: Float[Array, "batch neurons"]  # state at t0
    i: Float[Array, "batch neurons"]
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    times: Float[Array, "batch events"]  # arrivals, ascending, +inf where empty
    index: Int[Array, "batch events"]  # the row of each arrival


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
