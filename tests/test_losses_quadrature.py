"""The cross-entropy inside the integral, and how exact its rule is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense

import eventjax as ej


def test_rule_is_that_of_gauss():
    rule = ej.losses.Quadrature(7.0, t0=2.0, panels=3, points=2)
    assert rule.times.shape == (6,)
    assert np.all(np.diff(rule.times) > 0)
    for power in range(4):
        exact = (7.0 ** (power + 1) - 2.0 ** (power + 1)) / (power + 1)
        total = jnp.sum(rule.weights * rule.times**power)
        np.testing.assert_allclose(total, exact, rtol=1e-13)


def test_loss_is_the_formula():
    rng = np.random.default_rng(0)
    rule = ej.losses.Quadrature(5.0, panels=4, points=3)
    v = rng.normal(0, 3, (2, 12, 3)) - 800  # softmax must be stable far from zero
    labels = np.array([2, 0])

    def loss(v):
        return ej.losses.cross_entropy_in_integral(v, rule, labels)

    shifted = v + 800
    p = np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)
    picked = p[[[0], [1]], np.arange(12)[None], labels[:, None]]
    expected = -np.log(picked) @ np.asarray(rule.weights) / 5
    np.testing.assert_allclose(jax.jit(loss)(jnp.asarray(v)), expected, rtol=1e-12)
    slope = jax.jit(jax.grad(lambda v: loss(v).sum()))(jnp.asarray(v))
    weight = np.asarray(rule.weights)[None, :, None] / 5
    np.testing.assert_allclose(
        slope, weight * (p - np.eye(3)[labels][:, None]), atol=1e-12
    )


def test_error_falls_with_the_square_of_the_panels():
    """Arrivals make kinks, so more points in each panel do not help."""
    rng, t1 = np.random.default_rng(1), 100.0
    times = np.sort(rng.uniform(0, t1, (16, 50)), axis=1)
    sources = rng.integers(0, 8, times.shape, dtype=np.int32)
    spikes = ej.Spikes(jnp.asarray(times), jnp.asarray(sources))
    weight = jnp.asarray(rng.normal(0, 0.5, (8, 20)))
    network = ej.Network([ej.Layer(dense(weight), ej.LeakyIntegrator(20))])
    labels = jnp.arange(16)

    # All rules in one program.
    panels = [25, 50, 100, 200, 400]
    rules = [
        ej.losses.Quadrature(t1, panels=n, points=p) for n in panels for p in (1, 4)
    ]
    exact = ej.losses.Quadrature(t1, panels=8000, points=1)
    record = jnp.concatenate([x.times for x in (*rules, exact)])

    @eqx.filter_jit
    def losses(record):
        v = ej.simulate(network, spikes, t1, record=record).voltages[0]
        found, start = [], 0
        for rule in (*rules, exact):
            part = v[:, start : start + rule.times.shape[0]]
            found.append(ej.losses.cross_entropy_in_integral(part, rule, labels))
            start += rule.times.shape[0]
        return jnp.stack(found)

    *found, right = np.asarray(losses(record))
    assert 2 < right.mean() < 4
    error = np.sqrt(np.mean((np.stack(found) - right) ** 2, axis=1)).reshape(5, 2)
    order, _ = np.polyfit(np.log(panels), np.log(error), 1)
    np.testing.assert_allclose(-order, 2.0, atol=0.35)
    assert np.all(error[2] < 1e-4)


def test_wrong_settings_are_an_error():
    with pytest.raises(ValueError, match="`t1` must be finite and after `t0`"):
        ej.losses.Quadrature(1.0, t0=1.0)
    with pytest.raises(ValueError, match="`panels` and `points` must be at least 1"):
        ej.losses.Quadrature(1.0, panels=0)
    rule, labels = ej.losses.Quadrature(1.0, panels=3, points=1), jnp.zeros(2, int)
    with pytest.raises(ValueError, match=r"\[\*batch, 3, outputs\].*\(2, 4, 5\)"):
        ej.losses.cross_entropy_in_integral(jnp.zeros((2, 4, 5)), rule, labels)
    with pytest.raises(ValueError, match="0 to 4"):
        ej.losses.cross_entropy_in_integral(jnp.zeros((2, 3, 5)), rule, labels + 5)
    late = jax.jit(ej.losses.cross_entropy_in_integral)
    assert np.isnan(late(jnp.zeros((2, 3, 5)), rule, labels.at[0].set(5))[0])
