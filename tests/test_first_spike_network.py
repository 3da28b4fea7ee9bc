"""Connections and pools of first-spike networks, and what these refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ramp_networks import brute_force, conv_network, ramp_dense, random_first_spikes

import eventjax as ej


def test_conv2d_by_hand():
    """With stride and border, weight by weight."""
    rng = np.random.default_rng(0)
    conv = ej.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), key=jr.key(0))
    x, w = rng.normal(size=(4, 2, 5, 4)), np.asarray(conv.weight)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    want = np.zeros((4, 3, 3, 3))
    for i, j in np.ndindex(3, 3):
        patch = padded[:, :, 2 * i : 2 * i + 3, j : j + 2]
        want[:, :, i, j] = np.einsum("bchw,ochw->bo", patch, w)
    np.testing.assert_allclose(conv.apply(jnp.asarray(x)), want, atol=1e-12)
    np.testing.assert_allclose(conv.apply(jnp.asarray(x[0])), want[0], atol=1e-12)


def test_average_pool_is_shared_weights():
    """A pool before a connection is a part of each weight for each source."""
    rng = np.random.default_rng(1)
    spikes = random_first_spikes(rng, (1, 4, 4))
    weight = rng.normal(0.3, 1.0, (4, 60))
    chain = ej.Chain([ej.AveragePool2d(2), ej.Flatten(), ramp_dense(weight)])
    layer = ej.FirstSpikeLayer(chain, ej.RampIF(1.0))
    sol = ej.simulate_first_spikes(ej.FirstSpikeNetwork([layer]), spikes)
    full = np.repeat(np.repeat(weight.reshape(2, 2, 60), 2, 0), 2, 1) / 4
    each = np.broadcast_to(np.asarray(spikes.times).reshape(1, 16), (60, 16))
    want = brute_force(each, full.reshape(16, 60).T, ej.RampIF(1.0), 1.0, 0.0)
    assert 10 < np.isfinite(want).sum() < 50
    np.testing.assert_allclose(sol.spikes[0].times, want, atol=1e-11)


def test_earliest_pool():
    rng = np.random.default_rng(2)
    spikes = random_first_spikes(rng, (2, 3, 5, 4))
    pooled = ej.EarliestPool2d(2)(spikes)
    times = np.asarray(spikes.times)[:, :, :4].reshape(2, 3, 2, 2, 2, 2)
    np.testing.assert_array_equal(pooled.times, times.min((3, 5)))
    np.testing.assert_array_equal(pooled.fired, pooled.times < np.inf)
    one = ej.EarliestPool2d(3, stride=1)(spikes)
    windows = np.lib.stride_tricks.sliding_window_view(spikes.times, (3, 3), (2, 3))
    np.testing.assert_array_equal(one.times, windows.min((-2, -1)))

    silent = ej.FirstSpikes(spikes.times, jnp.zeros_like(spikes.fired))
    assert not np.any(ej.EarliestPool2d(2)(silent).fired)


def test_earliest_pool_gradient():
    """Goes to the earliest, and never makes NaN of silence."""
    times = jnp.asarray([[[3.0, 1.0, np.inf, np.inf], [2.0, np.inf, np.inf, np.inf]]])

    def total(times):
        pooled = ej.EarliestPool2d(2)(ej.FirstSpikes(times, times < jnp.inf))
        return jnp.sum(jnp.where(pooled.fired, pooled.times**2, 0.0))

    slopes = jax.grad(total)(times)
    np.testing.assert_array_equal(slopes, [[[0, 2, 0, 0], [0, 0, 0, 0]]])


def test_windows_follow_one_another():
    rng = np.random.default_rng(3)
    net = conv_network(2.0)
    spikes = random_first_spikes(rng, (3, 2, 6, 4), 2.0)
    simulate = eqx.filter_jit(ej.simulate_first_spikes)
    sol = simulate(net, spikes)
    assert [x.times.shape for x in sol.spikes] == [(3, 4, 6, 4), (3, 12), (3, 5)]
    for k, x in enumerate(sol.spikes):
        there = np.asarray(x.times)[np.asarray(x.fired)]
        assert there.size and np.all((there >= 2 * k + 2) & (there <= 2 * k + 4))
        assert np.all(np.asarray(x.times)[~np.asarray(x.fired)] == np.inf)
    # The readout adds up what the last layer sends, until two windows later.
    times, weight = (
        np.asarray(sol.spikes[-1].times) - 6.0,
        net.layers[-1].connection.weight,
    )
    for at_end, read in ((True, 4.0), (False, 2.0)):
        psp = np.where(np.isfinite(times), (read - times) / 2.0, 0.0)
        sol = simulate(conv_network(2.0, at_end), spikes)
        assert sol.potentials is not None
        np.testing.assert_allclose(sol.potentials, psp @ np.asarray(weight), atol=1e-12)


def run(net, shape=(3, 2, 6, 4), **more):
    spikes = random_first_spikes(np.random.default_rng(4), shape, 2.0)
    return ej.simulate_first_spikes(net, spikes, **more)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((3, 6, 4, 2), "with 6 channels: channels come before"),
        ((6, 4), r"\[\*batch, channels, height, width\], got shape"),
        ((3, 2, 2, 2), "patches of|larger than images of"),
        ((3, 2, 8, 8), r"`Dense` takes values of shape \[\*batch, 12\]"),
    ],
)
def test_wrong_image_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: run(conv_network(), shape).potentials)


def test_times_out_of_the_window():
    with pytest.raises(ValueError, match=r"window, \[0, 1.0\] ms, got"):
        run(conv_network(1.0))


def test_adjoints_that_do_not_fit():
    with pytest.raises(ValueError, match="`Eventprop` does not work with `RampIF`"):
        run(conv_network(), adjoint=ej.Eventprop())
    lif = ej.Network([ej.Layer(ramp_dense(np.ones((2, 2))), ej.LIF(2))])
    spikes = ej.Spikes.from_dense(jnp.asarray([1.0, 2.0]))
    with pytest.raises(ValueError, match="`STDED`.*`ClosedForm`.*`RampIF`"):
        ej.simulate(lif, spikes, 10.0, adjoint=ej.STDED())
    with pytest.raises(ValueError, match="`bound` must be positive"):
        ej.STDED(bound=0.0)


def test_networks_that_are_refused():
    layer = ej.FirstSpikeLayer(ramp_dense(np.ones((2, 2))), ej.RampIF(1.0))
    other = ej.FirstSpikeLayer(ramp_dense(np.ones((2, 2))), ej.RampIF(2.0))
    readout = ej.PotentialReadout(ramp_dense(np.ones((2, 2))), 1.0)
    with pytest.raises(ValueError, match="one `window`.*got \\[1.0, 2.0\\] ms"):
        ej.FirstSpikeNetwork([layer, other])
    with pytest.raises(ValueError, match="does not spike: make it the last"):
        ej.FirstSpikeNetwork([readout, layer])
    with pytest.raises(ValueError, match="at least one `FirstSpikeLayer`"):
        ej.FirstSpikeNetwork([ej.EarliestPool2d(2)])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ej.Conv2d(0, 1, 3, key=jr.key(0)), "`in_channels` must be at least 1"),
        (lambda: ej.Conv2d(1, 1, 0, key=jr.key(0)), "`kernel_size` must be a whole"),
        (
            lambda: ej.Conv2d(1, 1, 3, stride=0, key=jr.key(0)),
            "`stride` must be a whole",
        ),
        (lambda: ej.AveragePool2d(0), "`size` must be a whole number of at least 1"),
        (lambda: ej.EarliestPool2d((2, 0)), "`size` must be a whole number"),
        (lambda: ej.Chain([]), "`maps` must hold at least one"),
    ],
)
def test_sizes_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
