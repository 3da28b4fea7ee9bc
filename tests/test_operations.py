"""Numbers of operations through convolutions and pools, against a list of synapses."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eventjax as ej


SHAPE = (2, 6, 6)
CONV = ej.Conv2d(2, 3, 3, padding=1, key=jr.key(0))
POOLED = ej.Chain([ej.AveragePool2d(2), CONV])
MAPS = {
    "dense": ej.Dense(72, 5, key=jr.key(1)),
    "convolution": ej.ImageConnection(CONV, SHAPE),
    "pool and convolution": ej.ImageConnection(POOLED, SHAPE),
}


def synapses(connection) -> np.ndarray:
    """Which sources and neurons have one, from what each source alone makes."""
    alone = jnp.eye(72)
    made = connection.carry if hasattr(connection, "carry") else connection.apply
    return np.asarray(made(alone)) != 0


@pytest.mark.parametrize("name", MAPS)
def test_pairs_are_synapses(name):
    connection, rng = MAPS[name], np.random.default_rng(0)
    exist = synapses(connection)
    given = rng.integers(0, 3, (4, 72)).astype(float)
    made = rng.integers(0, 2, (4, exist.shape[1])).astype(float)
    counted = ej.count_pairs(connection, jnp.asarray(given), jnp.asarray(made))
    expected = np.einsum("bi,ij,bj->b", given, exist.astype(float), made)
    np.testing.assert_allclose(counted, expected, rtol=1e-12)
    assert expected.min() > 0


def test_operations_of_a_convolution():
    connection, rng = MAPS["convolution"], np.random.default_rng(0)
    exist = synapses(connection).astype(float)
    given, spikes = ((rng.random((2, 5, n)) < 0.3) * 1.0 for n in (72, 108))
    mask, given_mask = spikes > 0, given > 0
    found = jax.jit(lambda *x: ej.count_operations(*x, connection=connection))(
        *map(jnp.asarray, (given, spikes, mask, given_mask))
    )
    # With the mask of spikes a neuron has an error up to its last spike.
    errors = np.flip(np.cumsum(np.flip(spikes, 1), 1), 1) > 0
    pairs = np.einsum("bti,ij,btj->b", given, exist, errors * 1.0)
    np.testing.assert_allclose(found.weight, pairs, rtol=1e-12)
    np.testing.assert_allclose(found.error, pairs, rtol=1e-12)  # the same sources
    np.testing.assert_allclose(found.backward, 2 * pairs, rtol=1e-12)
    every = np.einsum("bti,ij->b", given, exist)
    np.testing.assert_allclose(found.forward, every, rtol=1e-12)
    assert (pairs < every).all()


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"`made`.*\(2, 108\).*\(2, 107\)"):
        ej.count_pairs(MAPS["convolution"], jnp.ones((2, 72)), jnp.ones((2, 107)))
