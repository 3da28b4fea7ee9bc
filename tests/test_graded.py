"""Layers with graded spikes: equations, identities, gradients, quantiser, bad input."""

import equinox as eqx
import graded_reference as reference
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from graded_reference import BATCH, FRAMES, INPUTS, UNITS, VALID, X

from eventjax.graded import (
    Cells,
    Conventional,
    Encoder,
    Gated,
    Normalisation,
    Quantiser,
)


KEY = jr.key(0)


def _quantiser(bits=4, dead_zone=1, reach=2.5):
    return Quantiser(bits, dead_zone, range=reach)


def _stirred(layer):
    """With statistics, scales and shifts that matter."""
    n, rng = layer.normalisation, np.random.default_rng(1)
    size = n.scale.shape
    new = [rng.uniform(0.5, 1.5, size), rng.normal(size=size)]
    new += [rng.normal(size=size), rng.uniform(0.5, 2, size)]
    where = lambda m: (m.scale, m.shift, m.mean.value, m.variance.value)
    n = eqx.tree_at(where, n, [jnp.asarray(x) for x in new])
    return eqx.tree_at(lambda y: y.normalisation, layer, n)


def _conventional():
    layer = _stirred(Conventional(INPUTS, UNITS, _quantiser(reach=6.0), key=KEY))
    return eqx.tree_at(lambda y: y.tau, layer, jnp.linspace(0.3, 1.0, UNITS))


def _gated(recurrent, quantiser=None):
    quantiser = quantiser or _quantiser()
    return _stirred(Gated(INPUTS, UNITS, quantiser, recurrent=recurrent, key=KEY))


LAYERS = {
    "encoder": Encoder(INPUTS, _quantiser()),
    "conventional": _conventional(),
    "v1": _gated(False),
    "v2": _gated(True),
}
# In training too: what batches have is what they have whatever their order
RUN = eqx.filter_jit(lambda layer, x, valid, key=None: layer(x, valid, key=key))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_their_equations(name):
    layer = LAYERS[name]
    y, currents, _, residual, _ = reference.run(layer, X, VALID)
    passed = RUN(layer, jnp.asarray(X), jnp.asarray(VALID))
    np.testing.assert_allclose(passed.outputs, y, atol=1e-12)
    np.testing.assert_allclose(passed.state.residual, residual, atol=1e-12)
    assert np.count_nonzero(y) > 20 and np.any(y[VALID] == 0)
    # What went in and has not come out is what is left.
    gap = np.sum(passed.outputs, axis=1) - currents.sum(axis=1)
    np.testing.assert_allclose(gap, -np.asarray(passed.state.residual), atol=1e-12)
    if name in ("v1", "v2"):
        assert np.all(np.asarray(passed.outputs) >= 0)
    else:
        assert np.any(np.asarray(passed.outputs) < 0)


def test_the_gradient_of_a_current_is_the_product_of_its_gates():
    layer = LAYERS["v1"]
    start = jax.tree.map(jnp.zeros_like, layer.initial_state(BATCH, jnp.float64))

    @jax.jit
    def end(current):
        state = eqx.tree_at(lambda s: s.current, start, current)
        return jnp.sum(layer(jnp.asarray(X), jnp.asarray(VALID), state).state.current)

    gates = reference.run(layer, X, VALID)[2]
    expected = gates.prod(axis=1)
    np.testing.assert_allclose(jax.grad(end)(start.current), expected, rtol=1e-12)
    assert expected.min() < 0.1 * expected.max()


