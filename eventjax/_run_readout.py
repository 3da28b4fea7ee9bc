"""The readout of a network under e-prop with exact spike times.

A readout is linear in what arrives. So the gradient of its own parameters is that of the
ordinary run with arrivals that count as given; and the gradient by the layers that spike is
that of what the same neurons would make of arrivals weighted by feedback.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from ._adjoint._density import Density
from ._adjoint._exact_eprop import AbstractExactEProp, same, stopped
from ._connection import Dense
from ._layer_arrivals import Arrivals, layer_arrivals, weights
from ._layer_outcome import LayerOutcome
from ._layer_problem import initial_layer_state, make_problem
from ._network import Layer
from ._neuron import DeltaIntegrator, LIFState, VoltageState
from ._solution import LayerState
from ._solver._max_voltage import maximum_times, voltages_then
from ._solver._problem import LayerProblem
from ._solver._sums import currents_at, delta_voltages_at
from ._solver._voltage import voltages_at
from ._solver._voltage_integral import Integral, voltage_integrals
from ._spikes import sort_events, Spikes


Drive = Float[Array, "batch neurons"] | None
Signal = Spikes | Density


def run_readout(
    run: Callable[[Layer, Spikes], LayerOutcome],
    layer: Layer,
    given: Spikes,
    state: LayerState,
    drive: Drive,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    record: Float[Array, "batch times"] | None,
    integral: Integral | None,
    earlier: Sequence[tuple[Layer, Signal]],
    rule: AbstractExactEProp,
) -> LayerOutcome:
    """The outcome of `run`, an ordinary run of the readout, whose gradient goes to each of
    the `earlier` layers by its feedback weights."""
    rows = weights(layer.connection, t1.dtype)
    own = [y.feedback for y, _ in earlier]
    own = [None if b is None else b.astype(t1.dtype) for b in own]
    feedback = [rule.feedback.matrix(rows, b) for b in own]
    # Where feedback weights learn, it is by the gradient of the readout's.
    learnt = [b for b in feedback if b.shape == rows.shape]
    rows = same(rows, rows, *learnt)
    layer = eqx.tree_at(lambda y: y.connection, layer, _dense(rows))
    value = run(layer, stopped(given))

    signals = tuple(signal for _, signal in earlier)
    matrix, spikes = _weighted(signals, stopped(tuple(feedback)))
    routed = Layer(_dense(matrix), stopped(layer.neuron))
    response = _response(routed, spikes, t0, t1, record, stopped(integral))
    where = lambda r: (r.state.neuron, r.voltages, r.voltage_integrals)
    total = same(where(value), where(value), response.outputs)
    total = eqx.tree_at(where, value, total, is_leaf=lambda x: x is None)
    if response.problem is None:
        return total

    arrivals = layer_arrivals(layer, given, state, t0)
    problem = make_problem(layer, arrivals, state, drive, t0, t1)
    when = maximum_times(problem)
    fixed = eqx.tree_at(lambda p: p.times, problem, stopped(problem.times))
    parts = voltages_then(when, fixed), voltages_then(stopped(when), response.problem)
    largest = same(value.max_voltages, *parts)
    return eqx.tree_at(lambda r: r.max_voltages, total, largest)


def _dense(weight: Float[Array, "in out"]) -> Dense:
    bare = eqx.filter_eval_shape(lambda: Dense(*weight.shape, key=jr.key(0)))
    return eqx.tree_at(lambda d: d.weight, bare, weight)


def _weighted(
    signals: tuple[Signal, ...], feedback: tuple[Float[Array, "_ outputs"], ...]
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


class _Response(eqx.Module):
    outputs: tuple[PyTree, Array | None, Array | None]
    problem: LayerProblem | None  # of leaky integrators


def _response(
    layer: Layer,
    spikes: Spikes,
    t0: Array,
    t1: Array,
    record: Array | None,
    integral: Integral | None,
) -> _Response:
    """What a readout makes of spikes: its state at `t1`, voltages and integrals. Sums over
    arrivals, from rest; the derivative by these does not depend on anything else."""
    batch = spikes.times.shape[0]
    end = jnp.broadcast_to(t1, (batch, 1))
    at = end if record is None else jnp.concatenate([record, end], axis=1)
    times, index = (x.T[:, :, None] for x in (spikes.times, spikes.sources))
    if isinstance(layer.neuron, DeltaIntegrator):
        received = weights(layer.connection, t1.dtype)[index[:, :, 0]]
        v = delta_voltages_at(at, times[:, :, 0], received, layer.neuron.tau_mem)
        state, problem, integrals = VoltageState(v[:, -1]), None, None
    else:
        rest = initial_layer_state(layer, batch, t1.dtype)
        problem = make_problem(layer, Arrivals(times, index), rest, None, t0, t1)
        v = voltages_at(at, problem, None)
        state = LIFState(v[:, -1], currents_at(t1, problem))
        integrals = None
        if integral is not None:
            integrals, _ = voltage_integrals(problem, integral)
    outputs = state, None if record is None else v[:, :-1], integrals
    return _Response(outputs, problem)
