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
from eventjax.graded import ExactGated, ExactSpikes, Gated, Quantiser


FRAME, T1, CAPACITY = 10.0, 60.0, 40
RUN = eqx.filter_jit(lambda layer, given: layer(given, T1))


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
    empty = np.full(3, np.inf)
    return {
        "weight": jnp.asarray(rng.normal(size=(2, 6)) * 1.5),
        "recurrent": jnp.asarray(rng.normal(size=(3, 6)) * 2) if recurrent else None,
        "shift": jnp.asarray([0.3, -1.5, 3.0, 0.4, -0.2, 0.05]),
        "threshold": jnp.asarray(0.23),
        "times": jnp.asarray(np.append(times, empty)),
        "sources": jnp.asarray(rng.integers(0, 2, 12), jnp.int32),
        "sizes": jnp.asarray(rng.choice([-1.0, 1.0], 12) + 0.1),
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
    return run(layer, _spikes(p["times"], p["sources"], p["sizes"]))


@pytest.mark.parametrize("recurrent, coincidence", [(False, 0.0), (True, 4.0)])
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
    assert len(spikes) > 8 and len(set(sources)) == 3
    assert len([x for x in order if x[0] == "own"]) > (5 if recurrent else -1)
    # What merging does is seen
    moved = p | {"times": p["times"] + 1e-6 * np.arange(12)}
    apart = reference.integrate(moved, T1, FRAME, 7.0)
    assert len(apart[0]) != len(spikes) or abs(apart[2] - potential).max() > 1e-3


def test_what_is_emitted_is_the_integral_but_for_what_is_left():
    p = _setting(False)
    passed = _run(p)
    emitted = passed.outputs.per_frame(3, 6).sum(0)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    shift, c = np.asarray(p["shift"]), np.maximum(p["shift"][3:], 0)
    rate = np.log1p(np.exp(-shift[:3])) / FRAME
    i, area = np.zeros(3), np.zeros(3)
    edges = [0.0, *np.asarray(p["times"][:9]), T1]
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
    assert np.all((passed.state.potential >= 0) & (passed.state.potential < 0.23))


def _frames_as_events(x):
    """Features as events at the start of each frame, all at once, beside one that opens
    the gates, which are shut in between."""
    frames, inputs = x.shape
    times = np.repeat(np.arange(frames) * FRAME, inputs + 1)
    sources = np.tile(np.arange(inputs + 1), frames)
    sizes = np.concatenate([x, np.ones((frames, 1))], axis=1).reshape(-1)
    return _spikes(times, sources, sizes)


RUN_FRAMES = eqx.filter_jit(lambda layer, given: layer(given, 150.0))


@pytest.mark.parametrize("dead_zone", [0, 3])
def test_a_current_that_is_constant_over_frames_makes_a_layer_of_frames(dead_zone):
    quantiser = Quantiser(6, dead_zone, range=12.0)
    layer = Gated(3, 4, quantiser, recurrent=False, key=jr.key(1)).folded()
    where = lambda y: y.normalisation.shift
    layer = eqx.tree_at(where, layer, jnp.asarray(np.linspace(-1, 1, 8)))
    x = np.random.default_rng(5).normal(size=(15, 3)) * 2
    of_frames = jax.jit(lambda x: layer(x[None]).outputs[0])(jnp.asarray(x))
    shift = where(layer)
    hold = jnp.where(jnp.arange(8) < 4, 50.0, 0.0)  # a gate that keeps all
    weight = jnp.concatenate([layer.weight, (shift - hold)[None]])
    twin = ExactGated(weight, hold, layer.quantiser.threshold, capacity=200)
    passed = RUN_FRAMES(twin, _frames_as_events(x))
    emitted = np.asarray(passed.outputs.per_frame(4, 15))
    assert np.count_nonzero(of_frames) > 10
    if dead_zone == 0:  # to the very quantum in each frame
        np.testing.assert_allclose(emitted, of_frames, atol=1e-9)
    else:  # what is left is below a threshold in both
        gap = np.abs(np.cumsum(emitted - of_frames, axis=0))
        assert 0.1 < gap.max() / layer.quantiser.threshold < 1


def _one_unit(bf, bc, uf, uc, threshold, delay):
    """Spikes and final potential of a unit without input that gets its own spikes back."""
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
            return times, v
        i, returned = f * i + (1 - f) * c, returned + 1


def test_own_spikes_come_back_after_the_delay():
    """A current without input; each spike that comes back opens the gate for more. Two
    other units are silent: nothing comes in, and their own weights are zero."""
    bf, bc, uf, uc, threshold = 0.5, 0.4, -2.0, 1.3, 0.25
    times, v = _one_unit(bf, bc, uf, uc, threshold, 7.0)
    alone, _ = _one_unit(bf, bc, 0.0, 0.0, threshold, np.inf)
    assert len(alone) < len(times) and abs(alone[1] - times[1]) > 0.1
    p = _setting(True)
    p |= {
        "shift": jnp.asarray([bf, 0, 0, bc, 0, 0]),
        "recurrent": jnp.zeros((3, 6)).at[0, 0].set(uf).at[0, 3].set(uc),
        "threshold": jnp.asarray(threshold),
        "times": jnp.full(12, jnp.inf),
    }
    passed = _run(p)
    (found, sources), *_ = passed.outputs.spikes.to_ragged()
    np.testing.assert_allclose(found, times, atol=1e-11)
    np.testing.assert_allclose(passed.state.potential, [v, 0, 0], atol=1e-11)
    assert len(times) > 6 and not sources.any()


def test_gradients():
    """Of version 2: against differences, and autodiff of formulas along the order of
    events."""
    p = _setting(True)
    names = ["weight", "recurrent", "shift", "threshold", "times", "sizes"]
    some = {k: p[k] for k in names}
    passed = _run(p)
    count = int(passed.outputs.spikes.count())
    order = reference.integrate(p, T1, FRAME, 7.0)[3]
    kinds = [kind for kind, *_ in order]
    assert kinds.count("spike") == count > 10 and kinds.count("own") > 5
    rng = np.random.default_rng(7)
    c, d, e = (jnp.asarray(rng.normal(size=n)) for n in (count, 3, 3))

    def weigh(times, current, potential):
        sums = jnp.dot(c, times), jnp.dot(d, current), jnp.dot(e, potential)
        return sums[0] + 10 * sums[1] + 10 * sums[2]

    def loss(some):
        passed = _run(p | some, run=lambda layer, given: layer(given, T1))
        spikes, state = passed.outputs.spikes, passed.state
        value = weigh(spikes.times[:count], state.current, state.potential)
        return value, (spikes.sources, spikes.count())

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (sources, _)), grads = both(some)
    unrolled = reference.Unrolled(order, FRAME, 7.0)
    again = jax.value_and_grad(lambda x: weigh(*unrolled(p | x, T1)))(some)
    np.testing.assert_allclose(value, again[0], rtol=1e-10)
    for name in names:
        np.testing.assert_allclose(
            grads[name], again[1][name], rtol=1e-8, atol=1e-9, err_msg=name
        )
        way = jnp.asarray(rng.normal(size=np.shape(p[name])))
        values = []
        for h in (1e-5, -1e-5):
            (moved, (same, number)), _ = both(some | {name: some[name] + h * way})
            assert number == count and np.array_equal(same, sources)
            values.append(moved)
        difference = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose(
            jnp.sum(grads[name] * way), difference, rtol=1e-6, err_msg=name
        )
        assert abs(difference) > 1e-2


