"""From a layer, its input and its state to arrays, and from a run back to a state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._connection import AbstractConnection
from ._layer_arrivals import Arrivals, in_flight, row_delays, weights
from ._network import Layer
from ._neuron import LeakyIntegrator, LIF
from ._solution import LayerState
from ._solver._event_problem import EventProblem
from ._solver._problem import LayerProblem, one_list
from ._spikes import Spikes


def initial_layer_state(layer: Layer, batch: int, dtype: Any) -> LayerState:
    """Rest, nothing in flight."""
    rest = layer.neuron.initial_state()

    def batched(x):
        return jnp.broadcast_to(jnp.asarray(x, dtype)[None], (batch, *jnp.shape(x)))

    return LayerState(jax.tree.map(batched, rest))


def _parameter(value: Any, dtype: Any) -> Array:
    """Shape `[]` or `[1, neurons]`."""
    value = jnp.asarray(value, dtype)
    return value[None] if value.ndim == 1 else value


def _returns(connection: AbstractConnection, dtype: Any) -> tuple[Array, Array]:
    """What a layer's own spikes bring back to it, and when."""
    shape = connection.copies, connection.in_size
    delays = row_delays(connection, dtype)
    if delays.shape[1] > 1:
        raise ValueError(
            "Exact solvers do not take a delay for each synapse in a layer's `recurrent` "
            "connection, got `SynapticDelay`: every spike would come back as many times "
            "as there are neurons. Use `AxonalDelay`, one delay for each source, there."
        )
    rows = weights(connection, dtype)
    return rows.reshape(*shape, -1), delays.reshape(shape)


def is_leaky(layer: Layer) -> bool:
    """Whether `make_problem` can state the layer."""
    return isinstance(layer.neuron, (LIF, LeakyIntegrator))


def make_problem(
    layer: Layer,
    arrivals: Arrivals,
    state: LayerState,
    drive: Array | None,
    t0: Array,
    t1: Array,
) -> LayerProblem:
    """The arrays that the solver of LIF layers takes; `arrivals` are those of
    `layer_arrivals`."""
    neuron: Any = layer.neuron
    dtype = t1.dtype
    rows = weights(layer.connection, dtype)
    recurrent = delay = threshold = reset = None
    if isinstance(neuron, LIF):
        threshold = _parameter(neuron.v_threshold, dtype)
        reset = _parameter(neuron.v_reset, dtype)
        if layer.recurrent is not None:
            recurrent, delay = _returns(layer.recurrent, dtype)
            if state.returning is not None:
                back = recurrent.reshape(-1, neuron.size)
                rows = jnp.concatenate([rows, back])
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
        v=state.neuron.v,
        i=state.neuron.i,
        t0=t0,
        t1=t1,
        times=arrivals.times,
        index=arrivals.index,
        streams=arrivals.streams,
    )


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    def one(x):
        return x.astype(dtype) if eqx.is_inexact_array(x) else x

    return jax.tree.map(one, tree)


def make_event_problem(
    layer: Layer,
    arrivals: Arrivals,
    state: LayerState,
    drive: Array | None,
    t0: Array,
    t1: Array,
    record: Float[Array, "batch times"] | None,
) -> tuple[EventProblem, Int[Array, "batch times"] | None]:
    """What solving any neurons event by event takes; and for each time of record its place
    among all of them in ascending order."""
    neuron, dtype = layer.neuron, t1.dtype
    batch = arrivals.times.shape[1]
    rows = weights(layer.connection, dtype)
    recurrent = delay = None
    if layer.recurrent is not None:
        if layer.recurrent.copies > 1:
            raise ValueError(
                "A `DelayLine` as a layer's `recurrent` connection works with `LIF` under "
                f"`ClosedForm`, not with `{type(neuron).__name__}` solved event by event: "
                "use `AxonalDelay`, one delay for each source, there."
            )
        recurrent, delay = (x[0] for x in _returns(layer.recurrent, dtype))
        if state.returning is not None:
            rows = jnp.concatenate([rows, recurrent])
    arrays = arrivals.times, arrivals.index, arrivals.streams
    rows, times, index = one_list(rows, *arrays)
    given = Spikes(times.T, index.T)
    marker = rows.shape[0]
    rows = jnp.pad(rows, ((0, 1), (0, 0)))
    order, num_records = None, 0
    if record is not None:
        num_records = record.shape[1]
        places = jnp.argsort(record, axis=1, stable=True).astype(jnp.int32)
        order = jnp.argsort(places, axis=1).astype(jnp.int32)
        times = jnp.take_along_axis(record, places, axis=1)
        markers = jnp.full(times.shape, marker, jnp.int32)
        given = given.merge(Spikes(times, markers))
    if drive is None:
        drive = jnp.zeros((batch, neuron.size), dtype)
    problem = EventProblem(
        neuron=_cast(neuron, dtype),
        rows=rows,
        recurrent=recurrent,
        recurrent_delay=delay,
        drive=drive,
        state=state.neuron,
        t0=t0,
        t1=t1,
        times=given.times,
        index=given.sources,
        num_records=num_records,
    )
    return problem, order


def final_layer_state(
    layer: Layer,
    given: Spikes,
    start: LayerState,
    sent: Spikes,
    neuron_state: PyTree,
    t1: Array,
    can_be_late: bool,
) -> tuple[LayerState, Bool[Array, " batch"]]:
    """The state at `t1`, and for each sample whether too much is in flight for it.

    `given`: the spikes of the layer before; `start`: the state at `t0`; `sent`: the
    layer's own spikes; `can_be_late`: whether any may arrive after `t1`.
    """
    arriving = returning = None
    full = jnp.zeros(sent.times.shape[0], bool)
    if can_be_late:
        before = start.arriving
        room = max(given.capacity, 0 if before is None else before.capacity)
        arriving, full = in_flight(layer.connection, given, before, t1, room)
    if layer.recurrent is not None and layer.recurrent.delays() is not None:
        returning, more = in_flight(
            layer.recurrent, sent, start.returning, t1, layer.capacity
        )
        full |= more
    return LayerState(neuron_state, arriving, returning), full
