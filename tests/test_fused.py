"""`ClosedForm(fused=True)`: the same spikes and gradients from one kernel for each layer.
On CPU the kernels are interpreted."""

import dataclasses
import functools as ft

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
from eventjax._adjoint import _equations, _kernel_equations
from eventjax._adjoint._equations import Cotangents, Wanted
from eventjax._solver import _chunked, _layer_kernel
from eventjax._solver._problem import LayerProblem


T1, CAPACITY = 60.0, 256
WINDOWS = _chunked.solve, _equations.backward
FUSED = _layer_kernel.solve, _kernel_equations.backward


def problem(copies=0, delays=(1.0, 2.0), num=12, dtype=jnp.float64) -> LayerProblem:
    """A layer with parameters for each neuron, own spikes that come back in `copies`
    after these `delays`, and arrivals that are together, early, late and too late."""
    batch, events, sources = 3, 40, 6
    keys = iter(jr.split(jr.key(1), 12))
    times = jr.uniform(next(keys), (events, batch), dtype, maxval=50.0)
    times = times.at[:4, 0].set(7.0).at[0, 1].set(0.0).at[1, 1].set(T1)
    times = times.at[2, 1].set(T1 + 1).at[:9, 2].set(jnp.inf)
    near = lambda x: x * jr.uniform(next(keys), (1, num), dtype, 0.8, 1.2)
    recurrent = delay = None
    if copies:
        # Inhibition on the whole, so that activity does not feed itself
        recurrent = 0.8 * jr.normal(next(keys), (copies, num, num), dtype) - 0.3
        delay = jr.uniform(next(keys), (copies, num), dtype, *delays)
    number = lambda x: jnp.asarray(x, dtype)
    return LayerProblem(
        rows=1.5 * (jr.normal(next(keys), (sources, num), dtype) + 0.7),
        recurrent=recurrent,
        recurrent_delay=delay,
        tau_mem=near(20.0),
        tau_syn=near(5.0),
        v_threshold=near(1.0),
        v_reset=number(-0.1),
        bias=near(0.1),
        v=0.5 * jr.uniform(next(keys), (batch, num), dtype),
        i=jr.uniform(next(keys), (batch, num), dtype),
        t0=number(0.0),
        t1=number(T1),
        times=jnp.sort(times, axis=0)[:, :, None],
        index=jr.randint(next(keys), (events, batch, 1), 0, sources, jnp.int32),
    )


@ft.partial(jax.jit, static_argnums=(0, 2, 3))
def run(how, problem, capacity=CAPACITY, max_jump=None):
    """The run, and gradients of something that reads all of it."""
    solve, backward = how
    run, trace = solve(problem, capacity, True)
    there = jnp.isfinite(run.times)
    t_bars = jnp.where(there, jnp.cos(jnp.where(there, run.times, 0.0)), 0.0)
    bars = Cotangents(t_bars, jnp.cos(run.v), jnp.sin(run.v) - run.i)
    wanted = Wanted(times=True, spikes=True, neurons=True)
    return run, backward(problem, trace, bars, max_jump, wanted)


def assert_same(ours, other, rtol):
    """Of two pytrees, compared with the largest value of each array."""
    names = [field.name for field in dataclasses.fields(other)]
    for name in names:
        x, y = getattr(ours, name), getattr(other, name)
        assert (x is None) == (y is None), name
        if y is None:
            continue
        assert x.shape == y.shape and x.dtype == y.dtype, name
        size = np.max(np.abs(y), where=np.isfinite(y), initial=0.0)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * size, err_msg=name)


CASES = {
    "feed-forward": {},
    "two copies": {"copies": 2},
    "no delay": {"copies": 1, "delays": (0.0, 0.0)},
}


@pytest.mark.parametrize("name", CASES)
def test_same_spikes_and_gradients(name):
    given = problem(**CASES[name])
    (ours, our_grad), (other, grad) = run(FUSED, given), run(WINDOWS, given)
    assert np.all(other.num_spikes > 30) and np.all(other.num_spikes <= CAPACITY)
    np.testing.assert_array_equal(ours.sources, other.sources)
    assert_same(ours, other, 1e-11)
    assert_same(our_grad, grad, 1e-10)