def test_gradients_without_quantisation_are_those_of_differences():
    """With very many bits the staircase is as good as straight, and so what stands in for
    its derivative is the derivative."""
    layer = _gated(True, Quantiser(48, range=100.0))
    assert reference.run(layer, X, VALID)[4] < 100
    weights = (layer.weight, layer.recurrent)

    @jax.jit
    def total(weights):
        changed = eqx.tree_at(lambda y: (y.weight, y.recurrent), layer, weights)
        y = changed(jnp.asarray(X), jnp.asarray(VALID)).outputs
        return jnp.sum(jnp.sin(y))

    grads = jax.jit(jax.grad(total))(weights)
    rng = np.random.default_rng(4)
    for k, weight in enumerate(weights):
        way = jnp.asarray(rng.normal(size=weight.shape))
        nudged = lambda h: total(
            tuple(w + h * way if j == k else w for j, w in enumerate(weights))
        )
        difference = (nudged(1e-5) - nudged(-1e-5)) / 2e-5
        np.testing.assert_allclose(jnp.sum(grads[k] * way), difference, rtol=1e-5)
        assert abs(difference) > 0.1


def test_the_distance_to_a_gated_unit_without_spikes_halves_with_each_bit():
    x = np.random.default_rng(2).normal(size=(12, 12, INPUTS))
    valid = np.ones(x.shape[:2], bool)
    plain, *_, peak = reference.run(_gated(True), x, valid, emit=lambda v: v)
    found = []
    for bits in (7, 8, 9, 10):
        layer = _gated(True, Quantiser(bits, range=1.2 * peak))
        y = RUN(layer, jnp.asarray(x), jnp.asarray(valid)).outputs
        found.append(np.abs(np.asarray(y) - plain).mean())
    ratios = np.array(found[:-1]) / np.array(found[1:])
    np.testing.assert_allclose(ratios, 2, rtol=0.12)


def _as_batch(layer):
    """With the statistics that the batch has, which training uses."""
    product = X[VALID] @ np.asarray(layer.weight)
    seen = [jnp.asarray(x) for x in (product.mean(axis=0), product.var(axis=0))]
    where = lambda y: (y.normalisation.mean.value, y.normalisation.variance.value)
    return eqx.tree_at(where, layer, seen)


@pytest.mark.parametrize("name", LAYERS)
def test_ranges_and_statistics_follow(name):
    layer = LAYERS[name]
    drift = jax.jit(jax.grad(lambda y: y(X_, VALID_, key=KEY).drift))
    X_, VALID_ = jnp.asarray(X), jnp.asarray(VALID)
    got = drift(layer)
    used = layer
    if name != "encoder":
        where = lambda y: (y.normalisation.mean.value, y.normalisation.variance.value)
        used = _as_batch(layer)
        seen = where(used)
        for found, had, has in zip(where(got), where(layer), seen):
            np.testing.assert_allclose(found, had - has, atol=1e-12)
        assert not np.any(got.weight)
    currents = reference.run(used, X, VALID)[1]
    wanted = reference.wanted_range(layer, currents)
    expected = layer.quantiser.range.value - wanted
    np.testing.assert_allclose(got.quantiser.range.value, expected, rtol=1e-12)


def test_the_range_of_one_bit_follows_the_mean_of_valid_currents():
    layer = _gated(True, Quantiser(1, range=2.0))
    drift = jax.jit(jax.grad(lambda y: y(X_, VALID_, key=KEY).drift))
    X_, VALID_ = jnp.asarray(X), jnp.asarray(VALID)
    currents = reference.run(_as_batch(layer), X, VALID)[1]
    wanted = 8 * np.abs(currents[VALID]).mean()
    got = drift(layer).quantiser.range.value
    np.testing.assert_allclose(got, 2.0 - wanted, rtol=1e-12)


@pytest.mark.parametrize("bits, dead_zone", [(2, 0), (6, 3), (6, 29)])
def test_no_membrane_leaves_the_range_that_its_currents_call_for(bits, dead_zone):
    """However long they last."""
    x = np.random.default_rng(7).normal(1.0, 1.0, size=(2, 400, 2))
    valid = np.ones(x.shape[:2], bool)
    wanted = reference.wanted_range(Encoder(2, Quantiser(bits, dead_zone)), x)
    encoder = Encoder(2, Quantiser(bits, dead_zone, range=wanted))
    *_, peak = reference.run(encoder, x, valid)
    assert 0.5 * wanted < peak <= wanted * (1 + 1e-4)
    # With a tenth of it the mean of what comes in is more than can go out
    narrow = Encoder(2, Quantiser(bits, dead_zone, range=0.1 * wanted))
    assert bits > 2 or reference.run(narrow, x, valid)[4] > 10 * wanted


