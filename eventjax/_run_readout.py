"""The readout of a network under e-prop with exact spike times.

A readout is linear in what arrives. So the gradient of its own parameters is that of the
ordinary run with arrivals that count as given; and the gradient by the layers that spike is
that of a second readout, of the same neurons, whose arrivals are weighted by feedback.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ._adjoint._density import Density
from ._adjoint._exact_eprop import AbstractExactEProp, same, stopped
from ._connection import Dense
from ._layer_arrivals import layer_arrivals, weights
from ._layer_outcome import LayerOutcome
from ._layer_problem import make_problem
from ._network import Layer
from ._neuron import LeakyIntegrator
from ._solution import LayerState
from ._solver._max_voltage import maximum_times, voltages_then
from ._solver._voltage_integral import Integral
from ._spikes import sort_events, Spikes


Drive = Float[Array, "batch neurons"] | None
Signal = Spikes | Density
Run = Callable[[Layer, Spikes, LayerState, Drive, Integral | None], LayerOutcome]


def run_readout(
    run: Run,
    layer: Layer,
    given: Spikes,
    state: LayerState,
    drive: Drive,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    integral: Integral | None,
    earlier: Sequence[tuple[Layer, Signal]],
    rule: AbstractExactEProp,
) -> LayerOutcome:
    """The outcome of `run`, whose gradient goes to each of the `earlier` layers by its
    feedback weights. `run` is that of a layer under an adjoint that is exact."""
    rows = weights(layer.connection, t1.dtype)
    own = [y.feedback for y, _ in earlier]
    own = [None if b is None else b.astype(t1.dtype) for b in own]
    feedback = [rule.feedback.matrix(rows, b) for b in own]
    # Where feedback weights learn, it is by the gradient of the readout's.
    learnt = [b for b in feedback if b.shape == rows.shape]
    layer = eqx.tree_at(
        lambda y: y.connection, layer, _dense(same(rows, rows, *learnt))
    )
    value = run(layer, stopped(given), state, drive, integral)

    matrix, spikes = _weighted(tuple(s for _, s in earlier), stopped(tuple(feedback)))
    routed = Layer(_dense(matrix), stopped(layer.neuron))
    start = LayerState(stopped(state.neuron))
    inputs = spikes, start, stopped(drive)
    part = run(routed, *inputs, stopped(integral))
    where = lambda r: (r.state.neuron, r.voltages, r.voltage_integrals)
    total = eqx.tree_at(
        where,
        value,
        same(where(value), where(value), where(part)),
        is_leaf=lambda x: x is None,
    )
    if not isinstance(layer.neuron, LeakyIntegrator):
        return total
    problem = _problem(layer, given, state, drive, t0, t1)
    when = maximum_times(problem)
    fixed = eqx.tree_at(lambda p: p.times, problem, stopped(problem.times))
    also = voltages_then(stopped(when), _problem(routed, *inputs, t0, t1))
    largest = same(value.max_voltages, voltages_then(when, fixed), also)
    return eqx.tree_at(lambda r: r.max_voltages, total, largest)


def _problem(layer, given, state, drive, t0, t1):
    arrivals = layer_arrivals(layer, given, state, t0)
    return make_problem(layer, arrivals, state, drive, t0, t1)


def _dense(weight: Float[Array, "in out"]) -> Dense:
    bare = eqx.filter_eval_shape(lambda: Dense(*weight.shape, key=jr.key(0)))
    return eqx.tree_at(lambda d: d.weight, bare, weight)


def _weighted(
    signals: tuple[Signal, ...], feedback: tuple[Float[Array, "neurons outputs"], ...]
) -> tuple[Float[Array, "rows outputs"], Spikes]:
    """All that the layers did as spikes of sources, and the weights of these."""
    rows, times, sources, first = [], [], [], 0
    for signal, matrix in zip(signals, feedback, strict=True):
        if isinstance(signal, Density):
            # Each node of each sample is a source: its weights are what all neurons spike.
            shape = signal.times.shape
            matrix = jnp.matmul(signal.spiked, matrix, precision="highest")
            matrix = matrix.reshape(-1, matrix.shape[2])
            source = jnp.arange(len(matrix), dtype=jnp.int32).reshape(shape)
        else:
            source = signal.sources
        rows.append(matrix)
        times.append(signal.times)
        sources.append(first + source)
        first += len(matrix)
    if len(rows) == 1:
        return rows[0], Spikes(times[0], sources[0])
    each = [jnp.concatenate(x, axis=1) for x in (times, sources)]
    return jnp.concatenate(rows), Spikes(*sort_events(*each))
