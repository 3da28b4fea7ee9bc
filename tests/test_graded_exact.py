"""Gated layers in exact time: against an integrator, a layer of frames and by hand."""

import equinox as eqx
import graded_exact_reference as reference
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import brentq

from eventjax import Spikes
from eventjax.graded import (
    Classifier,
    Conventional,
    Encoder,
    exact,
    ExactGated,
    ExactSpikes,
    fold,
    Gated,
    Quantiser,
    Readout,
)


FRAME, T1, CAPACITY = 10.0, 60.0, 40
RUN = eqx.filter_jit(lambda layer, given, t1: layer(given, t1))


def _spikes(times, sources, sizes):
    times, sizes = jnp.asarray(times, float), jnp.asarray(sizes, float)
    return ExactSpikes(Spikes(times, jnp.asarray(sources, jnp.int32)), sizes)


def _setting(recurrent, ties=False):
    """Two inputs of either sign, three units: one that gets a current without input, one
    that forgets fast and one that hardly does."""
    rng = np.random.default_rng(3)
    times = np.sort(rng.uniform(0, 50, 9))
    if ties:
        times[3], times[6:8] = times[2], times[8]
    return {
        "weight": jnp.asarray(rng.normal(size=(2, 6)) * 1.5),
        "recurrent": jnp.asarray(rng.normal(size=(3, 6)) * 2) if recurrent else None,
        "shift": jnp.asarray([0.3, -1.5, 3.0, 0.4, -0.2, 0.05]),
        "threshold": jnp.asarray(0.37),
        "times": jnp.asarray(times),
        "sources": jnp.asarray(rng.integers(0, 2, 9), jnp.int32),
        "sizes": jnp.asarray(rng.choice([-1.0, 1.0], 9) + 0.1),
    }


def _run(p, coincidence=0.0, run=RUN, **more):
    layer = ExactGated(
        p["weight"],
        p["shift"],
        p["threshold"],
        recurrent=p["recurrent"],
        delay=7.0,
        coincidence=coincidence,
        capacity=CAPACITY,
        **more,
    )
    return run(layer, _spikes(p["times"], p["sources"], p["sizes"]), T1)


@pytest.mark.parametrize("coincidence", [0.0, 4.0])
@pytest.mark.parametrize("recurrent", [False, True])
def test_events_are_those_of_an_integrator(recurrent, coincidence):
    p = _setting(recurrent, ties=True)
    passed = _run(p, coincidence)
    known = reference.integrate(p, T1, FRAME, 7.0, coincidence)
    spikes, current, potential, order = known
    (times, sources), *_ = passed.outputs.spikes.to_ragged()
    np.testing.assert_allclose(times, [t for t, _ in spikes], atol=1e-8, rtol=0)
    np.testing.assert_array_equal(sources, [unit for _, unit in spikes])
    np.testing.assert_allclose(passed.state.current, current, atol=1e-9)
    np.testing.assert_allclose(passed.state.potential, potential, atol=1e-9)
    assert len(spikes) > 10 and len(set(sources)) == 3
    assert len([x for x in order if x[0] == "own"]) > (5 if recurrent else -1)
    # What merging does is seen
    apart = reference.integrate(p | {"times": p["times"] + 1e-6 * np.arange(9)}, T1,
                                FRAME, 7.0)
    assert len(apart[0]) != len(spikes) or abs(apart[2] - potential).max() > 1e-3


def test_what_is_emitted_is_the_integral_but_for_what_is_left():
    p = _setting(False)
    passed = _run(p)
    emitted = passed.outputs.per_frame(3, 6).sum(0)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    shift, c = np.asarray(p["shift"]), np.maximum(p["shift"][3:], 0)
    rate = np.log1p(np.exp(-shift[:3])) / FRAME
    i, area = np.zeros(3), np.zeros(3)
    edges = [0.0, *np.asarray(p["times"]), T1]
    for k, (t, end) in enumerate(zip(edges, edges[1:])):
        if k:
            drive = shift + p["sizes"][k - 1] * p["weight"][p["sources"][k - 1]]
            f = reference.sigmoid(np.asarray(drive[:3]))
            i = f * i + (1 - f) * np.maximum(drive[3:], 0)
        at = (nodes[:, None] + 1) / 2 * (end - t)
        course = c + (i - c) * np.exp(-rate * at)
        area += (end - t) / 2 * weights @ course / FRAME
        i = c + (i - c) * np.exp(-rate * (end - t))
    np.testing.assert_allclose(emitted + passed.state.potential, area, rtol=1e-12)
    assert np.all(emitted > 0)
    assert np.all((passed.state.potential >= 0) & (passed.state.potential < 0.37))


