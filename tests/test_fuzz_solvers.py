"""Random networks and spike patterns under all solvers, and what must hold for each.

Each example is a batch of patterns through one network. That spikes are right is proved
by `fuzz_certificate`; that a shift of time, the order of neurons and of simultaneous
events, the other samples of the batch and a halt in between change nothing is proved by
the same certificate, and by comparison where rounding cannot make a difference.
"""

import dataclasses
import functools as ft

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz_certificate import Certificate, certify, Neurons
from fuzz_checks import (
    check_form,
    compare,
    joined,
    okay,
    run,
    same_slopes,
    slopes,
    TALLY,
    ties_reordered,
)
from fuzz_networks import (
    BATCH,
    draw_network,
    draw_spikes,
    Kinds,
    kinds,
    reordered,
    Shape,
    T1,
)
from fuzzing import EXAMPLES, fuzzed

import eventjax as ej


CAPACITY, LITTLE = 128, 12
FAST, LONG = fuzzed(6, shrink=False), fuzzed(EXAMPLES, anew=True, shrink=False)

SHAPES = {
    "feed-forward": Shape(20, outputs=5),
    "recurrent": Shape(5, recurrent=True),
    "delays": Shape(20, recurrent=True, delayed=True),
    "synaptic delays": Shape(5, recurrent=True, delayed=True, synaptic=True),
    "refractory": Shape(4, recurrent=True, delayed=True, refractory=True),
}
SINGLE = {
    f"{name}, float32": dataclasses.replace(SHAPES[name], dtype=np.float32)
    for name in ("feed-forward", "recurrent", "delays", "refractory")
}


pytestmark = pytest.mark.usefixtures("fuzz_tally")


def arrivals(connection, times: np.ndarray, sources: np.ndarray):
    """When spikes arrive in what precision the run has, and what they bring."""
    weight = np.asarray(connection.rows(jnp.arange(connection.in_size)))
    row, delays = weight[sources], connection.delays()
    if delays is None:
        return times, row
    delays = np.asarray(delays)
    if delays.ndim < 2:
        late = np.broadcast_to(delays, weight.shape[0])[sources]
        return times + late, row
    size = weight.shape[1]
    each = times[:, :, None] + delays[sources]
    spread = row[:, :, :, None] * np.eye(size, dtype=row.dtype)
    return each.reshape(BATCH, -1), spread.reshape(BATCH, -1, size)


def prove(
    network: ej.Network, given: ej.Spikes, sol: ej.Solution, t0=0.0, t1=T1, eps=None
) -> Certificate:
    """That all spikes of all samples that ended well are those of the network. `eps` is
    by default that of the float type."""
    good, worst = okay(sol), None
    times, sources = np.asarray(given.times), np.asarray(given.sources)
    eps = float(np.finfo(times.dtype).eps) if eps is None else eps
    for layer, spikes in zip(network.layers, sol.spikes, strict=True):
        if spikes is None:
            break
        when, what = arrivals(layer.connection, times, sources)
        if layer.recurrent is not None:
            back = arrivals(layer.recurrent, spikes.times, spikes.sources)
            when = np.concatenate([when, back[0]], axis=1)
            what = np.concatenate([what, back[1]], axis=1)
        neurons = Neurons.of(layer.neuron)
        claimed = spikes.times, spikes.sources
        one = certify(neurons, (when, what), claimed, t0, t1, eps)
        assert np.all(one.excess[good] <= 1), (
            f"Sample {np.argmax(np.where(good, one.excess, 0))}: the voltage is "
            f"{one.excess[good].max():.3g} times what rounding explains off the threshold."
        )
        if worst is None:
            worst = one
        margin = np.minimum(worst.margin, one.margin)
        slope = np.minimum(worst.slope, one.slope)
        worst = Certificate(one.excess, margin, slope)
        times, sources = spikes.times, spikes.sources
    assert worst is not None
    return worst


def tame(kinds: Kinds, shape: Shape, proof: Certificate) -> np.ndarray:
    """Samples in which rounding cannot grow to another spike. Grazing is inherent: at a
    spike of slope zero the last bit of a voltage decides."""
    calm = kinds.weights != "huge" and "huge" not in kinds.recurrent
    calm &= shape.dtype == np.float64
    return calm & (proof.margin > 1e-4) & (proof.slope > 1e-2)


