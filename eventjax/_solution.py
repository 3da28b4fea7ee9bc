"""What a simulation gives back, and what can have gone wrong."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._spikes import Frames, Spikes


class RESULTS(eqxi.Enumeration):
    """How a simulation ended. The values are the messages."""

    successful = ""
    capacity_exceeded = (
        "A layer emitted more spikes in one sample than its `capacity`. Give the layer a "
        "larger `capacity`; `ej.init.suggest_capacity` finds one."
    )
    invalid_times = (
        "`spikes.times` holds a time that is NaN or before `t0` (negative, if `t0` is 0). "
        "Times are in ms from the start of the trial; an empty place is `+inf`."
    )
    unsorted_times = (
        "`spikes.times` is not in ascending order along its last axis. Sort each sample, "
        "or make the list with `Spikes.from_ragged` or `Spikes.from_dense`."
    )
    source_out_of_range = (
        "`spikes.sources` holds a source that is negative or not below the number of "
        "sources that the first connection takes (its `in_size`)."
    )
    invalid_frames = "`spikes.counts` holds a value that is NaN or infinite."
    invalid_duration = "`t1` must be finite and after `t0`."
    duration_too_long = (
        "`t1` is too long for its float type: times near it are coarser than 1e-4 of the "
        "smallest time constant. Use float64, or run in parts with `state`, each with "
        "times that start again from 0."
    )
    invalid_parameters = (
        "A layer has a time constant that is not positive, a `v_reset` that is not below "
        "`v_threshold`, a `delay` that is negative, or a parameter that is NaN."
    )
    in_flight_exceeded = (
        "More spikes are in flight at `t1` than the state can hold. Give the layer a "
        "larger `capacity`, or the input spikes a larger one."
    )
    delay_too_long = (
        "A delay is longer than `max_delay` of `Clocked` allows: give a larger one."
    )
    no_convergence = (
        "The solver could not take a step within its tolerances. Is the neuron's "
        "`vector_field` finite, also beyond its threshold? Larger `rtol` and `atol`, or a "
        "solver for stiff equations, may help."
    )
    max_steps_exceeded = (
        "A sample needed more steps than `max_steps` of the solver allows. Give a larger "
        "`max_steps`, or larger `rtol` and `atol`."
    )
    weighting_unresolved = (
        "The weighting of `integrate` or the trial is not one that can be integrated "
        "exactly: the function of `Smooth` must be smooth and finite on [0, 1], and "
        "`t1 - t0` at most 1000 times the smallest time constant of the last layer."
    )
    nonfinite_gradients = (
        "Gradients are not finite: a spike grazes the threshold. `Eventprop(max_jump=...)` "
        "bounds its gradient."
    )


class LayerState(eqx.Module):
    """The state of a layer at one time; goes in and comes out of `simulate`.

    **Fields:**

    - `neuron`: the state of the neurons, as their `initial_state` has it but with the
        batch axes in front, `[*batch, neurons]`; for instance an `LIFState`.
    - `arriving`: spikes of the layer before that have not arrived everywhere yet (when
        they were sent, in ms, and sources), or `None`.
    - `returning`: the same for the layer's own spikes on their way back to it.
    - `pending`: on a time grid (`Clocked`) instead of these two what spikes in flight will
        add to the currents in the next steps, shape `[*batch, steps, neurons]`, or `None`.
    """

    neuron: PyTree[Float[Array, "*batch neurons"]]
    arriving: Spikes | None = None
    returning: Spikes | None = None
    pending: Float[Array, "*batch steps neurons"] | None = None

    @property
    def v(self) -> Float[Array, "*batch neurons"]:
        """The voltage, for neurons whose state has a field `v`."""
        return self.neuron.v

    @property
    def i(self) -> Float[Array, "*batch neurons"]:
        """The synaptic current, for neurons whose state has a field `i`."""
        return self.neuron.i


class Solution(eqx.Module):
    """What a network did between `t0` and `t1`.

    **Fields:**

    - `spikes`: for each layer the `Spikes` it emitted, `None` for one that never spikes,
        or if the run was on a time grid.
    - `frames`: for each layer the `Frames` of a run on a time grid (`Clocked`), `None` for
        one that never spikes, or if spike times are exact.
    - `num_spikes`: for each layer the number of spikes of each sample, shape `[*batch]`;
        more than the layer's capacity means that so many, or more, would be needed.
    - `num_clipped`: for each layer how many of these have their gradient bounded by
        `Eventprop(max_jump=...)`.
    - `final_state`: for each layer its `LayerState` at `t1`.
    - `voltages`: for each layer the voltages at the times asked for with `record`, shape
        `[*batch, times, neurons]`, or `None`.
    - `max_voltages`: the largest voltage of each neuron of the last layer if that never
        spikes, shape `[*batch, neurons]`, exact between arrivals too (on a time grid the
        largest at a grid point); else `None`.
    - `voltage_integrals`: the integral over voltage asked for with `integrate`, of each
        neuron of the last layer, shape `[*batch, neurons]`, or `None`.
    - `slopes`: for each layer of `LIF` under `ClosedForm` and `Eventprop` how steep the
        voltage is just before each spike, per ms and of the shape of its `Spikes`, 0 in
        empty places; else `None`. Without gradient.
    - `result`: how each sample ended, a member of `RESULTS` of shape `[*batch]`.
    - `t0`, `t1`: the interval in ms.

    Differentiable: times of spikes, voltages and their integrals, final state; on a time
    grid frames instead of times.
    """

    spikes: tuple[Spikes | None, ...]
    frames: tuple[Frames | None, ...]
    num_spikes: tuple[Int[Array, "*batch"] | None, ...]
    num_clipped: tuple[Int[Array, "*batch"] | None, ...]
    final_state: tuple[LayerState, ...]
    voltages: tuple[Float[Array, "*batch times _"], ...] | None
    max_voltages: Float[Array, "*batch neurons"] | None
    result: RESULTS
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    voltage_integrals: Float[Array, "*batch neurons"] | None = None
    slopes: tuple[Float[Array, "*batch _"] | None, ...] = ()

    @property
    def first_spike_times(self) -> Float[Array, "*batch neurons"]:
        """When each neuron of the last layer fires first, in ms; `+inf` if it is
        silent. On a time grid the start of the step, which has no gradient."""
        size = jax.tree.leaves(self.final_state[-1].neuron)[0].shape[-1]
        if self.spikes[-1] is not None:
            return self.spikes[-1].first(size).times
        if self.frames[-1] is not None:
            return self.frames[-1].first().times
        raise ValueError(
            "The last layer never spikes, so it has no `first_spike_times`: end the "
            "network with neurons that do, as `LIF`, or use `final_state`, `voltages` or "
            "`max_voltages`."
        )

    @property
    def okay(self) -> Array:
        """Whether all samples ended well."""
        return jnp.all(self.result == RESULTS.successful)