def _frames_as_events(x):
    """Features as events at the start of each frame, all at once, beside one that opens
    the gates, which are shut in between."""
    frames, inputs = x.shape
    times = np.repeat(np.arange(frames) * FRAME, inputs + 1)
    sources = np.tile(np.arange(inputs + 1), frames)
    sizes = np.concatenate([x, np.ones((frames, 1))], axis=1).reshape(-1)
    return _spikes(times, sources, sizes)


@pytest.mark.parametrize("dead_zone", [0, 3])
def test_a_current_that_is_constant_over_frames_makes_a_layer_of_frames(dead_zone):
    layer = Gated(
        3, 4, Quantiser(6, dead_zone, range=3.0), recurrent=False, key=jr.key(1)
    ).folded()
    where = lambda y: y.normalisation.shift
    layer = eqx.tree_at(where, layer, jnp.asarray(np.linspace(-1, 1, 8)))
    x = np.random.default_rng(5).normal(size=(15, 3)) * 2
    of_frames = np.asarray(layer(jnp.asarray(x)[None]).outputs[0])
    shift = where(layer)
    hold = jnp.where(jnp.arange(8) < 4, 50.0, 0.0)  # a gate that keeps all
    weight = jnp.concatenate([layer.weight, (shift - hold)[None]])
    twin = ExactGated(weight, hold, layer.quantiser.threshold, capacity=600)
    passed = RUN(twin, _frames_as_events(x), 150.0)
    emitted = np.asarray(passed.outputs.per_frame(4, 15))
    threshold = float(layer.quantiser.threshold)
    assert np.count_nonzero(of_frames) > 20
    if dead_zone == 0:  # to the very quantum in each frame
        np.testing.assert_allclose(emitted, of_frames, atol=1e-9)
    else:  # what is left is below a threshold in both
        gap = np.abs(emitted.cumsum(0) - of_frames.cumsum(0))
        assert gap.max() < threshold and gap.max() > 0.1 * threshold


def test_own_spikes_come_back_after_the_delay():
    """One unit by hand. Its first spikes come with the current it gets by itself; each of
    them opens the gate for more."""
    bf, bc, uf, uc, threshold, delay = 0.5, 0.4, -2.0, 1.3, 0.25, 9.0
    rate = np.log1p(np.exp(-bf)) / FRAME
    f = reference.sigmoid(bf + threshold * uf)
    c = bc + threshold * uc
    t, i, v, times, returned = 0.0, 0.0, 0.0, [], 0
    amps = lambda h: bc + (i - bc) * np.exp(-rate * h)
    volts = lambda h: v + (bc * h + (i - bc) * (1 - np.exp(-rate * h)) / rate) / FRAME
    while True:
        due = times[returned] + delay if returned < len(times) else np.inf
        h = min(due, T1) - t
        if volts(h) >= threshold:
            h = brentq(lambda h: volts(h) - threshold, 0, h, xtol=1e-14)
            i, v, t = amps(h), 0.0, t + h
            times.append(t)
            continue
        i, v, t = amps(h), volts(h), t + h
        if t == T1:
            break
        i, returned = f * i + (1 - f) * c, returned + 1
    p = _setting(False)
    p |= {"weight": jnp.zeros((1, 2)), "shift": jnp.asarray([bf, bc])}
    p |= {"recurrent": jnp.asarray([[uf, uc]]), "threshold": jnp.asarray(threshold)}
    layer = ExactGated(
        p["weight"], p["shift"], threshold, recurrent=p["recurrent"], delay=delay,
        capacity=30,
    )
    passed = RUN(layer, _spikes([], [], []), T1)
    found = passed.outputs.spikes.to_ragged()[0][0]
    np.testing.assert_allclose(found, times, atol=1e-11)
    np.testing.assert_allclose(passed.state.potential, [v], atol=1e-11)
    assert len(times) > 6 and returned > 3
    first = RUN(eqx.tree_at(lambda y: y.recurrent, layer, None), _spikes([], [], []), T1)
    without = first.outputs.spikes.to_ragged()[0][0]
    assert len(without) < len(times) and np.allclose(without[:2], times[:2])


