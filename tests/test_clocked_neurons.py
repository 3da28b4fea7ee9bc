"""Every neuron on a time grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convergence import slopes
from every_neuron import EVENTS, INPUTS, make_neuron, make_weights, MAKERS, SIZE, T1
from networks import dense, random_spikes

import eventjax as ej


BATCH = 2
# With other draws a spike at the very end of the run may miss it on the coarsest grid.
SEEDS = {"GatedUnit": 4}
FAST = "ALIF", "DeltaLIF", "Refractory"
KINDS = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in MAKERS
]


def make_network(name: str) -> tuple[ej.Network, ej.Spikes]:
    seed = SEEDS.get(name, 3)
    weight, recurrent = make_weights(name, seed)
    back = dense(recurrent, jnp.full(SIZE, 2.0))
    neuron = make_neuron(name, seed)
    layer = ej.Layer(dense(weight), neuron, back, capacity=96)
    rng = np.random.default_rng(seed)
    return ej.Network([layer]), random_spikes(rng, BATCH, EVENTS, INPUTS, 0.8 * T1)


@pytest.mark.parametrize("name", KINDS)
def test_first_order(name):
    network, spikes = make_network(name)
    closed = ej.has_closed_form(network.layers[0].neuron)
    exact = ej.ClosedForm() if closed else ej.DiffraxEvent()
    dts = [0.01, 0.005, 0.0025, 0.00125, 0.000625]
    times, _ = slopes(network, spikes, T1, dts, exact=exact)
    assert 0.8 < times < 1.3


@pytest.mark.parametrize("name", MAKERS)
def test_halves_and_gradients(name):
    """One run is two halves, and all parameters but delays have gradients."""
    network, spikes = make_network(name)
    solver, rule = ej.Clocked(0.5), ej.Surrogate(ej.surrogates.SuperSpike(1.0))
    is_free = jax.tree.map(eqx.is_inexact_array, network)
    where = lambda n: n.layers[0].recurrent.delay
    is_free = eqx.tree_at(where, is_free, replace=False)
    network = eqx.tree_at(where, network, 2.0)
    free, rest = eqx.partition(network, is_free)

    def run(free, spikes, t0, t1, state=None):
        network = eqx.combine(free, rest)
        return ej.simulate(
            network, spikes, t1, t0=t0, state=state, solver=solver, adjoint=rule
        )

    def loss(free):
        sol = run(free, spikes, 0.0, T1)
        frames = sol.frames[0].counts
        return jnp.sum(frames) + jnp.sum(sol.final_state[0].v), sol

    @jax.jit
    def everything(free):
        (_, whole), gradient = jax.value_and_grad(loss, has_aux=True)(free)
        one = run(free, spikes, 0.0, 12.5)
        nothing = ej.Spikes(jnp.full((BATCH, 1), jnp.inf), jnp.zeros((BATCH, 1), int))
        return whole, one, run(free, nothing, 12.5, T1, one.final_state), gradient

    whole, one, two, gradient = everything(free)
    assert whole.num_spikes[0].min() >= 2
    parts = [s.frames[0].counts for s in (one, two)]
    np.testing.assert_array_equal(
        jnp.concatenate(parts, axis=1), whole.frames[0].counts
    )
    ends = [jax.tree.leaves(s.final_state[0]) for s in (two, whole)]
    for x, y in zip(*ends, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) >= 3
    for x in leaves:
        assert np.all(np.isfinite(x)) and np.abs(x).max() > 0

    # In single precision nothing becomes double.
    single = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    small, few = jax.tree.map(single, (free, spikes))
    sol = jax.eval_shape(lambda: run(small, few, 0.0, T1))
    floats = [x for x in jax.tree.leaves(sol) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {jnp.dtype(jnp.float32)}
