"""Spikes found window by window, in the order of their times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eventjax._solver import _sort


BATCH, CAPACITY = 3, 150


def draw(rng, sizes, dtype, step=0.0):
    """Times of windows that last 1 ms each, from -2 ms on, the first window's first."""
    times = np.full((BATCH, CAPACITY), np.inf, dtype)
    before, count = np.zeros((len(sizes) + 2, BATCH), np.int32), np.zeros(BATCH, int)
    for sample in range(BATCH):
        for window, size in enumerate(sizes):
            place = before[window, sample] = count[sample]
            size = rng.integers(size // 2, size + 1)
            found = window - 2 + rng.uniform(size=size)
            found = np.round(found / step) * step if step else found
            times[sample, place : place + size] = found
            count[sample] += size
    return jnp.asarray(times), jnp.asarray(count, jnp.int32), jnp.asarray(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [0.0, 0.25])
@pytest.mark.parametrize("sizes", [(150,), (0, 40, 3, 90, 1), (2,) * 70, (0,)])
def test_sorted_places(sizes, step, dtype):
    times, count, before = draw(np.random.default_rng(0), sizes, dtype, step)
    places = np.asarray(jax.jit(_sort.sorted_places)(times, count, before))
    order = np.argsort(times, axis=1, kind="stable")
    np.testing.assert_array_equal(
        np.take_along_axis(places, order, axis=1)[0], np.arange(CAPACITY)
    )
    np.testing.assert_array_equal(places, np.argsort(order, axis=1))
    np.testing.assert_array_equal(places, _sort._by_sorting(times))


@pytest.mark.parametrize("limit", [10, 1000])
def test_few_or_many_in_a_window(limit, monkeypatch):
    monkeypatch.setattr(_sort, "TOO_WIDE", limit)
    times, count, before = draw(np.random.default_rng(1), (30, 60, 20), np.float64)
    places = _sort.sorted_places(times, count, before)
    np.testing.assert_array_equal(places, _sort._by_sorting(times))
