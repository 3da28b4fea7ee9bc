"""Voltages at times asked for with `record`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej


BATCH, INPUTS, NEURONS, T1 = 2, 4, 5, 40.0
CAPACITY = 64


def make_network(rng: np.random.Generator) -> ej.Network:
    lif = random_lif(rng, NEURONS)
    into = dense(random_weight(rng, lif, INPUTS, 2.5, 1.0))
    back = dense(random_weight(rng, lif, NEURONS, 0.0, 0.5), jnp.full(NEURONS, 2.0))
    neuron = ej.LIF(NEURONS, **lif)
    return ej.Network([ej.Layer(into, neuron, recurrent=back, capacity=CAPACITY)])


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    return make_network(rng), random_spikes(rng, BATCH, 12, INPUTS, T1)


def voltages(network, spikes, record, adjoint=ej.Eventprop()):
    sol = ej.simulate(network, spikes, T1, record=record, adjoint=adjoint)
    return sol.voltages[0], sol


def test_just_before_and_after_spikes(case):
    """V is at the threshold before a spike of a neuron, and at its reset after it."""
    network, spikes = case
    sol = voltages(network, spikes, jnp.zeros(1))[1]
    count = int(sol.num_spikes[0].min())
    assert count >= 5
    times = np.asarray(sol.spikes[0].times[0, :count])
    sources = np.asarray(sol.spikes[0].sources[0, :count])
    record = jnp.asarray(np.concatenate([times - 1e-9, times]))
    v = np.asarray(voltages(network, spikes, record)[0][0])
    neuron, at = network.layers[0].neuron, np.arange(count)
    np.testing.assert_allclose(
        v[at, sources], np.asarray(neuron.v_threshold)[sources], atol=1e-7
    )
    np.testing.assert_allclose(
        v[count + at, sources], np.asarray(neuron.v_reset)[sources], atol=1e-9
    )


def test_gradients_of_both_adjoints_agree(case):
    network, spikes = case
    record = jnp.linspace(0.0, T1, 7)
    reads = np.random.default_rng(4).normal(size=(BATCH, 7, NEURONS))

    def loss(network, adjoint):
        return jnp.sum(voltages(network, spikes, record, adjoint)[0] * reads)

    grad = eqx.filter_jit(eqx.filter_grad(loss))
    one, two = grad(network, ej.Eventprop()), grad(network, ej.Direct())
    leaves = jax.tree.leaves(eqx.filter(one, eqx.is_inexact_array))
    assert any(np.abs(x).max() > 1e-3 for x in leaves)
    for x, y in zip(leaves, jax.tree.leaves(eqx.filter(two, eqx.is_inexact_array))):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


def test_memory_does_not_grow_with_recorded_times(case):
    network, spikes = case

    def temporary(times: int) -> int:
        def loss(weight):
            where = lambda n: n.layers[0].connection.weight
            net = eqx.tree_at(where, network, weight)
            return jnp.sum(voltages(net, spikes, jnp.linspace(0, T1, times))[0] ** 2)

        weight = network.layers[0].connection.weight
        compiled = jax.jit(jax.grad(loss)).lower(weight).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary(10), temporary(1010)
    results = 1000 * BATCH * NEURONS * 8  # the voltages themselves
    assert many - few < 10 * results


MIXED = dict(
    tau_mem=jnp.array([20.0, 8.0, 8.0, 8.0, 3.0, 6.0]),
    tau_syn=jnp.array([5.0, 8.0, 8.0 + 1e-9, 8.001, 6.0, 3.0]),
    bias=jnp.array([0.0, 0.3, -0.3, 0.0, 0.5, 3.0]),
)


def largest(inputs):
    """Highest voltages of neurons that do not spike, and voltages at many times."""
    weight, times, sources, taus, state = inputs
    network = ej.Network([ej.Layer(dense(weight), ej.LeakyIntegrator(6, **taus))])
    sol = ej.simulate(
        network,
        ej.Spikes(times, sources),
        T1,
        state=(ej.LayerState(ej.LIFState(*state)),),
        record=jnp.linspace(0, T1, 801),
    )
    return sol.max_voltages, sol.voltages[0]


def draw_integrators():
    rng = np.random.default_rng(5)
    spikes = random_spikes(rng, BATCH, 30, INPUTS, 1.2 * T1)  # some come too late
    state = rng.normal(0, 1, (2, BATCH, 6))
    state[0, 0] = 50.0  # highest at the start
    weight = jnp.asarray(rng.normal(0.3, 1, (INPUTS, 6)))
    return weight, spikes.times, spikes.sources, MIXED, tuple(jnp.asarray(state))


def test_largest_voltage():
    top, v = eqx.filter_jit(largest)(draw_integrators())
    highest = np.asarray(np.max(v, axis=1))
    top = np.asarray(top)
    assert np.all(top >= highest - 1e-12)
    np.testing.assert_allclose(top, highest, atol=1e-3)
    np.testing.assert_allclose(top[0], 50.0)
    # Not only at the start and at the end: peaks in between count.
    assert np.sum((top[1] > v[1, 0] + 0.1) & (top[1] > v[1, -1] + 0.1)) >= 3


def test_gradient_of_the_largest_voltage():
    inputs = draw_integrators()
    reads = jnp.asarray(np.random.default_rng(6).normal(size=(BATCH, 6)))
    diff, rest = eqx.partition(inputs, eqx.is_inexact_array)

    @jax.jit
    def loss(diff):
        return jnp.sum(reads * largest(eqx.combine(diff, rest))[0])

    slopes = jax.grad(loss)(diff)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), diff)
        move = lambda h: jax.tree.map(lambda x, y: x + h * y, diff, way)
        expected = (loss(move(1e-6)) - loss(move(-1e-6))) / 2e-6
        products = jax.tree.map(lambda x, y: jnp.sum(x * y), slopes, way)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), expected, rtol=1e-6)


def test_times_in_any_order(case):
    """Also several that are the same, and those of arrivals and of spikes."""
    network, spikes = case
    sol = voltages(network, spikes, jnp.zeros(1))[1]
    own = sol.spikes[0].times[0, :3]
    record = jnp.concatenate([jnp.linspace(0.0, T1, 6), own, spikes.times[1, :2], own])
    order = np.random.default_rng(7).permutation(len(record))
    v = voltages(network, spikes, record)[0]
    moved = voltages(network, spikes, record[order])[0]
    np.testing.assert_allclose(moved, v[:, order], atol=1e-14)
    np.testing.assert_allclose(v[:, 6:9], v[:, 11:], atol=1e-14)
