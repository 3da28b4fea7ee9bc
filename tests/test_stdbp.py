"""The rival without windows: against the definition, and against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ramp_networks import ramp_dense, random_first_spikes

import eventjax as ej


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from paper_repro.event_driven_learning._stdbp import stdbp_layer  # noqa: E402


@eqx.filter_jit
def run(weight, spikes):
    return stdbp_layer(ramp_dense(weight), spikes)


def voltage(t, times, weights):
    """Of one neuron at one or many times."""
    psp = np.maximum(np.asarray(t)[..., None] - times, 0.0)
    return np.sum(weights * np.where(np.isfinite(times), psp, 0.0), axis=-1)


def brute_force(times, weights):
    """A fine grid, with all input times in it so that no peak is missed, on which the
    first step that crosses is halved again and again."""
    given = times[np.isfinite(times)]
    grid = np.sort(np.concatenate([np.arange(0.0, 3.0, 1e-2), given]))
    far = grid[-1]
    while voltage(far, times, weights) < 1 and far < 1e12:
        far *= 2  # after the last input it goes straight on
    grid = np.append(grid, far)
    there = voltage(grid, times, weights) >= 1
    if not there.any():
        return np.inf
    high = grid[np.argmax(there)]
    low = grid[max(np.argmax(there) - 1, 0)]
    for _ in range(100):
        middle = 0.5 * (low + high)
        if voltage(middle, times, weights) >= 1:
            high = middle
        else:
            low = middle
    return high


def test_against_the_definition():
    rng = np.random.default_rng(0)
    spikes = random_first_spikes(rng, (3, 20, 12))
    weight = jnp.asarray(rng.normal(size=(12, 15)) * 0.7)
    got = run(weight, spikes)
    want = np.array(
        [
            [brute_force(times, w) for w in np.asarray(weight).T]
            for times in np.asarray(spikes.times).reshape(-1, 12)
        ]
    ).reshape(3, 20, 15)
    np.testing.assert_array_equal(got.spikes.fired, np.isfinite(want))
    np.testing.assert_allclose(got.spikes.times, want, rtol=1e-11)
    silent, early = ~np.isfinite(want), want < 1
    # All that can happen does: silence, spikes between inputs, and long after them.
    assert (
        silent.mean() > 0.2
        and early.mean() > 0.1
        and (want > 10).sum() > silent.sum() / 50
    )
    np.testing.assert_array_equal(np.asarray(got.slope) > 0, ~silent)


def test_gradients_against_differences():
    rng = np.random.default_rng(1)
    spikes = random_first_spikes(rng, (4, 10))
    weight = jnp.asarray(rng.normal(size=(10, 8)) * 0.7)

    @jax.jit
    @jax.value_and_grad
    def total(given):
        weight, times = given
        out = run(weight, ej.FirstSpikes(times, spikes.fired)).spikes
        return jnp.sum(jnp.where(out.fired, jnp.sin(out.times), 0.0))

    given = weight, spikes.times
    _, slopes = total(given)
    assert all(np.isfinite(x).all() for x in slopes)
    np.testing.assert_array_equal(np.asarray(slopes[1])[~np.asarray(spikes.fired)], 0.0)
    before = run(weight, spikes).spikes
    assert 5 < before.fired.sum() < before.fired.size - 5
    for k in range(2):
        direction = rng.normal(size=given[k].shape)
        direction /= np.linalg.norm(direction)

        def at(step):
            moved = [
                x + step * jnp.asarray(direction) if j == k else x
                for j, x in enumerate(given)
            ]
            after = run(moved[0], ej.FirstSpikes(moved[1], spikes.fired)).spikes
            np.testing.assert_array_equal(after.fired, before.fired)
            return float(total(tuple(moved))[0])

        h = 1e-4
        numeric = np.dot([1, -8, 8, -1], [at(h * x) for x in (-2, -1, 1, 2)]) / (12 * h)
        finite = np.where(np.isfinite(given[k]), slopes[k], 0.0)
        assert abs(numeric - np.sum(finite * direction)) < 1e-8


def test_two_inputs_by_hand():
    # 2 t reaches 1 at 0.5, before the second input; with 0.5 t it is a cause.
    spikes = ej.FirstSpikes(jnp.asarray([0.0, 1.0]), jnp.ones(2, bool))
    got = run(jnp.asarray([[2.0, 0.5, 0.5, -1.0], [9.0, 1.5, -0.5, 0.5]]), spikes)
    np.testing.assert_allclose(
        got.spikes.times, [0.5, 1.25, np.inf, np.inf], rtol=1e-15
    )
    np.testing.assert_array_equal(got.slope, [2.0, 2.0, 0.0, 0.0])


@pytest.mark.parametrize("fired", [False, True])
def test_silence_is_no_nan(fired):
    """No input at all, and input that makes nobody spike."""
    spikes = ej.FirstSpikes(jnp.full(3, 0.5 if fired else jnp.inf), jnp.full(3, fired))

    def total(weight):
        out = run(weight, spikes).spikes
        return jnp.sum(jnp.where(out.fired, out.times, 0.0)), out.fired

    slope, there = jax.grad(total, has_aux=True)(-jnp.ones((3, 2)))
    assert not there.any()
    np.testing.assert_array_equal(slope, np.zeros((3, 2)))


def test_single_precision_and_late_spikes():
    """Where the slope is next to nothing the spike is very late, or beyond all numbers."""
    spikes = ej.FirstSpikes(jnp.zeros(1, jnp.float32), jnp.ones(1, bool))
    weight = jnp.asarray([[1e-6, 1e-44]], jnp.float32)
    got = run(weight, spikes)
    assert got.spikes.times.dtype == jnp.float32
    np.testing.assert_allclose(got.spikes.times, [1e6, np.inf], rtol=1e-6)


def test_errors():
    spikes = ej.FirstSpikes(jnp.zeros(3), jnp.ones(3, bool))
    dense = ej.Dense(3, 2, key=jr.key(0))
    with pytest.raises(ValueError, match="`threshold` must be positive, got 0"):
        stdbp_layer(dense, spikes, threshold=0.0)
    with pytest.raises(ValueError, match="shape \\[\\*batch, 4\\].*got \\(3,\\)"):
        stdbp_layer(ej.Dense(4, 2, key=jr.key(0)), spikes)