def test_bounded_jumps():
    given = problem()
    ours, other = (run(how, given, CAPACITY, 1.5)[1] for how in (FUSED, WINDOWS))
    assert_same(ours, other, 1e-10)
    assert float(jnp.max(jnp.abs(other.rows - run(WINDOWS, given)[1].rows))) > 0.01


def test_single_precision():
    given = problem(copies=1, dtype=jnp.float32)
    ours, other = (run(how, given)[0] for how in (FUSED, WINDOWS))
    assert ours.times.dtype == jnp.float32
    np.testing.assert_array_equal(ours.sources, other.sources)
    assert_same(ours, other, 1e-5)


def test_full_buffer_is_told():
    given = problem(copies=1)
    needed = run(WINDOWS, given)[0].num_spikes
    capacity = int(np.sort(needed)[1])
    ours = run(FUSED, given, capacity)[0].num_spikes
    np.testing.assert_array_equal(ours > capacity, needed > capacity)


def test_more_neurons_than_a_program_has_lanes():
    """Several programs share a sample."""
    given = problem(num=1100)
    ours, other = (
        jax.jit(lambda p, solve=how[0]: solve(p, 16 * 1024)[0])(given)
        for how in (FUSED, WINDOWS)
    )
    np.testing.assert_array_equal(ours.sources, other.sources)
    assert_same(ours, other, 1e-11)


# JAX 0.11 says so of the backend; see the docstring of `ClosedForm`.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
def test_compiles_for_a_gpu():
    """As far as Triton's input, which takes no GPU."""
    given = problem(copies=1, dtype=jnp.float32)
    device = AbstractDevice(device_kind="NVIDIA H100", num_cores=132, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        lowered = run.trace(FUSED, given).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("__gpu$xla.gpu.triton") == 2


def network() -> ej.Network:
    keys = jr.split(jr.key(0), 4)
    delay = jnp.linspace(0.5, 4.0, 5)
    back = dense(0.5 * jr.normal(keys[2], (5, 5)), delay)
    hidden = ej.Dense(4, 5, mean=1.6, std=0.8, key=keys[3])
    return ej.Network(
        [
            ej.Layer(hidden, ej.LIF(5), recurrent=back, capacity=64),
            ej.Layer(ej.Dense(5, 2, key=keys[1]), ej.LeakyIntegrator(2)),
        ]
    )


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def loss(net, spikes, solver):
    adjoint = ej.Eventprop(max_jump=2.0)
    sol = ej.simulate(net, spikes, 40.0, solver=solver, adjoint=adjoint)
    return jnp.sum(jnp.asarray(sol.max_voltages)), (
        sol.num_spikes[0],
        sol.num_clipped[0],
    )


def test_networks():
    spikes = random_spikes(np.random.default_rng(0), 3, 24, 4, 40.0)
    solvers = ej.ClosedForm(fused=True), ej.ClosedForm()
    ours, other = (loss(network(), spikes, solver) for solver in solvers)
    num_spikes, num_clipped = (np.asarray(x) for x in other[0][1])
    assert np.sum(num_spikes) > 20 and np.sum(num_clipped) > 0
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(other)):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


def test_refusals():
    spikes = random_spikes(np.random.default_rng(0), 3, 24, 4, 40.0)
    solver = ej.ClosedForm(fused=True)
    with pytest.raises(ValueError, match="Direct.*no fused kernel"):
        ej.simulate(network(), spikes, T1, solver=solver, adjoint=ej.Direct())
    adaptive = ej.Network([ej.Layer(ej.Dense(4, 2, key=jr.key(0)), ej.ALIF(2))])
    with pytest.raises(ValueError, match="for `LIF` and `LeakyIntegrator`, got `ALIF`"):
        ej.simulate(adaptive, spikes, T1, solver=solver)
    delayed = ej.SynapticDelay(ej.Dense(4, 2, key=jr.key(0)), jnp.ones((4, 2)))
    synaptic = ej.Network([ej.Layer(delayed, ej.LIF(2))])
    with pytest.raises(ValueError, match="no delays of single synapses"):
        ej.simulate(synaptic, spikes, T1, solver=solver)