@pytest.mark.parametrize("bits, dead_zone", [(1, 0), (2, 0), (4, 1), (6, 3), (32, 0)])
def test_quantiser(bits, dead_zone):
    quantiser = Quantiser(bits, dead_zone, range=0.8)
    v = np.concatenate([np.linspace(-1.2, 1.2, 241) + 1e-3, [0.8, -0.8, 0.4, 0.0]])
    out = quantiser(jnp.asarray(v))
    expected = [reference.quantise(x, 0.8, bits, dead_zone) for x in v]
    np.testing.assert_allclose(out, expected, atol=1e-14)
    levels = 2 if bits == 1 else 2 ** (bits - 1)
    assert len(set(np.abs(expected)) - {0.0}) <= levels - 1 - dead_zone
    emitted = np.abs(v)[np.asarray(out) != 0]
    assert emitted.min() >= float(quantiser.threshold)
    if bits == 32:
        np.testing.assert_allclose(out, np.clip(v, -0.8, 0.8), rtol=2e-4)

    slope = jax.grad(lambda v: jnp.sum(quantiser(v)))(jnp.asarray(v))
    np.testing.assert_array_equal(slope, np.abs(v) <= 0.8)
    _, forward = jax.jvp(quantiser, (jnp.asarray(v),), (jnp.ones_like(v),))
    np.testing.assert_array_equal(forward, slope)
    of_range = jax.grad(lambda q: jnp.sum(q(jnp.asarray(v))))(quantiser)
    assert float(of_range.range.value) == 0


def test_a_quantiser_in_numbers():
    """The paper's 6 bits with a dead zone of 3: an eighth of the range, and 57 levels."""
    quantiser = Quantiser(6, 3)
    np.testing.assert_allclose(quantiser.threshold, 0.125, rtol=2e-4)
    out = quantiser(jnp.linspace(-1, 1, 4001))
    assert len(np.unique(np.asarray(out))) == 57
    # One that has seen nothing but zeros is silent, not `nan`
    silent = eqx.tree_at(lambda q: q.range.value, quantiser, jnp.zeros(()))
    np.testing.assert_array_equal(silent(jnp.asarray([0.0, 1.0, -2.0])), 0)
    # In single precision, too, no value exceeds the range
    wide = jnp.asarray([-3.0, 3.0, 0.3], jnp.float32)
    out = Quantiser(32)(wide)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, [-1, 1, 0.3], rtol=2e-4)


def test_normalisation_is_over_valid_frames():
    n, rng = Normalisation(2), np.random.default_rng(3)
    x = rng.normal(3.0, [0.5, 4.0], size=(BATCH, FRAMES, 2))
    x[~VALID] = 1e6
    y, _ = n(jnp.asarray(x), jnp.asarray(VALID), training=True)
    np.testing.assert_allclose(np.asarray(y)[VALID].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.asarray(y)[VALID].std(axis=0), 1, rtol=1e-4)
    untouched, drift = n(jnp.asarray(x), jnp.asarray(VALID), training=False)
    np.testing.assert_allclose(untouched, x, rtol=1e-4)
    assert float(drift) == 0


def test_memory_shifts_gates():
    layer = Gated(2, 100, Quantiser(6), recurrent=False, memory=50.0, key=KEY)
    shift = np.asarray(layer.normalisation.shift)
    gates = 1 / (1 + np.exp(-shift[:100]))
    times = 1 / (1 - gates)
    assert times.min() >= 2 and times.max() <= 50
    np.testing.assert_allclose(times.mean(), 26, rtol=0.1)
    assert not np.any(shift[100:])
    lstm = Cells(eqx.nn.LSTMCell, 2, 3, memory=50.0, key=KEY).normalisation.shift
    np.testing.assert_array_equal(lstm[:3], -lstm[3:6])
    assert float(lstm[3]) > 0 and not np.any(lstm[6:])
    gru = Cells(eqx.nn.GRUCell, 2, 3, memory=50.0, key=KEY).normalisation.shift
    np.testing.assert_array_equal(gru[3:6], lstm[3:6])