def assert_all_hold(kinds: Kinds, shape: Shape) -> None:
    network = draw_network(kinds, shape, CAPACITY)
    spikes = draw_spikes(kinds, shape.dtype)
    sol = run(network, spikes)
    check_form(sol, network, 0.0, T1)
    proof = prove(network, spikes, sol)
    which = tame(kinds, shape, proof)
    same = ft.partial(compare, sol, which=which)
    TALLY.add(sol, runs=7)

    # A shift of time.
    shift = 8.0
    late = ej.Spikes(spikes.times + shift, spikes.sources)
    other = run(network, late, shift, T1 + shift)
    check_form(other, network, shift, T1 + shift)
    prove(network, late, other, shift, T1 + shift)
    same(other, shift=shift)

    # The order of the neurons.
    order = np.random.default_rng(kinds.seed).permutation(shape.hidden)
    mixed = reordered(network, order)
    other = run(mixed, spikes)
    prove(mixed, spikes, other)
    same(other, order=order)

    # The order of simultaneous events.
    mixed = ties_reordered(spikes, kinds.seed)
    other = run(network, mixed)
    prove(network, mixed, other)
    same(other)

    # The place in the batch. Not to the last bit: XLA does the last few of many numbers
    # one by one, and an `exp` of one is not that of eight.
    turned = run(network, jax.tree.map(lambda x: jnp.roll(x, 5, axis=0), spikes))
    turned = jax.tree.map(lambda x: np.roll(x, -5, axis=0) if x.ndim else x, turned)
    prove(network, spikes, turned)
    same(turned)

    # A halt in between.
    cut = 0.37 * T1
    if kinds.cut != "anywhere":
        where = spikes.times if kinds.cut == "input" else sol.spikes[0].times
        inside = np.asarray(where)[(np.asarray(where) > 0) & (np.asarray(where) < T1)]
        cut = inside[len(inside) // 2] if len(inside) else cut
    one = run(network, spikes, 0.0, cut)
    check_form(one, network, 0.0, cut)
    nothing = ej.Spikes(jnp.full_like(spikes.times, jnp.inf), 0 * spikes.sources)
    two = run(network, nothing, cut, T1, one.final_state)
    check_form(two, network, cut, T1)
    whole = joined(one, two)
    both = okay(one) & okay(two)
    whole = eqx.tree_at(
        lambda s: s.result._value, whole, np.where(both, two.result._value, 1)
    )
    prove(network, spikes, whole)
    same(whole)


def assert_room_is_enough(kinds: Kinds, shape: Shape) -> None:
    """Other capacities, and more room for the input, change nothing; too little room is an
    error that says how much there is need of."""
    network = draw_network(kinds, shape, CAPACITY)
    spikes = draw_spikes(kinds, shape.dtype)
    sol = run(network, spikes)
    small = draw_network(kinds, shape, LITTLE)
    TALLY.add(sol, runs=2)
    pad = ((0, 0), (0, 13))
    wide = ej.Spikes(
        jnp.pad(spikes.times, pad, constant_values=np.inf), jnp.pad(spikes.sources, pad)
    )
    other = run(small, wide)
    check_form(other, small, 0.0, T1)
    prove(small, wide, other)
    # Not to the last bit: a program of another size may do numbers in other groups.
    which = tame(kinds, shape, prove(network, spikes, sol)) & okay(sol)
    compare(sol, other, which)
    good = which
    for m, n in zip(other.num_spikes, sol.num_spikes, strict=True):
        if m is None:
            continue
        # The first layer for which there is too little room says so.
        full = good & ~okay(other) & (m > LITTLE)
        assert np.all(m[full] <= n[full])
        good = good & (m <= LITTLE)
        np.testing.assert_array_equal(m[good], n[good])
        np.testing.assert_array_equal(good, good & (n <= LITTLE))
    assert np.all(okay(other)[good])
    for x, y in zip(other.final_state, sol.final_state, strict=True):
        for a, b in zip(jax.tree.leaves(x.neuron), jax.tree.leaves(y.neuron)):
            np.testing.assert_allclose(a[good], b[good], rtol=1e-6, atol=1e-6)


def assert_proved_under_diffrax(kinds: Kinds, shape: Shape) -> None:
    """By error-controlled steps: the same proof, to the tolerance of the solver."""
    network, spikes = (
        draw_network(kinds, shape, CAPACITY),
        draw_spikes(kinds, np.float64),
    )
    solver = ej.DiffraxEvent(rtol=1e-9, atol=1e-9, max_steps=8192)
    sol = run(network, spikes, solver=solver)
    count = sol.num_spikes[0]
    TALLY.add(sol, runs=1)
    known = [
        ej.RESULTS.successful,
        ej.RESULTS.capacity_exceeded,
        ej.RESULTS.max_steps_exceeded,
    ]
    assert np.all(np.any([np.asarray(sol.result == x) for x in known], axis=0))
    assert np.all(count[okay(sol)] <= CAPACITY)
    prove(network, spikes, sol, eps=1e-6)


@eqx.filter_jit
def _run_clocked(network, spikes):
    solver, adjoint = ej.Clocked(0.5, max_delay=2 * T1), ej.Surrogate()
    inputs = dict(solver=solver, adjoint=adjoint, throw=False)
    return ej.simulate(network, spikes, T1, **inputs)


def assert_clocked(kinds: Kinds, shape: Shape) -> None:
    """On a time grid nothing is left to prove, but orders and the batch do not matter."""
    network, spikes = (
        draw_network(kinds, shape, CAPACITY),
        draw_spikes(kinds, np.float64),
    )
    sol = _run_clocked(network, spikes)
    assert okay(sol).all()
    frames = np.asarray(sol.frames[0].counts)
    assert np.all(np.isfinite(frames) & (frames >= 0) & (frames == np.round(frames)))
    for leaf in jax.tree.leaves([x.neuron for x in sol.final_state]):
        assert np.isfinite(leaf).all()
    TALLY.networks += 1
    TALLY.patterns += BATCH
    TALLY.spikes += int(frames.sum())
    TALLY.runs += 4
    if kinds.weights == "grazing":  # the last bit of a sum decides
        return
    order = np.random.default_rng(kinds.seed).permutation(shape.hidden)
    other = _run_clocked(reordered(network, order), spikes)
    np.testing.assert_array_equal(other.frames[0].counts, frames[:, :, order])
    other = _run_clocked(network, ties_reordered(spikes, kinds.seed))
    np.testing.assert_array_equal(other.frames[0].counts, frames)
    other = _run_clocked(
        network, jax.tree.map(lambda x: jnp.roll(x, 5, axis=0), spikes)
    )
    np.testing.assert_array_equal(np.roll(other.frames[0].counts, -5, axis=0), frames)


def assert_gradients_agree(kinds: Kinds, shape: Shape) -> None:
    """Eventprop and Direct, in samples where no spike grazes; finite in all others where
    none has a slope of zero."""
    network, spikes = (
        draw_network(kinds, shape, CAPACITY),
        draw_spikes(kinds, np.float64),
    )
    sol = run(network, spikes)
    proof = prove(network, spikes, sol)
    TALLY.add(sol, runs=3)
    steep = okay(sol) & (proof.slope > 1e-6)
    found = slopes(network, spikes, jnp.asarray(steep), ej.Eventprop())
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf).all()
    which = jnp.asarray(okay(sol) & tame(kinds, shape, proof))
    same_slopes(network, spikes, which)


