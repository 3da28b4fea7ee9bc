"""A layer under `DensityEProp`: exact spikes first, then the course to differentiate."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._adjoint import DensityEProp
from ._adjoint._density import Course, course, Timeline
from ._adjoint._exact_eprop import same, stopped
from ._layer_arrivals import layer_arrivals, weights
from ._layer_outcome import LayerOutcome
from ._network import Layer
from ._solution import LayerState
from ._solver._problem import one_list
from ._spikes import Spikes


_NO_TIMES = (
    "Spike times have no gradient under `DensityEProp`: let the loss read voltages of the "
    "readout, or use the adjoint `EventEProp()`."
)


def run_density(
    outcome: LayerOutcome,
    layer: Layer,
    given: Spikes,
    state: LayerState,
    drive: Float[Array, "batch neurons"] | None,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    record: Float[Array, "batch times"] | None,
    rule: DensityEProp,
) -> LayerOutcome:
    """The outcome of an ordinary run of the layer with the derivative of the rule, and with
    the density of its spikes."""
    exact = stopped(outcome)
    found, voltages = _follow(
        layer, exact.out, given, state, drive, t0, t1, record, rule
    )
    # Tied to what is learnt, or a gradient would be zero and nobody would notice.
    tie = 0.0 * jnp.sum(found.state.v, axis=1, keepdims=True)
    times = eqxi.nondifferentiable_backward(
        exact.out.times + tie, msg=_NO_TIMES, symbolic=True
    )
    where = lambda r: (r.out.times, r.state.neuron, r.voltages, r.density)
    new = (
        times,
        same(exact.state.neuron, found.state),
        None if voltages is None else same(exact.voltages, voltages),
        found.density,
    )
    return eqx.tree_at(where, exact, new, is_leaf=lambda x: x is None)


@eqx.filter_jit
def _follow(
    layer, own, given, state, drive, t0, t1, record, rule
) -> tuple[Course, Float[Array, "batch times neurons"] | None]:
    neuron = jax.tree.map(
        lambda x: x.astype(t1.dtype) if eqx.is_inexact_array(x) else x, layer.neuron
    )
    if drive is None:
        drive = jnp.zeros_like(state.neuron.v)
    timeline, places = _timeline(layer, own, given, state, t0, t1, record)
    arrays = state.neuron, drive, t0
    found = course(neuron, timeline, *arrays, rule.shape, rule.substeps)
    voltages = None
    if record is not None:
        sample = jnp.arange(record.shape[0], dtype=jnp.int32)[:, None]
        voltages = found.v[places, sample]
    return found, voltages


def _timeline(
    layer: Layer,
    own: Spikes,
    given: Spikes,
    state: LayerState,
    t0: Array,
    t1: Array,
    record: Array | None,
) -> tuple[Timeline, Array]:
    """Own spikes, all that arrives, times of record and the end; and the places of the
    times of record, `[batch, times]`."""
    rows = weights(layer.connection, t1.dtype)
    if layer.recurrent is not None:
        # Own spikes arrive as those do that were in flight at the start.
        rows = jnp.concatenate([rows, weights(layer.recurrent, t1.dtype)])
        sent = own if state.returning is None else state.returning.merge(own)
        state = LayerState(state.neuron, state.arriving, sent)
    arrivals = layer_arrivals(layer, given, state, t0)
    arrays = arrivals.times, arrivals.index, arrivals.streams
    rows, arrival, index = one_list(rows, *arrays)
    batch = arrival.shape[1]
    end = jnp.full((1, batch), t1, t1.dtype)
    marks = end if record is None else jnp.concatenate([record.T, end])

    spike_times = own.times.T
    times = jnp.concatenate([spike_times, arrival, marks])
    here = times <= t1
    times = jnp.where(here, times, t1)
    count, spikes = len(marks), len(spike_times)
    index = jnp.pad(index, ((spikes, count), (0, 0)), constant_values=len(rows))
    index = jnp.where(here, index, len(rows))
    unused = times.shape[0] - spikes
    source = jnp.pad(own.sources.T, ((0, unused), (0, 0)), constant_values=-1)
    source = jnp.where(here, source, -1)

    order = jnp.argsort(stopped(times), axis=0, stable=True)
    back = jnp.argsort(order, axis=0)
    put = lambda x: jnp.take_along_axis(x, order, axis=0)
    rows = jnp.pad(rows, ((0, 1), (0, 0)))  # the last one is that of no arrival
    timeline = Timeline(put(times), rows[put(index)], put(source))
    return timeline, back[times.shape[0] - count : -1].T