def test_dropout_is_one_mask_for_a_sequence():
    x = jnp.asarray(np.repeat(X[:1], 40, axis=0))
    layers = [
        Conventional(INPUTS, UNITS, Quantiser(16, range=50.0), dropout=rate, key=KEY)
        for rate in (0.0, 0.25)
    ]
    whole, some = (np.asarray(RUN(y, x, None, jr.key(1)).outputs) for y in layers)
    on = np.any(some != 0, axis=1)
    expected = np.where(on[:, None], whole / 0.75, 0)
    np.testing.assert_allclose(some, expected, atol=0.05)
    assert 0.6 < on.mean() < 0.9
    in_use = RUN(layers[1], x, None).outputs
    np.testing.assert_array_equal(in_use[0], in_use[7])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Quantiser(0), "`bits` must be at least 1, got 0"),
        (lambda: Quantiser(6, -1), "`dead_zone` must lie between 0 and 30 .* got -1"),
        (lambda: Quantiser(6, 31), "nothing would ever be emitted; got 31"),
        (lambda: Quantiser(1, 1), "between 0 and 0 quanta for 1 bits"),
        (
            lambda: Quantiser(6, range=0.0),
            "`range` must be positive and finite, got 0.0",
        ),
        (lambda: Normalisation(0), "`size` must be at least 1, got 0"),
        (lambda: Normalisation(2, epsilon=0.0), "`epsilon` must be positive"),
        (lambda: Encoder(0, _quantiser()), "`inputs` must be at least 1"),
        (
            lambda: Conventional(2, 0, _quantiser(), key=KEY),
            "`units` must be at least 1",
        ),
        (
            lambda: Conventional(2, 2, _quantiser(), dropout=1.0, key=KEY),
            "`dropout` must be at least 0 and below 1, got 1.0",
        ),
        (
            lambda: Gated(2, 2, _quantiser(), recurrent=True, memory=2.0, key=KEY),
            "`memory` must be finite and above 2 frames, got 2.0",
        ),
        (
            lambda: Gated(2, 2, _quantiser(), recurrent=True, gain=0.0, key=KEY),
            "`gain` must be positive and finite, got 0.0",
        ),
        (lambda: Cells(eqx.nn.Linear, 2, 2, key=KEY), "`cell` must be `equinox.nn.GRU"),
    ],
)
def test_bad_settings(untyped, make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "x, valid, state, message",
    [
        (
            np.zeros((2, 3, 4)),
            None,
            None,
            r"must have 3 features.* got shape \(2, 3, 4\)",
        ),
        (np.zeros((2, 0, 3)), None, None, r"`frames` is empty, of shape \(2, 0, 3\)"),
        (
            np.zeros((2, 4, 3)),
            np.ones((2, 3), bool),
            None,
            r"`valid` .*\(2, 4\), got \(2",
        ),
        (np.zeros((2, 4, 3)), np.zeros((2, 4), bool), None, "none is valid"),
        (
            np.zeros((2, 4, 3)),
            None,
            3,
            "`state` must be one that this layer has returned",
        ),
    ],
)
def test_bad_input(untyped, x, valid, state, message):
    layer = LAYERS["v1"]
    start = None if state is None else layer.initial_state(state, jnp.float64)
    with pytest.raises(ValueError, match=message):
        layer(jnp.asarray(x), valid, start, key=KEY)


@pytest.fixture
def untyped():
    """Without the hook that checks type hints, as users run the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_no_valid_frame_is_no_number_where_it_is_not_known():
    """And so a step that `fit` skips and says so."""
    nothing = jnp.zeros((BATCH, FRAMES), bool)
    assert not np.any(
        np.isfinite(RUN(LAYERS["v1"], jnp.asarray(X), nothing, KEY).drift)
    )
    # In use a piece of a stream may well hold no frame
    assert not np.any(RUN(LAYERS["v1"], jnp.asarray(X), nothing).outputs)
