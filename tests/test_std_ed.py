"""Gradients of STD-ED: in time, in x, by automatic differentiation, and by differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array
from ramp_networks import conv_network, ramp_dense, random_first_spikes

import eventjax as ej
from eventjax._solver._ramp import RampProblem


RULES = {"time": ej.STDED(), "dual": ej.STDED(dual=True)}


class SquareRamp(ej.AbstractRamp):
    """A threshold of one's own, start (1 - t / T)^2, which has no straight line."""

    start: Array

    def value(self, t, window):
        return self.start * (1 - t / window) ** 2

    def crossing(self, v, slope, window):
        # start (1 - y)^2 = v + slope T y, the smaller root.
        half = self.start + slope * window / 2
        under = half**2 - self.start * (self.start - v)
        active = (v < self.start) & (under >= 0) & (half > 0)
        root = jnp.sqrt(jnp.where(active, under, 1.0))
        y = (self.start - v) / jnp.where(active, half + root, 1.0)
        time = jnp.where(active & (y < 1), window * y, jnp.inf)
        return jnp.where(v >= self.start, 0.0, time)

    def closing_speed(self, v, slope, t, window):
        return slope + 2 * self.start * (1 - t / window) / window


@eqx.filter_jit
def network_gradient(given, fired, weights, adjoint):
    """Of a loss on all spike times and potentials; with it all spikes."""

    def loss(given):
        network, times = given
        spikes = ej.FirstSpikes(times, fired)
        sol = ej.simulate_first_spikes(network, spikes, adjoint=adjoint)
        total = jnp.sum(weights * jnp.tanh(sol.potentials))
        for x in sol.spikes:
            total += jnp.sum(jnp.where(x.fired, jnp.sin(2 * x.times), 0.0))
        return total, (sol.spikes, sol.regimes())

    return eqx.filter_value_and_grad(loss, has_aux=True)(given)


def draw_network(at_end=True):
    rng = np.random.default_rng(5)
    spikes = random_first_spikes(rng, (3, 2, 6, 4), 2.0)
    times = jnp.where(spikes.fired, spikes.times, 1.0)
    weights = jnp.asarray(rng.normal(size=(3, 3)))
    return (conv_network(at_end=at_end), times), spikes.fired, weights