def named(*names: str):
    shapes = SHAPES | SINGLE
    return pytest.mark.parametrize(
        "shape", [pytest.param(shapes[x], id=x) for x in names]
    )


@named("delays", "refractory")
@FAST
@hypothesis.given(kinds=kinds())
def test_invariants(shape, kinds):
    assert_all_hold(kinds, shape)


@named("refractory")
@FAST
@hypothesis.given(kinds=kinds())
def test_room(shape, kinds):
    assert_room_is_enough(kinds, shape)


@FAST
@hypothesis.given(kinds=kinds())
def test_clocked(kinds):
    assert_clocked(kinds, SHAPES["delays"])


@pytest.mark.slow
@named(*SHAPES, *SINGLE)
@LONG
@hypothesis.given(kinds=kinds())
def test_invariants_at_length(shape, kinds):
    assert_all_hold(kinds, shape)


@pytest.mark.slow
@named(*SHAPES, *SINGLE)
@LONG
@hypothesis.given(kinds=kinds())
def test_room_at_length(shape, kinds):
    assert_room_is_enough(kinds, shape)


@pytest.mark.slow
@named("recurrent", "synaptic delays", "refractory")
@LONG
@hypothesis.given(kinds=kinds())
def test_gradients_at_length(shape, kinds):
    assert_gradients_agree(kinds, shape)


@pytest.mark.slow
@named("refractory")
@hypothesis.settings(LONG, max_examples=max(EXAMPLES // 8, 1))
@hypothesis.given(kinds=kinds())
def test_diffrax_at_length(shape, kinds):
    assert_proved_under_diffrax(kinds, shape)


@pytest.mark.slow
@named("delays", "refractory", "synaptic delays")
@LONG
@hypothesis.given(kinds=kinds())
def test_clocked_at_length(shape, kinds):
    assert_clocked(kinds, shape)
