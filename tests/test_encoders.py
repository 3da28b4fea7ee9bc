import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest

import eventjax as ej


@pytest.fixture
def untyped():
    """Without the hook that checks type hints, as users run the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_yin_yang_code():
    features = ej.data.yin_yang(50, 0)["features"]
    spikes = ej.encoders.latency(features, 0.0, 30.0, bias=0.0)
    assert spikes.times.shape == (50, 5)
    times = np.empty((50, 5))
    np.put_along_axis(times, np.asarray(spikes.sources), np.asarray(spikes.times), -1)
    np.testing.assert_allclose(times[:, :4], 30 * features, rtol=1e-15)
    np.testing.assert_array_equal(times[:, 4], 0.0)
    assert np.all(np.diff(spikes.times, axis=-1) >= 0)
    np.testing.assert_array_equal(spikes.sources[:, 0], 4)


def test_latency_mnist_code():
    images = np.array([[0, 1, 2, 255], [255, 254, 0, 0], [0, 0, 0, 1]], np.uint8)
    spikes = ej.encoders.latency(images / 255, 20.0, 0.0, threshold=1 / 255, capacity=2)
    inf = np.inf
    expected = [[0, 20 * (1 - 2 / 255)], [0, 20 * (1 - 254 / 255)], [inf, inf]]
    np.testing.assert_allclose(spikes.times, expected, atol=1e-14)
    np.testing.assert_array_equal(spikes.sources, [[3, 2], [0, 1], [0, 0]])


def test_a_sample_that_does_not_fit_is_an_error():
    values = np.array([[[0.5, 0.0]], [[0.5, 0.6]]])
    with pytest.raises(
        ValueError, match=r"Sample \(1, 0\) has 2 spikes.*`capacity` is 1"
    ):
        ej.encoders.latency(values, 0.0, 1.0, threshold=0.1, capacity=1)
    spikes = ej.encoders.latency(values, 0.0, 1.0, threshold=0.1, capacity=4)
    assert spikes.times.shape == (2, 1, 4)
    np.testing.assert_array_equal(spikes.count(), [[1], [2]])


def test_the_same_under_jit_with_gradients():
    values = jr.uniform(jr.key(0), (3, 4))

    @jax.jit
    def encode(values):
        return ej.encoders.latency(values, 2.0, 12.0, threshold=0.3, bias=1.0)

    outside = ej.encoders.latency(values, 2.0, 12.0, threshold=0.3, bias=1.0)
    inside = encode(values)
    np.testing.assert_allclose(inside.times, outside.times)
    there = np.isfinite(outside.times)
    np.testing.assert_array_equal(
        np.asarray(inside.sources)[there], np.asarray(outside.sources)[there]
    )

    def total(values):
        times = encode(values).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0))

    gradient = jax.jit(jax.grad(total))(values)
    np.testing.assert_allclose(gradient, np.where(values > 0.3, 10.0, 0.0))


@pytest.mark.parametrize(
    "values, text",
    [
        ([0.1, np.nan], r"lie in \[0, 1\], got nan at \(1,\); 1 of 2"),
        ([0.1, 1.5], r"got 1.5 at \(1,\)"),
        ([-0.1, 1.0], r"got -0.1 at \(0,\)"),
        ([0, 255], "must be floats.*divide"),
        (0.5, "last axis"),
    ],
)
def test_wrong_values_are_an_error(untyped, values, text):
    with pytest.raises(ValueError, match=text):
        ej.encoders.latency(np.asarray(values), 0.0, 30.0)


def test_wrong_settings_are_an_error():
    values = np.array([0.5, 0.6])
    with pytest.raises(ValueError, match="`t_one` must be finite"):
        ej.encoders.latency(values, 0.0, np.inf)
    with pytest.raises(ValueError, match="`bias` must be finite"):
        ej.encoders.latency(values, 0.0, 1.0, bias=np.nan)
    with pytest.raises(ValueError, match="`capacity` must be at least 1"):
        ej.encoders.latency(values, 0.0, 1.0, capacity=0)
    with pytest.raises(ValueError, match="cannot be given under `jit`"):
        jax.jit(lambda x: ej.encoders.latency(x, 0.0, 1.0, capacity=2))(values)


def test_drop_spikes():
    values = jr.uniform(jr.key(0), (200, 40))
    spikes = ej.encoders.latency(values, 0.0, 20.0, threshold=0.5)
    fewer = jax.jit(lambda s, k: ej.encoders.drop_spikes(s, 0.2, key=k))(
        spikes, jr.key(1)
    )
    times = np.asarray(fewer.times)
    assert np.all(times[:, 1:] >= times[:, :-1])
    share = 1 - np.isfinite(times).sum() / np.isfinite(spikes.times).sum()
    assert 0.18 < share < 0.22
    for (t, n), (t_all, n_all) in zip(fewer.to_ragged(), spikes.to_ragged()):
        assert set(zip(t, n)) <= set(zip(t_all, n_all))
    np.testing.assert_array_equal(fewer.sources[~np.isfinite(times)], 0)


def test_drop_nothing_or_too_much():
    spikes = ej.encoders.latency(np.array([0.3, 0.1, 0.2]), 0.0, 10.0)
    same = ej.encoders.drop_spikes(spikes, 0.0, key=jr.key(0))
    np.testing.assert_array_equal(same.times, spikes.times)
    np.testing.assert_array_equal(same.sources, spikes.sources)
    with pytest.raises(ValueError, match="`rate`"):
        ej.encoders.drop_spikes(spikes, 1.0, key=jr.key(0))
