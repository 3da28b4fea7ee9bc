"""What every neuron keeps to under every solver and adjoint that makes sense for it.

One program is compiled for each pair of a neuron and a solver and used for all that is
asked of it: shapes and types, that it compiles once, that halves make a whole, and that
gradients are those of central differences. `test_vmap_equals_batch` is a program more.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_neuron import EVENTS, INPUTS, make_neuron, make_weights, MAKERS, SIZE, T1
from jaxtyping import Array
from networks import dense, random_spikes

import eventjax as ej


BATCH, CAPACITY = 2, 40
CLOSED = [name for name in MAKERS if ej.has_closed_form(make_neuron(name))]
EXACT = [
    *((name, ej.ClosedForm()) for name in CLOSED),
    *(
        (name, ej.DiffraxEvent(diffrax.Dopri8(), rtol=1e-12, atol=1e-12))
        for name in MAKERS
    ),
]


def mark(name: str, solver: ej.AbstractSolver, slow: bool = False):
    """The fast tests run neurons that have a closed form under it, others by Diffrax."""
    again = name in CLOSED and isinstance(solver, ej.DiffraxEvent)
    marks = [pytest.mark.slow] if again or slow else []
    return pytest.param(name, solver, id=f"{name}-{type(solver).__name__}", marks=marks)


PAIRS = [mark(*x) for x in EXACT]


class Given(eqx.Module):
    """All that gradients reach."""

    network: ej.Network
    times: Array
    drive: Array
    state: ej.LayerState


def draw(name: str) -> tuple[Given, Array]:
    rng = np.random.default_rng(7)
    weight, recurrent = make_weights(name)
    layer = ej.Layer(
        dense(weight, jnp.asarray(rng.uniform(0, 2, INPUTS))),
        make_neuron(name),
        dense(recurrent, jnp.asarray(rng.uniform(0.5, 2, SIZE))),
        capacity=CAPACITY,
    )
    spikes = random_spikes(rng, BATCH, EVENTS, INPUTS, 0.8 * T1)
    start = layer.neuron.initial_state()

    def batched(x):
        return jnp.asarray(np.broadcast_to(np.asarray(x, float), (BATCH, SIZE)))

    def nothing(capacity):
        times = np.full((BATCH, capacity), np.inf)
        return ej.Spikes(
            jnp.asarray(times), jnp.asarray(np.zeros_like(times, np.int32))
        )

    # As a run that was ended gives it, so that its programs serve for all runs.
    state = ej.LayerState(
        jax.tree.map(batched, start), nothing(spikes.capacity), nothing(CAPACITY)
    )
    drive = jnp.asarray(rng.uniform(0, 0.05, (BATCH, SIZE)))
    return Given(ej.Network([layer]), spikes.times, drive, state), spikes.sources


def make_run(solver, sources, adjoint):
    """A compiled loss and gradient, and how often it was traced."""
    traces = []

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def run(given: Given, t0, t1):
        traces.append(0)
        # A second half starts with what is in flight.
        first = t0 == 0
        spikes = ej.Spikes(
            jnp.where(first, given.times, jnp.inf), jnp.where(first, sources, 0)
        )
        sol = ej.simulate(
            given.network,
            spikes,
            t1,
            t0=t0,
            state=(given.state,),
            drive=(given.drive,),
            solver=solver,
            adjoint=adjoint,
            throw=False,
        )
        return value(sol), sol

    return run, traces


def value(sol: ej.Solution) -> Array:
    """Of spike times and final voltages, smooth; a spike counts by its source."""
    times, sources = sol.spikes[0].times, sol.spikes[0].sources
    there = jnp.isfinite(times)
    angle = jnp.where(there, times, 0.0) / 3 + sources.astype(times.dtype)
    by_time = jnp.sum(jnp.where(there, jnp.sin(angle), 0.0))
    return by_time + jnp.sum(jnp.tanh(sol.final_state[0].v))


def moved(given: Given, seed: int, size: float) -> tuple[Given, Given]:
    """Everything a bit further in a random direction, and that direction."""
    arrays, rest = eqx.partition(given, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(arrays)
    rng = np.random.default_rng(seed)
    # States of zero and empty times stay what they are: some have a meaning.
    values = [np.asarray(x) for x in leaves]
    fixed = [(x == 0) | ~np.isfinite(x) for x in values]
    steps = [np.where(x, 0.0, rng.normal(size=x.shape)) for x in fixed]
    new = [jnp.asarray(x + size * s) for x, s in zip(values, steps)]
    put = lambda y: eqx.combine(jax.tree.unflatten(treedef, y), rest)
    return put(new), jax.tree.unflatten(treedef, steps)


@pytest.mark.parametrize("name, solver", PAIRS)
def test_contract(name, solver):
    given, sources = draw(name)
    run, traces = make_run(solver, sources, ej.Eventprop())
    zero, end = jnp.array(0.0), jnp.array(T1)
    (_, sol), grads = run(given, zero, end)
    assert sol.okay

    # Shapes, types, order, number.
    spikes, count = sol.spikes[0], sol.num_spikes[0]
    assert spikes.times.shape == spikes.sources.shape == (BATCH, CAPACITY)
    assert spikes.times.dtype == jnp.float64 and spikes.sources.dtype == jnp.int32
    assert sol.frames == (None,)
    np.testing.assert_array_equal(spikes.count(), count)
    assert count.min() >= 3, count
    assert np.all(np.diff(np.where(spikes.times < np.inf, spikes.times, 1e9)) >= 0)
    rest = jax.tree.structure(make_neuron(name).initial_state())
    assert jax.tree.structure(sol.final_state[0].neuron) == rest

    # Two halves make a whole.
    half = jnp.array(11.25)
    (_, one), _ = run(given, zero, half)
    on = eqx.tree_at(lambda g: g.state, given, one.final_state[0])
    (_, two), _ = run(on, half, end)
    for sample in range(BATCH):
        parts = [x.spikes[0].to_ragged()[sample] for x in (one, two)]
        whole = spikes.to_ragged()[sample]
        np.testing.assert_array_equal(np.concatenate([x[1] for x in parts]), whole[1])
        both = np.concatenate([x[0] for x in parts])
        np.testing.assert_allclose(both, whole[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        two.final_state[0].v, sol.final_state[0].v, rtol=1e-7, atol=1e-7
    )

    # Central differences in random directions; the spikes stay the same.
    h = 1e-6
    for seed in range(2):
        up, direction = moved(given, seed, h)
        down, _ = moved(given, seed, -h)
        (high, a), _ = run(up, zero, end)
        (low, b), _ = run(down, zero, end)
        for x in (a, b):
            np.testing.assert_array_equal(x.spikes[0].sources, spikes.sources)
        pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True)
        slope = sum(np.vdot(x, y) for x, y in pairs)
        np.testing.assert_allclose((high - low) / (2 * h), slope, rtol=2e-6, atol=1e-7)
    assert len(traces) == 1


@pytest.mark.parametrize("name", CLOSED)
def test_direct_equals_eventprop(name):
    given, sources = draw(name)
    found = []
    for adjoint in (ej.Eventprop(), ej.Direct()):
        run, _ = make_run(ej.ClosedForm(), sources, adjoint)
        found.append(run(given, jnp.array(0.0), jnp.array(T1))[1])
    for x, y in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)


CLOCKED = ej.Clocked(0.5, max_delay=2.0)
MAPPED = [
    *(mark(name, ej.ClosedForm()) for name in CLOSED),
    *(
        mark(name, ej.DiffraxEvent(rtol=1e-9, atol=1e-9, max_steps=512))
        for name in MAKERS
    ),
    *(mark(name, CLOCKED) for name in MAKERS),
]


@pytest.mark.parametrize("name, solver", MAPPED)
def test_vmap_equals_batch(name, solver):
    given, sources = draw(name)
    adjoint = ej.Surrogate() if isinstance(solver, ej.Clocked) else ej.Eventprop()

    def run(times, sources):
        spikes = ej.Spikes(times, sources)
        return ej.simulate(given.network, spikes, T1, solver=solver, adjoint=adjoint)

    batch = eqx.filter_jit(run)(given.times, sources)
    single = eqx.filter_jit(jax.vmap(run))(given.times, sources)
    if isinstance(solver, ej.Clocked):
        assert batch.frames[0].counts.sum() > 0
        np.testing.assert_array_equal(batch.frames[0].counts, single.frames[0].counts)
        return
    np.testing.assert_array_equal(batch.num_spikes[0], single.num_spikes[0])
    np.testing.assert_allclose(
        batch.spikes[0].times, single.spikes[0].times, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", [x for x in MAKERS if x not in CLOSED])
def test_refused(name):
    given, sources = draw(name)
    spikes = ej.Spikes(given.times, sources)
    with pytest.raises(ValueError, match="`ClosedForm` has no closed form"):
        ej.simulate(given.network, spikes, T1)


ADJOINTS = ej.Eventprop(), ej.Direct(), ej.Surrogate()
SOLVERS = ej.ClosedForm(), ej.DiffraxEvent(), CLOCKED


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda x: type(x).__name__)
def test_adjoints_and_solvers_that_do_not_go_together(solver, adjoint):
    if solver.exact != isinstance(adjoint, ej.Surrogate):
        return adjoint.check(solver)
    given, sources = draw("LIF")
    spikes = ej.Spikes(given.times, sources)
    names = f"{type(adjoint).__name__}.*{type(solver).__name__}"
    with pytest.raises(ValueError, match=names):
        ej.simulate(given.network, spikes, T1, solver=solver, adjoint=adjoint)