def test_a_membrane_that_only_just_reaches_its_threshold():
    """A current $I$ that fades for good moves the membrane by at most $I / (r \\Delta)$,
    and by the threshold at $-\\log(1 - r \\Delta V_{th} / I) / r$."""
    rate, start = np.log(2) / FRAME, 0.5  # what one event leaves

    @jax.jit
    def last(shift, threshold):
        def one(shift):
            layer = ExactGated(jnp.asarray([[0.0, 1.0]]), shift, threshold, capacity=3)
            passed = layer(_spikes([0.0], [0], [1.0]), 600.0)
            spikes, end = passed.outputs.spikes, passed.state.potential[0]
            count = spikes.count()
            return jnp.where(count > 0, spikes.times[0], end), count

        return *one(shift), jax.jacfwd(lambda x: one(x)[0])(shift)

    zeros = jnp.zeros(2)
    # The current at the spike is 0.4 of what it was: nothing special
    area = 0.3 / rate
    time, count, slope = last(zeros, jnp.asarray(area / FRAME))
    assert count == 1
    np.testing.assert_allclose(time, -np.log(0.4) / rate, rtol=1e-12)
    # By hand: F and C are 1/2 and 1, dF/db = 1/4, dr/db = -1/(2 Delta), dC/db = 1.
    by_start = -0.6 / start / (rate * 0.4)
    by_rate = -time / rate + area / start / (rate * 0.4)
    expected = [by_start * -0.25 + by_rate * -0.5 / FRAME, by_start * 0.5]
    np.testing.assert_allclose(slope, expected, rtol=1e-10)
    # It is 1e-9 of that: it counts as 1e-6 thresholds, and the gradient is bounded.
    most = start / (rate * FRAME)
    time, count, slope = last(zeros, jnp.asarray(most * (1 - 1e-9)))
    assert count == 1 and abs(slope[1]) < 10 * FRAME / 1e-6
    np.testing.assert_allclose(time, -np.log(1e-9) / rate, rtol=1e-3)
    assert abs(slope[1]) > 1e5
    # And it does not reach it.
    potential, count, slope = last(zeros, jnp.asarray(most * (1 + 1e-9)))
    assert count == 0
    np.testing.assert_allclose(potential, most, rtol=1e-12)
    np.testing.assert_allclose(slope[1], most / start * 0.5, rtol=1e-9)


def test_samples_together_and_input_that_is_not_there():
    p = _setting(False)
    late = p["times"].at[8].set(T1 + 1)
    batch = jnp.stack([p["times"], late, jnp.full(12, jnp.inf)])
    run = lambda times: _run(p | {"times": times}, run=lambda x, y: x(y, T1))
    many = jax.jit(jax.vmap(run))(batch)
    for k, times in enumerate(batch):
        alone = _run(p | {"times": times})
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(many), strict=True):
            np.testing.assert_allclose(a, b[k], rtol=1e-12, atol=1e-14)
    assert np.any(many.state.current[0] != many.state.current[1])
    # Units whose shifts give them a current spike without input; without, nothing does.
    assert 0 < many.outputs.spikes.count()[2] < many.outputs.spikes.count()[0]
    silent = _run(p | {"times": batch[2], "shift": -jnp.ones(6)})
    assert silent.outputs.spikes.count() == 0 and not np.any(silent.outputs.sizes)
    assert not np.any(silent.state.current) and not np.any(silent.state.potential)


def _layer(**changes):
    given = dict(weight=jnp.ones((2, 4)), shift=jnp.ones(4), threshold=0.1, capacity=5)
    given |= changes
    return ExactGated(
        given.pop("weight"), given.pop("shift"), given.pop("threshold"), **given
    )


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
    p = _setting(False)
    with pytest.raises(Exception, match="more spikes.*: 41, 40"):
        jax.block_until_ready(_run(p | {"threshold": jnp.asarray(1e-3)}))
    with pytest.raises(Exception, match="ascending"):
        jax.block_until_ready(_run(p | {"times": p["times"][::-1]}))
