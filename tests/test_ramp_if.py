"""The closed formula of `RampIF` layers: regimes, times, and the code for pixels."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ramp_networks import brute_force, ramp_dense, random_first_spikes

import eventjax as ej
from eventjax._solver._ramp import ramp_times, RampProblem


MANY, INPUTS = 10_000, 6
SETTINGS = {
    "paper": (1.0, 1.0, 1.0, 0.0),  # window, rise, start, end
    "general": (7.0, 3.0, 0.8, 0.1),
    "fixed": (1.0, 1.0, 0.7, 0.7),
}


def one_by_one(times, weights, neuron):
    """Each neuron has its own input: the sums are made here, the formula is the layer's."""
    fired = np.isfinite(times)
    weight = np.sum(weights * fired, -1)
    moment = np.sum(weights * np.where(fired, times, 0.0), -1)
    v = jnp.asarray((neuron.window * weight - moment) / neuron.rise)
    slope = jnp.asarray(weight / neuron.rise)
    return np.asarray(neuron.threshold.crossing(v, slope, neuron.window))


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_brute_force(name):
    window, rise, start, end = SETTINGS[name]
    neuron = ej.RampIF(window, threshold=ej.LinearRamp(start, end), rise=rise)
    rng = np.random.default_rng(1)
    size = (8 * MANY, INPUTS)
    times = rng.uniform(0, window, size)
    times[rng.random(size) < 0.3] = np.inf
    weights = rng.normal(0.15, 0.9, size) * rise / window
    got = one_by_one(times, weights, neuron)
    want = brute_force(times, weights, neuron, start, end) - window
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    np.testing.assert_array_equal(got == 0, want == 0)
    there = np.isfinite(want)
    np.testing.assert_allclose(got[there], want[there], rtol=0, atol=1e-11 * window)
    counts = [np.sum(got == 0), np.sum(there & (got > 0)), np.sum(~there)]
    assert min(counts) >= MANY, counts


def test_paper_vector():
    """Spikes of the layer, with weights, inputs and times worked out by hand."""
    times = jnp.asarray([0.2, 0.5, np.inf, 0.9])
    weight = np.array(
        [
            [0.6, -0.4, 0.3, -0.4, 1.5],
            [-0.3, 0.5, -0.2, 0.8, 1.0],
            [5, 5, 5, 5, 5],
            [0.5, 0.2, 0.4, -0.9, 0.2],
        ]
    )
    problem = RampProblem(ramp_dense(weight), ej.RampIF(1.0), times, times < jnp.inf)
    want = [0.34444444, 0.80769231, 0.54666667, np.inf, 0.0]
    np.testing.assert_allclose(ramp_times(problem), want, atol=1e-8)
    # W + A over 1 + W, in x = 1 - t.
    weight, x = weight[[0, 1, 3]], 1 - np.array([0.2, 0.5, 0.9])
    by_x = np.clip((weight.sum(0) + x @ weight) / (1 + weight.sum(0)), 0, 1)[:3]
    np.testing.assert_allclose(1 - ramp_times(problem)[:3], by_x, atol=1e-15)


def test_units_do_not_matter():
    """Weights mean the same under any window; `rise` undoes it."""
    rng = np.random.default_rng(2)
    dense = ramp_dense(rng.normal(size=(6, 50)))
    spikes = random_first_spikes(rng, (3, 6))

    def run(neuron, scale):
        times = spikes.times * scale
        return ramp_times(RampProblem(dense, neuron, times, spikes.fired)) / scale

    want = run(ej.RampIF(1.0), 1.0)
    np.testing.assert_allclose(run(ej.RampIF(5.0), 5.0), want, rtol=1e-12)
    quick = run(ej.RampIF(5.0, rise=1.0), 5.0)
    assert np.sum(quick == 0) > np.sum(np.asarray(want) == 0)


def test_spikes_stay_in_the_window():
    """Also where rounding would take them out, in float32."""
    ramp = ej.LinearRamp()
    rng = np.random.default_rng(3)
    v = (1 - 10 ** rng.uniform(-8, 0, 20_000)).astype(np.float32)
    slope = (-v * (1 - 10 ** rng.uniform(-8, 0, 20_000))).astype(np.float32)
    v, slope = jnp.asarray(v), jnp.asarray(slope)
    times = np.asarray(ramp.crossing(v, slope, 1.0))
    assert times.dtype == np.float32
    there = np.isfinite(times)
    assert np.all((times[there] >= 0) & (times[there] <= 1)) and there.sum() > 10_000
    speed = ramp.closing_speed(v, slope, jnp.asarray(times), 1.0)
    assert np.all(np.asarray(speed)[there & (times > 0)] > 0)


def test_depth_does_not_silence():
    """Under the ramp about half of the neurons fire in every layer; a fixed threshold
    silences deep ones. 8 layers, Kaiming's weights."""
    keys = jr.split(jr.key(0), 8)
    size, shares = 256, []
    spikes = ej.encoders.first_spikes(jr.uniform(jr.key(1), (32, size)), 1.0)
    for end in (0.0, 1.0):
        neuron = ej.RampIF(1.0, threshold=ej.LinearRamp(1.0, end))
        dense = lambda key: ej.Dense(
            size, size, mean=0.0, std=(2 / size) ** 0.5, key=key
        )
        net = ej.FirstSpikeNetwork([ej.FirstSpikeLayer(dense(k), neuron) for k in keys])
        regimes = ej.simulate_first_spikes(net, spikes).regimes()
        total = regimes[0].active + regimes[0].saturated + regimes[0].silent
        np.testing.assert_allclose(total, 1.0)
        shares.append([1 - float(np.mean(r.silent)) for r in regimes])
    ramp, fixed = shares
    assert 0.35 < min(ramp) and max(ramp) < 0.65, ramp
    assert fixed[-1] < 0.1 < fixed[0], fixed


def test_first_spikes_code():
    values = np.array([[0.0, 0.25], [1.0, 0.5]])
    spikes = ej.encoders.first_spikes(values, 4.0)
    np.testing.assert_array_equal(spikes.times, [[np.inf, 3.0], [0.0, 2.0]])
    np.testing.assert_array_equal(spikes.fired, values > 0)


@pytest.mark.parametrize("bad", [1.2, -0.1, np.nan])
def test_pixels_out_of_range(bad):
    with pytest.raises(ValueError, match=r"`values` must lie in \[0, 1\], got"):
        ej.encoders.first_spikes(np.array([[0.5, bad]]), 1.0)


def test_image_shape():
    images = np.zeros((2, 8, 8, 3))
    with pytest.raises(ValueError, match=r"\(3, 8, 8\).*got shape \(2, 8, 8, 3\)"):
        ej.encoders.first_spikes(images, 1.0, image_shape=(3, 8, 8))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan, "one"])
def test_window_not_positive(bad):
    with pytest.raises(ValueError, match="`window` must be"):
        ej.RampIF(bad)
    with pytest.raises(ValueError, match="`window` must be"):
        ej.encoders.first_spikes(np.zeros(2), bad)


def test_thresholds_that_are_refused():
    with pytest.raises(ValueError, match="`start` at least `end`"):
        ej.LinearRamp(0.0, 1.0)
    with pytest.raises(ValueError, match="`threshold` must be a ramp"):
        ej.RampIF(1.0, threshold=1.0)
    with pytest.raises(ValueError, match="`rise` must be positive"):
        ej.RampIF(1.0, rise=-1.0)
