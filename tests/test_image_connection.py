"""Convolutions between layers in a row, on a time grid and spike by spike."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from networks import dense

import eventjax as ej


IN_SHAPE, STEPS = (2, 4, 3), 8
SIZE = 24
CONV = ej.Conv2d(2, 3, 3, padding=1, stride=(2, 1), std=0.4, key=jr.key(1))
POOLED = ej.Chain([ej.AveragePool2d((2, 1)), ej.Conv2d(3, 2, (1, 2), key=jr.key(2))])


def connections():
    first = ej.ImageConnection(CONV, IN_SHAPE)
    return first, ej.ImageConnection(POOLED, first.out_shape)


def as_dense(connection):
    return dense(connection.rows(jnp.arange(connection.in_size)))


def network(one, two) -> ej.Network:
    fall = ej.ThresholdFall(0.8, 0.2, float(STEPS))
    make = lambda x: ej.Layer(x, ej.AdaptiveLIF(x.out_size, fall, tau_mem=4.0))
    return ej.Network([make(one), make(two)])


def draw() -> ej.Spikes:
    raster = np.random.default_rng(0).random((2, STEPS, SIZE)) < 0.3
    frames = ej.Frames(jnp.asarray(raster.astype(float)), 1.0)
    return frames.to_spikes(STEPS * SIZE)


def test_shapes_and_rows():
    first, second = connections()
    assert (first.in_size, first.out_shape) == (SIZE, (3, 2, 3))
    assert (second.in_size, second.out_shape) == (18, (2, 1, 2))
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(5, *IN_SHAPE)))
    want = CONV.apply(x).reshape(5, -1)
    rows = first.rows(jnp.arange(SIZE).reshape(4, 6)).reshape(SIZE, -1)
    np.testing.assert_allclose(x.reshape(5, -1) @ rows, want, atol=1e-13)
    np.testing.assert_allclose(first.carry(x.reshape(5, -1)), want, atol=1e-13)


@pytest.mark.parametrize("backward", [None, ej.NextSpike()])
def test_equals_its_matrix(backward):
    """Spikes of both layers and gradients, of the kernel's weights too."""
    rule = ej.MPDED(backward=backward)
    given = draw()

    def loss(pair):
        net = network(*pair)
        sol = ej.simulate(
            net, given, float(STEPS), solver=ej.Clocked(1.0), adjoint=rule
        )
        out = sol.frames[1].counts
        weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        return jnp.sum(weights * out), [x.counts for x in sol.frames]

    run = eqx.filter_jit(eqx.filter_grad(loss, has_aux=True))
    got, spikes = run(connections())
    matrices = tuple(map(as_dense, connections()))
    want, same = run(matrices)
    for x, y in zip(spikes, same, strict=True):
        np.testing.assert_array_equal(x, y)
        assert 0.05 < np.mean(x) < 0.7
    # What the matrix' gradient says of the kernel.
    for k, connection in enumerate(connections()):
        arrays, rest = eqx.partition(connection, eqx.is_inexact_array)
        matrix = lambda a: as_dense(eqx.combine(a, rest)).weight
        _, pull = jax.vjp(matrix, arrays)
        expected = jax.tree.leaves(pull(want[k].weight)[0])
        found = jax.tree.leaves(got[k])
        assert jnp.linalg.norm(expected[0]) > 0.1
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-10, atol=1e-12)


def test_exact_solvers_take_it():
    first, _ = connections()
    given = draw()
    spikes = ej.Spikes(given.times[:, :12], given.sources[:, :12])
    run = lambda x: ej.simulate(ej.Network([ej.Layer(x, ej.LIF(18))]), spikes, 20.0)
    scaled = eqx.tree_at(lambda c: c.linear_map.weight, first, 8 * CONV.weight)
    got, want = (eqx.filter_jit(run)(x) for x in (scaled, as_dense(scaled)))
    assert np.all(np.asarray(got.num_spikes[0]) > 3)
    np.testing.assert_allclose(got.spikes[0].times, want.spikes[0].times, rtol=1e-12)


def test_float_types_mix():
    """A narrow kernel under wide input, as for matrices."""
    first, _ = connections()
    narrow = eqx.tree_at(lambda c: c.linear_map.weight, first, CONV.weight.astype("f4"))
    layer = ej.Layer(narrow, ej.AdaptiveLIF(18))
    how = dict(solver=ej.Clocked(1.0), adjoint=ej.MPDED())
    with jax.numpy_dtype_promotion("standard"):
        sol = ej.simulate(ej.Network([layer]), draw(), float(STEPS), **how)
    assert sol.frames[0].counts.dtype == jnp.float64


def test_wrong_shape():
    with pytest.raises(ValueError, match="with 3 channels"):
        ej.ImageConnection(CONV, (3, 4, 4))
    with pytest.raises(ValueError, match="`connection` reaches 18 neurons"):
        ej.Layer(connections()[0], ej.AdaptiveLIF(17))