@pytest.mark.parametrize("at_end", [True, False])
def test_both_spaces_and_direct(at_end):
    args = draw_network(at_end)
    (value, (spikes, regimes)), want = network_gradient(*args, ej.Direct())
    for one in regimes:
        assert np.mean(one.active) > 0.3 and np.mean(one.silent) > 0.1
    assert any(np.mean(one.saturated) > 0 for one in regimes)
    for name, rule in RULES.items():
        (got_value, (got, _)), slopes = network_gradient(*args, rule)
        np.testing.assert_allclose(got_value, value, rtol=1e-13)
        for x, y in zip(got, spikes, strict=True):
            np.testing.assert_allclose(x.times, y.times, rtol=1e-13)
        pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(want), strict=True)
        sizes = [float(jnp.linalg.norm(y)) for _, y in pairs]
        assert len(sizes) == 7 and min(sizes) > 1e-2, sizes
        for x, y in zip(jax.tree.leaves(slopes), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", RULES)
def test_against_differences(name):
    """Each leaf by itself in random directions, spikes as they were."""
    given, fired, weights = draw_network()
    (_, (spikes, _)), slopes = network_gradient(given, fired, weights, RULES[name])
    arrays, rest = eqx.partition(given, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(arrays)
    rng, h, worst = np.random.default_rng(6), 1e-4, 0.0
    for k, leaf in enumerate(leaves):
        direction = rng.normal(size=leaf.shape) / max(leaf.size, 1) ** 0.5

        def at(step):
            moved = [
                x + step * jnp.asarray(direction) if j == k else x
                for j, x in enumerate(leaves)
            ]
            moved = eqx.combine(jax.tree.unflatten(treedef, moved), rest)
            (value, (new, _)), _ = network_gradient(moved, fired, weights, RULES[name])
            for x, y in zip(new, spikes, strict=True):
                np.testing.assert_array_equal(x.fired, y.fired)
            return float(value)

        values = [at(h * x) for x in (-2, -1, 1, 2)]
        numeric = np.dot([1, -8, 8, -1], values) / (12 * h)
        slope = float(jnp.sum(jax.tree.leaves(slopes)[k] * direction))
        worst = max(worst, abs(numeric - slope))
    print(f"worst difference {worst:.1e}")
    assert worst < 1e-8


def layer_times(learnt, fired, adjoint):
    connection, threshold, times = learnt
    neuron = ej.RampIF(1.0, threshold=threshold)
    return adjoint.run_ramp(RampProblem(connection, neuron, times, fired))


@eqx.filter_jit
def layer_gradient(learnt, fired, adjoint):
    def total(learnt):
        times = layer_times(learnt, fired, adjoint)
        return jnp.sum(jnp.where(times < jnp.inf, times, 0.0))

    return eqx.filter_grad(total)(learnt)


PAPER = (
    np.array([[0.6, -0.4, 0.3], [-0.3, 0.5, -0.2], [5, 5, 5], [0.5, 0.2, 0.4]]),
    jnp.asarray([0.2, 0.5, np.inf, 0.9]),
)


@pytest.mark.parametrize("rule", RULES)
def test_paper_vector(rule):
    weight, times = PAPER
    learnt = ramp_dense(weight), ej.LinearRamp(), times
    got, _, back = layer_gradient(learnt, times < jnp.inf, RULES[rule])
    np.testing.assert_allclose(back, [0.22564103, 0.08461538, 0, 0.6982906], atol=1e-8)
    want = [
        [-0.63580247, -1.23668639, -0.89777778],
        [-0.4691358, -1.00591716, -0.69777778],
        [0, 0, 0],
        [-0.24691358, -0.69822485, -0.43111111],
    ]
    np.testing.assert_allclose(got.weight, want, atol=1e-8)


@pytest.mark.parametrize("rule", [*RULES, "direct"])
def test_signs_are_never_reversed(rule):
    """A later input makes a later spike if its weight is positive, an earlier one if it
    is negative; a larger weight never makes a later spike."""
    rng = np.random.default_rng(8)
    weight = jnp.asarray(rng.normal(0, 1.5, (7, 600)))
    spikes = random_first_spikes(rng, (7,))
    adjoint = RULES.get(rule, ej.Direct())

    def times_of(weight, times):
        learnt = ramp_dense(weight), ej.LinearRamp(), times
        return layer_times(learnt, spikes.fired, adjoint)

    by_weight, by_time = jax.jit(jax.jacrev(times_of, (0, 1)))(weight, spikes.times)
    by_weight = np.einsum("jij->ji", np.asarray(by_weight))
    by_time, fired = np.asarray(by_time), np.asarray(spikes.fired)
    found = np.asarray(times_of(weight, spikes.times))
    active = (found > 0) & (found < np.inf)
    assert active.sum() > 100
    assert np.all(by_weight[active][:, fired] < 0) and np.all(by_weight[~active] == 0)
    signs = np.sign(np.asarray(weight).T[:, fired])
    np.testing.assert_array_equal(np.sign(by_time[active][:, fired]), signs[active])
    assert np.all(by_time[:, ~fired] == 0) and np.all(by_time[~active] == 0)


@pytest.mark.parametrize("name", RULES)
def test_threshold_of_ones_own(name):
    rng = np.random.default_rng(9)
    spikes = random_first_spikes(rng, (4, 6))
    dense = ramp_dense(rng.normal(0.2, 0.8, (6, 30)))
    learnt = dense, SquareRamp(jnp.array(0.9)), spikes.times
    got = layer_gradient(learnt, spikes.fired, RULES[name])
    want = layer_gradient(learnt, spikes.fired, ej.Direct())
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert jnp.linalg.norm(y) > 0.1
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


def test_bound():
    """On the two derivatives of each spike, and only where they are larger."""
    learnt = ramp_dense(PAPER[0]), ej.LinearRamp(), PAPER[1]
    fired = PAPER[1] < jnp.inf
    exact = layer_gradient(learnt, fired, ej.STDED(bound=10.0))
    got = layer_gradient(learnt, fired, ej.STDED(bound=1.0))
    free = layer_gradient(learnt, fired, ej.STDED())
    np.testing.assert_array_equal(exact[0].weight, free[0].weight)
    t_star = np.array([1.34444444, 1.80769231, 1.54666667])
    by_moment = 1 / (1 + np.array([0.8, 0.3, 0.5]))
    by_weight = np.minimum(t_star * by_moment, 1.0)
    for k, t in ((0, 0.2), (1, 0.5), (3, 0.9)):
        want = t * by_moment - by_weight
        np.testing.assert_allclose(got[0].weight[k], want, atol=1e-8)


@pytest.mark.parametrize("name", RULES)
def test_batch_equals_vmap_and_one_trace(name):
    traces = []

    @eqx.filter_jit
    def run(network, spikes):
        traces.append(0)

        def loss(network):
            sol = ej.simulate_first_spikes(network, spikes, adjoint=RULES[name])
            return jnp.sum(sol.potentials**2)

        return eqx.filter_value_and_grad(loss)(network)

    (network, times), fired, _ = draw_network()
    spikes = ej.FirstSpikes(times, fired)
    value, slopes = run(network, spikes)
    run(network, ej.FirstSpikes(0.9 * times, fired))
    assert len(traces) == 1
    each, each_slopes = eqx.filter_jit(eqx.filter_vmap(run, in_axes=(None, 0)))(
        network, spikes
    )
    np.testing.assert_allclose(np.sum(each), value, rtol=1e-12)
    for x, y in zip(*map(jax.tree.leaves, (slopes, each_slopes)), strict=True):
        np.testing.assert_allclose(np.sum(y, 0), x, rtol=1e-9, atol=1e-12)


def test_float32_stays():
    (network, times), fired, _ = draw_network()
    half = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    network = jax.tree.map(half, network)
    spikes = ej.FirstSpikes(half(times), fired)
    for rule in RULES.values():
        sol = eqx.filter_jit(ej.simulate_first_spikes)(network, spikes, adjoint=rule)
        assert sol.potentials.dtype == sol.spikes[0].times.dtype == jnp.float32


def learner() -> ej.FirstSpikeNetwork:
    """Wide enough that no layer falls silent as a whole."""
    keys, neuron = jr.split(jr.key(0), 3), ej.RampIF(2.0)
    dense = lambda m, n, key: ej.Dense(m, n, mean=0.0, std=(2 / m) ** 0.5, key=key)
    hidden = ej.Chain([ej.Flatten(), dense(48, 32, keys[1])])
    return ej.FirstSpikeNetwork(
        [
            ej.FirstSpikeLayer(ej.Conv2d(2, 8, 3, padding=1, key=keys[0]), neuron),
            ej.EarliestPool2d(2),
            ej.FirstSpikeLayer(hidden, neuron),
            ej.PotentialReadout(dense(32, 3, keys[2]), 2.0),
        ]
    )


def test_learns():
    """A few images by heart, through a convolution and a pool."""
    (_, times), fired, _ = draw_network()
    network, spikes = learner(), ej.FirstSpikes(times, fired)
    labels = jnp.arange(3)
    optim = optax.adam(0.003)

    @eqx.filter_value_and_grad
    def loss(network):
        z = ej.simulate_first_spikes(network, spikes).potentials
        losses = optax.softmax_cross_entropy_with_integer_labels(z, labels)
        return jnp.mean(losses)

    @eqx.filter_jit
    def step(network, state):
        value, slopes = loss(network)
        moves, state = optim.update(slopes, state)
        return eqx.apply_updates(network, moves), state, value

    state, losses = optim.init(eqx.filter(network, eqx.is_inexact_array)), []
    for _ in range(100):
        with jax.numpy_dtype_promotion("standard"):  # Adam's counter is an integer
            network, state, value = step(network, state)
        losses.append(float(value))
    assert min(losses[-20:]) < 0.2 * losses[0], losses[::20]
