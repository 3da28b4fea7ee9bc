"""`ClosedForm(fused=True)`: the same spikes and gradients from one kernel for each layer.
On CPU the kernels are interpreted."""

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from networks import dense, random_spikes

import eventjax as ej


FUSED = ej.ClosedForm(fused=True)
T1 = 40.0


def network(*, recurrent=None, delay=None, hidden=5, dtype=None):
    """Neurons with parameters of their own, and leaky integrators."""
    keys = jr.split(jr.key(0), 4)
    spread = lambda key, mean: mean * jr.uniform(key, (hidden,), minval=0.8, maxval=1.2)
    neuron = ej.LIF(
        hidden,
        tau_mem=spread(keys[0], 20.0),
        tau_syn=spread(keys[1], 5.0),
        v_reset=-0.1,
        bias=0.1,
    )
    back = None
    if recurrent is not None:
        back = dense(recurrent * jr.normal(keys[2], (hidden, hidden)), delay)
    net = ej.Network(
        [
            ej.Layer(
                ej.Dense(4, hidden, mean=1.6, std=0.8, key=keys[3]),
                neuron,
                recurrent=back,
                capacity=64,
            ),
            ej.Layer(ej.Dense(hidden, 2, key=keys[1]), ej.LeakyIntegrator(2)),
        ]
    )
    if dtype is None:
        return net
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
    return jax.tree.map(cast, net)


def inputs(dtype=jnp.float64):
    """With ties, arrivals at the start and at the end, and some places empty."""
    spikes = random_spikes(np.random.default_rng(0), 3, 24, 4, T1)
    times = spikes.times.at[0, 5:8].set(spikes.times[0, 7]).at[1, 0].set(0.0)
    times = times.at[2, -1].set(T1)
    return ej.Spikes(times.astype(dtype), spikes.sources)


@eqx.filter_jit
def run(net, spikes, solver, adjoint=ej.Eventprop(), **options):
    return ej.simulate(net, spikes, T1, solver=solver, adjoint=adjoint, **options)


@eqx.filter_jit
@eqx.filter_grad
def gradient(net__times, sources, solver, adjoint):
    """Of a loss that reads all that an exact run has, by all that has one."""
    net, times = net__times
    sol = ej.simulate(
        net, ej.Spikes(times, sources), T1, solver=solver, adjoint=adjoint
    )
    total = jnp.zeros((), times.dtype)
    there = jnp.isfinite(sol.spikes[0].times)
    total += jnp.sum(jnp.sin(jnp.where(there, sol.spikes[0].times, 0.0)))
    for state in sol.final_state:
        total += jnp.sum(state.neuron.v**2) + jnp.sum(state.neuron.i * state.neuron.v)
    return total + jnp.sum(sol.max_voltages)


CASES = {
    "feed-forward": {},
    "recurrent without delay": {"recurrent": 0.5},
    "recurrent, delay for each neuron": {
        "recurrent": 0.5,
        "delay": jnp.linspace(0.5, 6.0, 5),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_same_spikes_and_gradients(name):
    net, spikes = network(**CASES[name]), inputs()
    ours, other = run(net, spikes, FUSED), run(net, spikes, ej.ClosedForm())
    assert np.all(np.sum(other.num_spikes[0]) > 20)
    np.testing.assert_array_equal(ours.spikes[0].sources, other.spikes[0].sources)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(other)):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)
    grads = [
        gradient((net, spikes.times), spikes.sources, solver, ej.Eventprop())
        for solver in (FUSED, ej.ClosedForm())
    ]
    for x, y in zip(*(jax.tree.leaves(g) for g in grads)):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10 * np.max(np.abs(y)))


def test_single_precision():
    net = network(recurrent=0.5, delay=jnp.full(5, 2.0), dtype=jnp.float32)
    spikes = inputs(jnp.float32)
    ours, other = run(net, spikes, FUSED), run(net, spikes, ej.ClosedForm())
    assert ours.spikes[0].times.dtype == jnp.float32
    np.testing.assert_array_equal(ours.spikes[0].sources, other.spikes[0].sources)
    np.testing.assert_allclose(ours.spikes[0].times, other.spikes[0].times, rtol=1e-5)


def test_bounded_jumps():
    net, spikes = network(), inputs()
    adjoint, given = ej.Eventprop(max_jump=1.5), (net, spikes.times)
    solvers = FUSED, ej.ClosedForm()
    ours, other = (run(net, spikes, s, adjoint).num_clipped[0] for s in solvers)
    assert np.sum(other) > 0
    np.testing.assert_array_equal(ours, other)
    grads = [gradient(given, spikes.sources, s, adjoint) for s in solvers]
    for x, y in zip(*(jax.tree.leaves(g) for g in grads)):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10 * np.max(np.abs(y)))


