"""From a layer, its input and its state to arrays, and from a run back to a state."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._connection import AbstractConnection
from ._network import Layer
from ._neuron import LeakyIntegrator, LIF
from ._solution import LayerState
from ._solver._problem import LayerProblem, LayerRun
from ._spikes import sort_events, Spikes


def initial_layer_state(layer: Layer, batch: int, dtype: Any) -> LayerState:
    """Rest, nothing in flight."""
    zeros = jnp.zeros((batch, layer.neuron.size), dtype)
    return LayerState(zeros, zeros)


def _arrivals(connection: AbstractConnection, spikes: Spikes) -> Spikes:
    """When the spikes arrive, sorted."""
    delays = connection.delays()
    if delays is None:
        return spikes
    delays = jnp.asarray(delays, spikes.times.dtype)
    if delays.ndim == 0:  # keeps the order
        return Spikes(spikes.times + delays, spikes.sources)
    return Spikes(*sort_events(spikes.times + delays[spikes.sources], spikes.sources))


def _matrix(connection: AbstractConnection, dtype: Any) -> Float[Array, "in out"]:
    return connection.rows(jnp.arange(connection.in_size)).astype(dtype)


def _parameter(value: Any, dtype: Any) -> Array:
    """Shape `[]` or `[1, neurons]`."""
    value = jnp.asarray(value, dtype)
    return value[None] if value.ndim == 1 else value


def layer_arrivals(layer: Layer, spikes: Spikes, state: LayerState) -> Spikes:
    """All that arrives from before, and own spikes that were in flight at `t0` as
    sources behind those of the connection."""
    arrivals = _arrivals(layer.connection, spikes)
    if state.arriving is not None:
        arrivals = state.arriving.merge(arrivals)
    if state.returning is not None:
        back = state.returning
        sources = back.sources + layer.connection.in_size
        arrivals = arrivals.merge(Spikes(back.times, sources))
    return arrivals


def make_problem(
    layer: Layer,
    arrivals: Spikes,
    state: LayerState,
    drive: Array | None,
    t0: Array,
    t1: Array,
) -> LayerProblem:
    """The arrays that a solver takes; `arrivals` are those of `layer_arrivals`."""
    neuron = layer.neuron
    if not isinstance(neuron, (LIF, LeakyIntegrator)):
        raise ValueError(
            "`ClosedForm` solves `LIF` and `LeakyIntegrator` neurons, got "
            f"`{type(neuron).__name__}`."
        )
    dtype = t1.dtype
    rows = _matrix(layer.connection, dtype)
    recurrent = delay = threshold = reset = None
    if isinstance(neuron, LIF):
        threshold = _parameter(neuron.v_threshold, dtype)
        reset = _parameter(neuron.v_reset, dtype)
        if layer.recurrent is not None:
            recurrent = _matrix(layer.recurrent, dtype)
            delays = layer.recurrent.delays()
            delay = jnp.asarray(0.0 if delays is None else delays, dtype)
            delay = jnp.broadcast_to(delay, (neuron.size,))
            if state.returning is not None:
                rows = jnp.concatenate([rows, recurrent])
    bias = _parameter(neuron.bias, dtype)
    return LayerProblem(
        rows=rows,
        recurrent=recurrent,
        recurrent_delay=delay,
        tau_mem=_parameter(neuron.tau_mem, dtype),
        tau_syn=_parameter(neuron.tau_syn, dtype),
        v_threshold=threshold,
        v_reset=reset,
        bias=bias if drive is None else bias + drive,
        v=state.v,
        i=state.i,
        t0=t0,
        t1=t1,
        times=arrivals.times,
        index=arrivals.sources,
    )


def _later(
    spikes: Spikes, t1: Array, room: int
) -> tuple[Spikes, Bool[Array, " batch"]]:
    """The spikes after `t1`, in at most `room` places, and whether they do not fit."""
    late = (spikes.times > t1) & jnp.isfinite(spikes.times)
    # Not of the sorted times: where only this is used nothing need be sorted.
    too_many = jnp.sum(late, axis=1) > room
    times, sources = sort_events(jnp.where(late, spikes.times, jnp.inf), spikes.sources)
    sources = jnp.where(jnp.isfinite(times), sources, 0)
    return Spikes(times[:, :room], sources[:, :room]), too_many


def final_layer_state(
    layer: Layer,
    run: LayerRun,
    arrivals: Spikes,
    arriving_room: int,
    t1: Array,
    can_be_late: bool,
) -> tuple[LayerState, Bool[Array, " batch"]]:
    """The state at `t1`, and for each sample whether too much is in flight for it.

    `can_be_late`: whether spikes may arrive after `t1` at all.
    """
    arriving = returning = None
    full = jnp.zeros(run.v.shape[0], bool)
    in_size = layer.connection.in_size
    if can_be_late:
        own = arrivals.sources >= in_size
        times = jnp.where(own, jnp.inf, arrivals.times)
        arriving, full = _later(Spikes(times, arrivals.sources), t1, arriving_room)
    if layer.recurrent is not None and layer.recurrent.delays() is not None:
        sent = _arrivals(layer.recurrent, Spikes(run.times, run.sources))
        own = arrivals.sources >= in_size
        old = Spikes(
            jnp.where(own, arrivals.times, jnp.inf),
            jnp.where(own, arrivals.sources - in_size, 0),
        )
        returning, more = _later(
            Spikes(*sort_events(old.times, old.sources)).merge(sent), t1, layer.capacity
        )
        full |= more
    return LayerState(run.v, run.i, arriving, returning), full