# What a loss may depend on
NAMES = ["weight", "shift", "threshold", "times", "sizes"]


@pytest.mark.parametrize("recurrent", [False, True])
def test_gradients(recurrent):
    p = _setting(recurrent)
    names = [*NAMES, *(["recurrent"] if recurrent else [])]
    count = int(_run(p).outputs.spikes.count())
    assert count > 10
    rng = np.random.default_rng(7)
    c, d, e = (jnp.asarray(rng.normal(size=n)) for n in (count, 3, 3))

    def weigh(times, current, potential):
        sums = jnp.dot(c, times), jnp.dot(d, current), jnp.dot(e, potential)
        return sums[0] + 10 * sums[1] + 10 * sums[2]

    def loss(some):
        passed = _run(p | some, run=lambda layer, given, t1: layer(given, t1))
        spikes = passed.outputs.spikes
        state = passed.state
        value = weigh(spikes.times[:count], state.current, state.potential)
        return value, (spikes.sources, spikes.count())

    some = {k: p[k] for k in names}
    forward = jax.jit(loss)
    grads, (sources, _) = jax.jit(jax.grad(loss, has_aux=True))(some)

    # Formulas along the same order of events, which autodiff takes as they are
    order = reference.integrate(p, T1, FRAME, 7.0)[3]
    unrolled = reference.Unrolled(order, FRAME, 7.0)
    again = jax.jit(jax.grad(lambda x: weigh(*unrolled(p | x, T1))))(some)
    for name in names:
        np.testing.assert_allclose(
            grads[name], again[name], rtol=1e-8, atol=1e-9, err_msg=name
        )

    for name in names:
        way = jnp.asarray(rng.normal(size=np.shape(p[name])))
        values = []
        for h in (1e-5, -1e-5):
            moved = some | {name: some[name] + h * way}
            value, (same, number) = forward(moved)
            assert number == count and np.array_equal(same, sources)
            values.append(value)
        difference = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose(
            jnp.sum(grads[name] * way), difference, rtol=1e-6, err_msg=name
        )
        assert abs(difference) > 1e-2
    tangents = jax.tree.map(jnp.ones_like, some)
    slope = jax.jit(lambda x, y: jax.jvp(loss, (x,), (y,), has_aux=True)[1])(
        some, tangents
    )
    total = sum(float(jnp.sum(g)) for g in grads.values())
    np.testing.assert_allclose(slope, total, rtol=1e-9)


@pytest.mark.parametrize("above", [1e-9, -1e-9])
def test_a_membrane_that_only_just_reaches_its_threshold(above):
    """A current that fades for good moves the membrane by `current * rate` in all."""
    rate = np.log(2) / FRAME
    threshold = 0.5 / (rate * FRAME) * (1 - above)  # one event leaves a current of 0.5

    def last(shift, kind):
        layer = ExactGated(jnp.asarray([[0.0, 1.0]]), shift, threshold, capacity=3)
        passed = layer(_spikes([0.0], [0], [1.0]), 600.0)
        times = passed.outputs.spikes.times
        return times[0] if kind else passed.state.potential[0], passed.outputs.spikes

    shift = jnp.asarray([0.0, 0.0])
    grad = eqx.filter_jit(eqx.filter_value_and_grad(last, has_aux=True))
    (time, spikes), slope = grad(shift, above > 0)
    assert spikes.count() == (1 if above > 0 else 0)
    assert np.all(np.isfinite(slope)) and np.isfinite(time)
    if above > 0:
        # The current is 0.5e-9 there, but counts as 1e-6 thresholds.
        np.testing.assert_allclose(time, -np.log(1e-9) / rate, rtol=1e-3)
        assert 1e4 < abs(slope[0]) < 1e8


