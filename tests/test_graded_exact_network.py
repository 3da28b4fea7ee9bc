"""The encoder in exact time, whole networks, and how both are made of layers of frames."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from eventjax import Spikes
from eventjax.graded import (
    Classifier,
    Conventional,
    Encoder,
    exact,
    ExactEncoder,
    ExactSpikes,
    fold,
    Gated,
    Quantiser,
    Readout,
)


FRAMES, INPUTS, FRAME = 12, 3, 10.0
X = np.random.default_rng(8).normal(size=(FRAMES, INPUTS)) * 0.7
X[4:6] = 0  # nothing moves
ENCODE = eqx.filter_jit(lambda encoder, x: encoder(x))


def _ramps(x, threshold):
    """Spikes of straight lines, threshold by threshold, sorted by time."""
    found = []
    for source in range(x.shape[1]):
        v = 0.0
        for n, slope in enumerate(x[:, source]):
            t, sign = 0.0, np.sign(slope)
            while sign and t + (threshold - sign * v) / abs(slope) <= 1:
                t += (threshold - sign * v) / abs(slope)
                v = 0.0
                found.append((FRAME * (n + t), source, sign * threshold))
            v += slope * (1 - t)
    return sorted(found)


@pytest.mark.parametrize("dead_zone", [0, 3])
def test_encoder(dead_zone):
    of_frames = Encoder(INPUTS, Quantiser(5, dead_zone, range=3.0))
    encoder = exact(of_frames, frame=FRAME, capacity=200)
    threshold = float(encoder.threshold)
    assert np.isclose(threshold, (dead_zone + 1) * 3 / 16, rtol=2e-4)
    passed = ENCODE(encoder, jnp.asarray(X))
    out, state = passed.outputs, passed.state
    (times, sources), *_ = out.spikes.to_ragged()
    known = _ramps(X, threshold)
    assert len(known) > 15 and len({size > 0 for *_, size in known}) == 2
    np.testing.assert_allclose(times, [t for t, _, _ in known], rtol=1e-12)
    np.testing.assert_array_equal(sources, [source for _, source, _ in known])
    sizes = [size for *_, size in known]
    np.testing.assert_allclose(out.sizes[: len(known)], sizes, rtol=1e-12)
    assert not np.any(out.sizes[len(known) :])
    # What has come in has gone out, but for what is left.
    sums = np.asarray(out.per_frame(INPUTS, FRAMES, FRAME))
    np.testing.assert_allclose(X.sum(0) - sums.sum(0), state.potential, atol=1e-12)
    np.testing.assert_array_equal(state.current, X[-1])
    left = np.cumsum(X - sums, axis=0)
    assert np.abs(left).max() < threshold
    framed = np.asarray(of_frames(jnp.asarray(X)[None]).outputs[0])
    if dead_zone == 0:  # to the very quantum in each frame
        np.testing.assert_allclose(sums, framed, atol=1e-12)
    else:
        gap = np.abs(np.cumsum(sums - framed, axis=0))
        assert threshold / 8 < gap.max() < 2 * threshold


def test_encoder_at_its_threshold_and_gradients():
    """Ramps that end at the threshold; then times against differences."""
    encoder = ExactEncoder(0.5, frame=FRAME, capacity=10)
    x = jnp.asarray([[0.5, 0.25], [0.5, 0.25], [0.0, 0.0], [-0.5, -0.25]])
    spikes = ENCODE(encoder, x).outputs
    found = np.asarray(spikes.spikes.times)
    np.testing.assert_array_equal(found[:4], [10.0, 20.0, 20.0, 40.0])
    assert np.all(np.isinf(found[4:]))
    assert spikes.spikes.sources[:4].tolist() == [0, 0, 1, 0]
    # A spike at the end of a frame is part of it.
    sums = spikes.per_frame(2, 4, FRAME)
    np.testing.assert_array_equal(sums, [[0.5, 0], [0.5, 0.5], [0, 0], [-0.5, 0]])

    encoder = ExactEncoder(0.3, frame=FRAME, capacity=60)
    c = jnp.asarray(np.random.default_rng(1).normal(size=60))

    @jax.jit
    def loss(x, threshold):
        new = eqx.tree_at(lambda e: e.threshold, encoder, threshold)
        passed = new(x)
        times = passed.outputs.spikes.times
        value = jnp.dot(c, jnp.where(jnp.isfinite(times), times, 0.0))
        return value + jnp.sum(passed.state.potential), passed.outputs.spikes.sources

    at = jnp.asarray(X), jnp.asarray(0.3)
    (_, sources), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(*at)
    way = jnp.asarray(np.random.default_rng(2).normal(size=X.shape))
    for k, step in enumerate([way, jnp.ones(())]):
        ends = []
        for h in (1e-6, -1e-6):
            moved = [y + h * step if j == k else y for j, y in enumerate(at)]
            value, same = loss(*moved)
            assert np.array_equal(same, sources)
            ends.append(value)
        difference = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(jnp.sum(grads[k] * step), difference, rtol=1e-6)
        assert abs(difference) > 1


@ft.cache
def _classifier(conventional=False):
    quantiser = Quantiser(6, 1, range=2.0)
    encoder = Encoder(INPUTS, quantiser)
    layer = Gated(INPUTS, 4, quantiser, recurrent=True, key=jr.key(0))
    where = lambda y: y.normalisation.shift
    layer = eqx.tree_at(where, layer, jnp.linspace(1.0, 0.1, 8))
    if conventional:
        layer = Conventional(INPUTS, 4, quantiser, key=jr.key(0))
    return Classifier(encoder, [layer], Readout(4, 2, key=jr.key(3)))


def test_a_network():
    folded = fold(_classifier())
    network = exact(folded, frame=FRAME, capacity=(140, 200))
    padded = np.append(X, np.full((2, INPUTS), np.nan), axis=0)
    short = np.where(np.arange(14)[:, None] < 7, padded, 1e3)
    x, lengths = jnp.asarray(np.stack([padded, short])), jnp.asarray([12, 7], jnp.int32)

    passed = eqx.filter_jit(lambda m, *xs: jax.vmap(m)(*xs))(network, x, lengths)
    assert passed.outputs.shape == (2, 14, 2)
    assert np.all(np.isfinite(passed.outputs)) and not np.any(passed.outputs[1, 7:])
    encoded, hidden = passed.hidden
    assert np.all(hidden.outputs.spikes.count() > 20)
    times = np.asarray(encoded.outputs.spikes.times)
    assert np.isfinite(times).sum() > 20
    np.testing.assert_array_equal(times[1][times[1] < np.inf], times[0][times[0] <= 70])
    # The second sample ends after 7 frames. Logits are those of sums over frames.
    short = jax.tree.map(lambda y: y[1], hidden.outputs)
    assert 60 < np.max(short.spikes.times, where=short.sizes > 0, initial=0) < 70
    sums = short.per_frame(4, 7, FRAME)
    shift = folded.readout.normalisation.shift
    logits = sums @ folded.readout.weight + shift[None]
    np.testing.assert_allclose(passed.outputs[1, :7], logits, atol=1e-12)
    with pytest.raises(ValueError, match="`frames` must have 3 features"):
        network(x[0][:, :2])
    with pytest.raises(
        ValueError, match="`length` must lie between 1 and .* 14, got 15"
    ):
        network(x[0], 15)


def test_sums_over_frames_have_no_gradient():
    spikes = Spikes(
        jnp.asarray([1.0, 12.0, jnp.inf]), jnp.asarray([0, 1, 0], jnp.int32)
    )

    def total(times):
        new = eqx.tree_at(lambda s: s.times, spikes, times)
        return jnp.sum(ExactSpikes(new, jnp.asarray([1.0, 2.0, 0.0])).per_frame(2, 2))

    assert total(spikes.times) == 3
    with pytest.raises(Exception, match="let the loss read spike times"):
        jax.block_until_ready(jax.jit(jax.grad(total))(spikes.times))


def test_models_without_exact_form():
    with pytest.raises(ValueError, match="put it into the weights first"):
        exact(_classifier(), capacity=10)
    with pytest.raises(ValueError, match="got a `Conventional`"):
        exact(fold(_classifier(True)), capacity=10)
    folded = fold(_classifier())
    with pytest.raises(ValueError, match="or 2, for the encoder .* got 3"):
        exact(folded, capacity=(1, 2, 3))
    with pytest.raises(ValueError, match="must have an encoder"):
        exact(Classifier(None, folded.layers, folded.readout), capacity=10)
    gated = folded.layers[0]
    assert isinstance(gated, Gated)
    with pytest.raises(ValueError, match="one number for a layer"):
        exact(gated, capacity=(1, 2))  # pyright: ignore[reportCallIssue,reportArgumentType]
    encoder = ExactEncoder(0.1, capacity=5)
    with pytest.raises(ValueError, match="`frames` is empty"):
        encoder(jnp.zeros((0, 2)))
    with pytest.raises(RuntimeError, match="more spikes.*: 20, 5"):
        encoder(jnp.full((2, 1), 1.001))
    layer = exact(gated, capacity=7, delay=3.0, coincidence=2.0)
    assert (layer.inputs, layer.units, layer.capacity) == (3, 4, 7)
    assert (layer.frame, layer.delay, layer.coincidence) == (10.0, 3.0, 2.0)