def test_two_halves_equal_the_whole():
    net, spikes = network(recurrent=0.5, delay=jnp.full(5, 2.0)), inputs()
    whole = run(net, spikes, FUSED)
    middle = T1 / 2
    early = spikes.times <= middle
    first = ej.Spikes(jnp.where(early, spikes.times, jnp.inf), spikes.sources)
    order = jnp.argsort(jnp.where(early, jnp.inf, spikes.times), axis=1)
    take = lambda x: jnp.take_along_axis(x, order, axis=1)
    late = jnp.where(early, jnp.inf, spikes.times)
    second = ej.Spikes(take(late), take(spikes.sources))

    @eqx.filter_jit
    def halves(net, first, second):
        one = ej.simulate(net, first, middle, solver=FUSED)
        state = one.final_state
        return one, ej.simulate(net, second, T1, t0=middle, state=state, solver=FUSED)

    one, two = halves(net, first, second)
    both = one.num_spikes[0] + two.num_spikes[0]
    np.testing.assert_array_equal(both, whole.num_spikes[0])
    for x, y in zip(two.final_state, whole.final_state):
        np.testing.assert_allclose(x.neuron.v, y.neuron.v, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(x.neuron.i, y.neuron.i, rtol=1e-9, atol=1e-9)


def test_full_buffer_is_told():
    net = network(recurrent=0.5)
    small = eqx.tree_at(lambda n: n.layers[0], net, _with_capacity(net.layers[0], 4))
    sol = run(small, inputs(), FUSED, throw=False)
    full = sol.result == ej.RESULTS.capacity_exceeded
    assert bool(jnp.any(full))
    np.testing.assert_array_equal(full, sol.num_spikes[0] > 4)


def _with_capacity(layer, capacity):
    return ej.Layer(
        layer.connection, layer.neuron, recurrent=layer.recurrent, capacity=capacity
    )


def test_more_neurons_than_a_program_has_lanes():
    """Several programs share a sample."""
    keys = jr.split(jr.key(1), 2)
    net = ej.Network(
        [
            ej.Layer(
                ej.Dense(4, 1500, mean=1.0, std=1.0, key=keys[0]),
                ej.LIF(1500),
                capacity=4096,
            )
        ]
    )
    spikes = inputs()
    ours, other = run(net, spikes, FUSED), run(net, spikes, ej.ClosedForm())
    np.testing.assert_array_equal(ours.num_spikes[0], other.num_spikes[0])
    np.testing.assert_allclose(ours.spikes[0].times, other.spikes[0].times, rtol=1e-12)


def test_refusals():
    spikes, net = inputs(), network()
    with pytest.raises(ValueError, match="Direct.*no fused kernel"):
        ej.simulate(net, spikes, T1, solver=FUSED, adjoint=ej.Direct())
    adaptive = ej.Network([ej.Layer(ej.Dense(4, 2, key=jr.key(0)), ej.ALIF(2))])
    with pytest.raises(ValueError, match="for `LIF` and `LeakyIntegrator`, got `ALIF`"):
        ej.simulate(adaptive, spikes, T1, solver=FUSED)
    delayed = ej.SynapticDelay(ej.Dense(4, 2, key=jr.key(0)), jnp.ones((4, 2)))
    synaptic = ej.Network([ej.Layer(delayed, ej.LIF(2))])
    with pytest.raises(ValueError, match="no delays of single synapses"):
        ej.simulate(synaptic, spikes, T1, solver=FUSED)


def test_compiles_for_a_gpu():
    """As far as Triton's input, which takes no GPU."""
    net = network(recurrent=0.5, delay=jnp.full(5, 2.0), dtype=jnp.float32)
    spikes = inputs(jnp.float32)
    params, static = eqx.partition((net, spikes.times), eqx.is_inexact_array)

    def loss(params):
        net, times = eqx.combine(params, static)
        sol = ej.simulate(
            net, ej.Spikes(times, spikes.sources), T1, solver=FUSED, throw=False
        )
        return jnp.sum(sol.max_voltages)

    device = AbstractDevice(device_kind="NVIDIA H100", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        traced = jax.jit(jax.grad(loss)).trace(params)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("triton") >= 4  # two layers, forwards and backwards