def test_without_input_and_with_empty_places():
    p = _setting(True)
    passed = _run(p)
    more = p | {
        "times": jnp.append(p["times"], jnp.asarray([59.0, np.inf, np.inf])),
        "sources": jnp.append(p["sources"], jnp.asarray([0, 0, 0], jnp.int32)),
        "sizes": jnp.append(p["sizes"], jnp.asarray([0.0, 0.0, 0.0])),
    }
    late = {"times": p["times"].at[-1].set(61.0)}
    batch = jax.tree.map(lambda *x: jnp.stack(x), p | late, p)
    many = eqx.filter_jit(jax.vmap(lambda q: _run(q, run=lambda y, x, t: y(x, t))))(batch)
    for a, b in zip(jax.tree.leaves(passed), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b[1], rtol=1e-12)
    assert np.any(many.state.current[0] != many.state.current[1])  # one event less
    # An event of size 0 is one: it gates the current towards its rest.
    padded = _run(more | {"times": more["times"].at[-3].set(np.inf)})
    for a, b in zip(jax.tree.leaves(passed), jax.tree.leaves(padded), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(_run(more).state.current != passed.state.current)
    silent = RUN(
        ExactGated(jnp.ones((1, 2)), jnp.zeros(2), 1.0, capacity=2),
        _spikes([np.inf, np.inf], [0, 0], [0.0, 0.0]),
        T1,
    )
    assert silent.outputs.spikes.count() == 0 and silent.outputs.sizes.sum() == 0
    assert silent.state.current == 0 and silent.state.potential == 0


def _layer(**changes):
    given = dict(weight=jnp.ones((2, 4)), shift=jnp.ones(4), threshold=0.1, capacity=5)
    given |= changes
    return ExactGated(given.pop("weight"), given.pop("shift"), given.pop("threshold"), **given)


@pytest.mark.parametrize(
    "changes, match",
    [
        (dict(weight=jnp.ones((2, 3))), r"\[inputs, 2 units\]"),
        (dict(shift=jnp.ones(2)), r"`shift` must have shape \(4,\)"),
        (dict(recurrent=jnp.ones((4, 4))), r"`recurrent` must have shape \(2, 4\)"),
        (dict(threshold=0.0), "`threshold` must be positive"),
        (dict(threshold=jnp.asarray(-1.0)), "`threshold` must be positive"),
        (dict(threshold=jnp.ones(2)), "`threshold` must be one number"),
        (dict(frame=0.0), "`frame` must be positive"),
        (dict(delay=0.0), "`delay` must be positive"),
        (dict(capacity=0), "`capacity` must be at least 1"),
        (dict(coincidence=-1.0), "`coincidence` must be finite"),
        (
            dict(recurrent=jnp.ones((2, 4)), coincidence=10.0),
            "`coincidence` must be below `delay`",
        ),
    ],
)
def test_layers_that_cannot_be(changes, match):
    with pytest.raises(ValueError, match=match):
        _layer(**changes)


def test_bad_input():
    given = _spikes([1.0, 2.0], [0, 1], [1.0, 1.0])
    layer, at = _layer(), lambda x: x.spikes.times
    with pytest.raises(ValueError, match="one size for each place"):
        ExactSpikes(given.spikes, jnp.ones(3))
    cases = [
        (layer, eqx.tree_at(at, given, given.spikes.times[::-1]), 9.0, "ascending"),
        (layer, eqx.tree_at(at, given, given.spikes.times - 3), 9.0, "before `t0`"),
        (layer, _spikes([1.0], [2], [1.0]), 9.0, "`spikes.sources`"),
        (layer, _spikes([1.0], [0], [np.nan]), 9.0, "`given.sizes`"),
        (layer, given, 0.0, "`t1`"),
        (_layer(shift=jnp.full(4, np.nan)), given, 9.0, "`shift`"),
    ]
    for bad, spikes, t1, match in cases:
        with pytest.raises(ValueError, match=match):
            bad(spikes, t1)
    with pytest.raises(RuntimeError, match="more spikes.*: 6, 5"):
        layer(given, 50.0)
    assert layer(given, 2.0).outputs.spikes.count() <= 5
    with pytest.raises(Exception, match="more spikes"):
        jax.block_until_ready(RUN(layer, given, 50.0))
    with pytest.raises(Exception, match="ascending"):
        jax.block_until_ready(RUN(*cases[0][:2], 2.0))


def _classifier():
    quantiser = Quantiser(6, 0, range=3.0)
    layers = [
        Gated(3, 4, quantiser, recurrent=k, key=jr.key(k)) for k in (False, True)
    ][:1]
    layers.append(Gated(4, 4, quantiser, recurrent=True, key=jr.key(2)))
    return Classifier(Encoder(3, quantiser), layers, Readout(4, 2, key=jr.key(3)))
