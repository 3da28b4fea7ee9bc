"""Each kind of bad input raises where its value is known, and is a code where it is not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import eventjax as ej


T1 = 20.0
GOOD = np.array([1.0, 2.0, 3.0, np.inf])


def network(capacity: int = 16, **neuron) -> ej.Network:
    weights = ej.Dense(3, 3, mean=6.0, std=0.1, key=jr.key(0))
    return ej.Network([ej.Layer(weights, ej.LIF(3, **neuron), capacity=capacity)])


def spikes(times=GOOD, sources=(0, 1, 2, 0)) -> ej.Spikes:
    times = jnp.asarray(times)
    return ej.Spikes(times, jnp.asarray(sources, jnp.int32))


BAD_SPIKES = {
    "negative": (spikes([-1.0, 2.0, 3.0, 4.0]), ej.RESULTS.invalid_times),
    "nan": (spikes([1.0, np.nan, 3.0, 4.0]), ej.RESULTS.invalid_times),
    "unsorted": (spikes([1.0, 3.0, 2.0, 4.0]), ej.RESULTS.unsorted_times),
    "hole": (spikes([1.0, np.inf, 2.0, 4.0]), ej.RESULTS.unsorted_times),
    "high": (spikes(sources=(0, 3, 2, 0)), ej.RESULTS.source_out_of_range),
    "low": (spikes(sources=(0, -1, 2, 0)), ej.RESULTS.source_out_of_range),
}


@eqx.filter_jit
def quiet(network, spikes, t1):
    return ej.simulate(network, spikes, t1, throw=False)


@eqx.filter_jit
def loud(network, spikes, t1):
    return ej.simulate(network, spikes, t1)


@pytest.mark.parametrize("case", BAD_SPIKES)
def test_spikes(case):
    bad, result = BAD_SPIKES[case]
    with pytest.raises(ValueError, match=r"`spikes\.(times|sources)`.*Got .* at \[0, "):
        ej.simulate(network(), bad, T1)
    assert quiet(network(), bad, T1).result == result
    with pytest.raises(Exception, match="`spikes"):
        jax.block_until_ready(loud(network(), bad, T1))
    assert quiet(network(), spikes(), T1).result == ej.RESULTS.successful


@pytest.mark.parametrize("t1", [0.0, -1.0, np.inf, np.nan])
def test_duration(t1):
    with pytest.raises(ValueError, match="`t1`.*Got"):
        ej.simulate(network(), spikes(), t1)
    result = quiet(network(), spikes(), jnp.asarray(t1)).result
    assert result != ej.RESULTS.successful


def test_duration_too_long_for_its_float_type():
    single = jax.tree.map(
        lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x,
        (network(), spikes()),
    )
    with pytest.raises(ValueError, match="too long for its float type"):
        ej.simulate(*single, 1e4)  # pyright: ignore


@pytest.mark.parametrize(
    "neuron",
    [{"tau_mem": 0.0}, {"tau_syn": -1.0}, {"v_reset": 1.0}, {"bias": np.nan}],
)
def test_parameters(neuron):
    with pytest.raises(ValueError, match=next(iter(neuron))):
        network(**neuron)
    ((name, value),) = neuron.items()
    good = network(**{name: jnp.full(3, 0.5)})
    bad = eqx.tree_at(
        lambda n: getattr(n.layers[0].neuron, name), good, jnp.full(3, value)
    )
    with pytest.raises(ValueError, match=name):
        ej.simulate(bad, spikes(), T1)


def test_parameters_inside_jit():
    bad = network(tau_mem=jnp.ones(3))
    bad = eqx.tree_at(lambda n: n.layers[0].neuron.tau_mem, bad, -jnp.ones(3))
    assert quiet(bad, spikes(), T1).result == ej.RESULTS.invalid_parameters


def test_full_buffer():
    small = network(capacity=2)
    sol = quiet(small, spikes(), T1)
    assert sol.result == ej.RESULTS.capacity_exceeded
    assert sol.num_spikes[0] > 2
    with pytest.raises(Exception, match=r"capacities are \[2\]\): \d+"):
        jax.block_until_ready(loud(small, spikes(), T1))


def test_vmap_and_batch():
    """One bad sample of a batch is found, and does not disturb the others."""
    one = spikes(), BAD_SPIKES["nan"][0]
    both = jax.tree.map(lambda *x: jnp.stack(x), *one)
    batch = quiet(network(), both, T1)
    mapped = eqx.filter_jit(
        jax.vmap(lambda s: ej.simulate(network(), s, T1, throw=False))
    )(both)
    for sol in (batch, mapped):
        ok = np.asarray(sol.result == ej.RESULTS.successful)
        np.testing.assert_array_equal(ok, [True, False])
    alone = quiet(network(), spikes(), T1)
    np.testing.assert_array_equal(
        batch.spikes[0].times[0], alone.spikes[0].times, strict=True
    )
    with pytest.raises(Exception, match=r"Sample 1 of 2"):
        jax.block_until_ready(loud(network(), both, T1))


def test_sharded_batch():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    one = spikes(), BAD_SPIKES["unsorted"][0]
    both = jax.tree.map(lambda *x: jnp.stack(x), *one)
    both = jax.device_put(both, NamedSharding(mesh, PartitionSpec("batch")))
    ok = np.asarray(quiet(network(), both, T1).result == ej.RESULTS.successful)
    np.testing.assert_array_equal(ok, [True, False])


def test_adjoint_and_solver_must_fit():
    class Other(ej.AbstractSolver):
        @property
        def exact(self):
            return False

    for adjoint in (ej.Eventprop(), ej.Direct()):
        with pytest.raises(ValueError, match="`Other`: use `ClosedForm"):
            ej.simulate(network(), spikes(), T1, solver=Other(), adjoint=adjoint)


def test_shapes():
    with pytest.raises(ValueError, match="3 neurons, but the connection"):
        ej.Network(
            network().layers + (ej.Layer(ej.Dense(4, 2, key=jr.key(0)), ej.LIF(2)),)
        )
    with pytest.raises(ValueError, match="`connection` reaches 2"):
        ej.Layer(ej.Dense(4, 2, key=jr.key(0)), ej.LIF(3))
    with pytest.raises(ValueError, match="max_jump"):
        ej.Eventprop(max_jump=1.0)
    with pytest.raises(ValueError, match="negative"):
        ej.AxonalDelay(ej.Dense(2, 2, key=jr.key(0)), -1.0)
