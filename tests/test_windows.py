"""The windows of the exact solver: few neurons or tiles of them, and own spikes among the
arrivals. Small networks are made to take the path of large ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej
from eventjax._connection._sort import ranks
from eventjax._solver import _chunked, _tiles


BATCH, INPUTS, NEURONS, CAPACITY, T1 = 3, 4, 6, 160, 50.0
DELAYS = {
    "none": None,  # no recurrence
    "short": jnp.full(NEURONS, 0.3),  # windows end where a spike arrives
    "long": jnp.full(NEURONS, 2.5),  # windows end before any can
    "mixed": jnp.array([0.0, 0.1, 1.0, 4.0, 9.0, 30.0]),
}


def make(delay, taus):
    rng = np.random.default_rng(3)
    lif = random_lif(rng, NEURONS)
    weight = random_weight(rng, lif, INPUTS, 0.9, 0.9)
    back = None
    if delay is not None:
        back = dense(random_weight(rng, lif, NEURONS, 0.0, 0.8), delay)
    layer = ej.Layer(
        dense(weight), ej.LIF(NEURONS, **(lif | taus)), back, capacity=CAPACITY
    )
    return ej.Network([layer]), random_spikes(rng, BATCH, 40, INPUTS, T1)


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def loss(network, spikes, adjoint):
    sol = ej.simulate(network, spikes, T1, adjoint=adjoint)
    times, place = sol.spikes[0].times, jnp.arange(1.0 * CAPACITY)[None]
    seen = jnp.where(jnp.isfinite(times), jnp.sin(times / 7), 0.0)
    end = jnp.sum(sol.final_state[0].v * jnp.arange(1.0 * NEURONS)[None])
    return jnp.sum(seen * jnp.cos(place)) + end, sol


@pytest.fixture(autouse=True, scope="module")
def _small_tiles():
    """Tiles that hold some of the 18 neurons, of which the small ones hold fewer still.
    (All neurons at once are what the tests of gradients have.)"""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("eventjax._solver._chunked", "eventjax._adjoint._equations"):
            patch.setattr(f"{module}.tile_size", lambda problem: 7)
        patch.setattr(_tiles, "FEW", 3)
        jax.clear_caches()
        yield
    jax.clear_caches()


# Shared time constants take a way of their own.
SHARED = dict(tau_mem=17.0, tau_syn=6.0)


@pytest.mark.parametrize("name, taus", [(x, {}) for x in DELAYS] + [("long", SHARED)])
def test_spikes_and_gradients_equal_those_of_direct(name, taus):
    network, spikes = make(DELAYS[name], taus)
    (one, sol), grads = loss(network, spikes, ej.Eventprop())
    (two, want), exact = loss(network, spikes, ej.Direct())
    count = np.asarray(want.num_spikes[0])
    assert count.min() > 20
    np.testing.assert_array_equal(sol.num_spikes[0], count)
    np.testing.assert_allclose(sol.spikes[0].times, want.spikes[0].times, rtol=1e-11)
    np.testing.assert_array_equal(sol.spikes[0].sources, want.spikes[0].sources)
    np.testing.assert_allclose(one, two, rtol=1e-10)
    for x, y in zip(jax.tree.leaves(grads), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9 * np.abs(y).max())


def test_slopes_are_those_of_the_voltage():
    network, spikes = make(DELAYS["mixed"], {})
    sol = ej.simulate(network, spikes, T1)
    times, sources = sol.spikes[0].times[0], sol.spikes[0].sources[0]
    step = 1e-5
    before = jnp.stack([times[5] - 2 * step, times[5] - step])
    v = ej.simulate(network, spikes, T1, record=before).voltages[0][0, :, sources[5]]
    np.testing.assert_allclose(sol.slopes[0][0, 5], (v[1] - v[0]) / step, rtol=1e-4)
    assert np.all(np.asarray(sol.slopes[0])[~np.isfinite(sol.spikes[0].times)] == 0)


def test_slopes_have_no_gradient():
    network, spikes = make(None, {})

    def total(network):
        return jnp.sum(ej.simulate(network, spikes, T1).slopes[0])

    with pytest.raises(Exception, match="slopes` has no gradient"):
        eqx.filter_jit(eqx.filter_grad(total))(network)


def test_record_is_full_before_it_overflows():
    network, spikes = make(DELAYS["mixed"], {})
    full = eqx.tree_at(
        lambda n: n.layers[0],
        network,
        ej.Layer(
            network.layers[0].connection,
            network.layers[0].neuron,
            network.layers[0].recurrent,
            capacity=9,
        ),
    )
    sol = ej.simulate(full, spikes, T1, throw=False)
    assert np.all(np.asarray(sol.num_spikes[0]) > 9)
    assert np.all(np.asarray(sol.result == ej.RESULTS.capacity_exceeded))


def test_ranks_of_windows_in_disorder():
    """Times that ascend from window to window and are in any order within one."""
    rng = np.random.default_rng(0)
    times = np.full((BATCH, 60), np.inf)
    for row in times:
        parts = [k + rng.uniform(size=rng.integers(0, 12)) for k in range(5)]
        found = np.round(np.concatenate(parts), 1)  # some at one time
        row[: len(found)] = found
    order = np.asarray(jax.jit(ranks)(jnp.asarray(times).T[:, :, None]))[:, :, 0].T
    want = np.argsort(np.argsort(times, axis=1, kind="stable"), axis=1)
    np.testing.assert_array_equal(order, want)
    assert _chunked.ranks is ranks
