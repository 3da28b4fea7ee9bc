"""The exact solver against a plain event-by-event simulator and an ODE solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense, random_lif, random_spikes, random_weight, reference_run
from scipy.integrate import solve_ivp

import eventjax as ej


# Minutes of compilation: not part of the fast set until that is shorter.
pytestmark = pytest.mark.slow


BATCH, INPUTS, NEURONS, OUTPUTS, CAPACITY = 3, 5, 8, 4, 96
T1 = 60.0


@eqx.filter_jit
def _run(network, spikes, t1, t0, state, record):
    return ej.simulate(network, spikes, t1, t0=t0, state=state, record=record)


def run(network, spikes, *, t1=T1, t0=0.0, state=None, record=None) -> ej.Solution:
    # Arrays: a number would be a constant of the program, and compiled again.
    return _run(network, spikes, jnp.array(t1), jnp.array(t0), state, record)


def random_network(rng, recurrence: str, taus: str) -> ej.Network:
    """Two layers; the second one has delays on its input."""
    first, second = random_lif(rng, NEURONS, taus), random_lif(rng, OUTPUTS, taus)
    recurrent = None
    if recurrence != "none":
        delay = None
        if recurrence == "delays":  # zero for some
            delay = rng.uniform(0.5, 6, NEURONS) * rng.integers(0, 2, NEURONS)
            delay = jnp.asarray(delay)
        recurrent = dense(random_weight(rng, first, NEURONS, -0.15, 0.4), delay)
    hidden = ej.Layer(
        dense(random_weight(rng, first, INPUTS, 0.35, 0.6)),
        ej.LIF(NEURONS, **first),
        recurrent,
        capacity=CAPACITY,
    )
    out = ej.Layer(
        dense(
            random_weight(rng, second, NEURONS, 0.4, 0.6),
            jnp.asarray(rng.uniform(0, 4, NEURONS)),
        ),
        ej.LIF(OUTPUTS, **second),
        capacity=CAPACITY,
    )
    return ej.Network([hidden, out])


def assert_like_reference(network, spikes, sol, t1=T1, rtol=1e-9, state=None) -> int:
    """All layers of all samples; returns the number of spikes."""
    total = 0
    for sample in range(spikes.times.shape[0]):
        times, sources = spikes.times[sample], spikes.sources[sample]
        for k, layer in enumerate(network.layers):
            start = {} if state is None else dict(v=state[k].v, i=state[k].i)
            want = reference_run(layer, times, sources, t1, **start)
            count = len(want.times)
            total += count
            assert sol.num_spikes[k][sample] == count <= CAPACITY
            got = sol.spikes[k].times[sample], sol.spikes[k].sources[sample]
            np.testing.assert_allclose(got[0][:count], want.times, rtol=rtol)
            np.testing.assert_array_equal(got[1][:count], want.sources)
            assert np.all(np.isinf(got[0][count:]))
            assert np.all(np.asarray(got[1][count:]) == 0)
            end = sol.final_state[k]
            np.testing.assert_allclose(end.v[sample], want.v, atol=100 * rtol)
            np.testing.assert_allclose(end.i[sample], want.i, atol=100 * rtol)
            times, sources = want.times, want.sources
    return total


@pytest.mark.parametrize("recurrence", ["none", "no delays", "delays"])
def test_random_networks(recurrence):
    rng = np.random.default_rng(0)
    total = 0
    for taus in 5 * ["mixed", "equal", "near", "swapped"]:
        network = random_network(rng, recurrence, taus)
        spikes = random_spikes(rng, BATCH, 40, INPUTS, 1.1 * T1)
        total += assert_like_reference(network, spikes, run(network, spikes))
    assert total > 1000


def test_float32_is_kept_and_close():
    rng = np.random.default_rng(1)
    network = random_network(rng, "delays", "near")
    spikes = random_spikes(rng, BATCH, 40, INPUTS, T1)
    single = lambda tree: jax.tree.map(
        lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree
    )
    sol, exact = run(single(network), single(spikes)), run(network, spikes)
    for k in range(2):
        assert sol.spikes[k].times.dtype == jnp.float32
        assert sol.final_state[k].v.dtype == jnp.float32
        np.testing.assert_array_equal(sol.num_spikes[k], exact.num_spikes[k])
        one, two = sol.spikes[k].times, exact.spikes[k].times
        np.testing.assert_allclose(one, two, rtol=1e-3)


def test_flow_against_an_ode_solver():
    rng = np.random.default_rng(2)
    tau_mem = np.array([20.0, 5.0, 8.0, 8.0, 8.0, 3.0, 6.0])
    tau_syn = np.array([5.0, 20.0, 8.0, 8.0 + 1e-9, 8.001, 6.0, 3.0])
    bias, size = rng.normal(size=7), 7
    weight = rng.normal(0, 2, (INPUTS, size))
    neuron = ej.LeakyIntegrator(size, tau_mem=tau_mem, tau_syn=tau_syn, bias=bias)
    network = ej.Network([ej.Layer(dense(weight), neuron)])
    spikes = random_spikes(rng, 1, 20, INPUTS, T1)
    v, i = rng.normal(size=(2, 1, size))
    state = (ej.LayerState(ej.LIFState(jnp.asarray(v), jnp.asarray(i))),)
    record = np.linspace(0, T1, 30)
    sol = run(network, spikes, state=state, record=record)

    def field(t, y):
        v, i = y.reshape(2, size)
        return np.concatenate([(i + bias - v) / tau_mem, -i / tau_syn])

    times, sources = (np.asarray(x[0]) for x in (spikes.times, spikes.sources))
    y, t, wanted = np.concatenate([v[0], i[0]]), 0.0, []
    for stop, source in [*zip(times[np.isfinite(times)], sources), (T1, None)]:
        inside = record[(record >= t) & (record < stop)]
        part = solve_ivp(field, (t, stop), y, "DOP853", [*inside, stop], rtol=1e-11,
                         atol=1e-13)  # fmt: skip
        wanted += list(part.y[:size, :-1].T)
        y, t = part.y[:, -1], stop
        if source is not None:
            y[size:] += weight[source]
    wanted.append(y[:size])
    np.testing.assert_allclose(sol.voltages[0][0], wanted, atol=1e-9)
    np.testing.assert_allclose(sol.final_state[0].v[0], y[:size], atol=1e-9)
    np.testing.assert_allclose(sol.final_state[0].i[0], y[size:], atol=1e-9)
    assert sol.spikes == sol.num_spikes == (None,)


def single_layer(weight, recurrent=None, delay=None, **lif) -> ej.Network:
    neuron = ej.LIF(np.shape(weight)[1], **lif)
    back = None if recurrent is None else dense(recurrent, delay)
    return ej.Network([ej.Layer(dense(weight), neuron, back, capacity=CAPACITY)])


def spikes_at(*times, sources=None) -> ej.Spikes:
    sources = np.zeros(len(times), np.int32) if sources is None else sources
    return ej.Spikes(jnp.array([times]), jnp.asarray(np.array([sources], np.int32)))


@pytest.mark.parametrize("times", [(np.inf,), (5.0,)])
def test_a_silent_network(times):
    network = single_layer(np.full((1, 3), 0.5), recurrent=np.ones((3, 3)))
    sol = run(network, spikes_at(*times))
    assert sol.num_spikes[0][0] == 0
    assert np.all(np.isinf(sol.spikes[0].times)) and np.all(sol.spikes[0].sources == 0)
    assert np.all(np.isinf(sol.first_spike_times))
    assert_like_reference(network, spikes_at(*times), sol)


@pytest.mark.parametrize("delay", [None, 0.0, 1.5])
def test_neurons_that_cross_together_spike_together(delay):
    # Strong inhibition: the first spike would keep the others from spiking.
    delay = None if delay is None else jnp.full(4, delay)
    network = single_layer(np.full((1, 4), 8.0), np.full((4, 4), -50.0), delay)
    sol = run(network, spikes_at(1.0))
    assert sol.num_spikes[0][0] == 4
    times = np.asarray(sol.spikes[0].times[0, :4])
    assert np.all(times == times[0])
    assert sorted(np.asarray(sol.spikes[0].sources[0, :4])) == [0, 1, 2, 3]
    assert_like_reference(network, spikes_at(1.0), sol)


def test_input_spikes_at_equal_times():
    rng = np.random.default_rng(3)
    network = single_layer(rng.uniform(0.5, 2, (3, 6)), rng.normal(-0.5, 0.5, (6, 6)))
    times = np.repeat([1.0, 4.0, 4.0 + 1e-9, 30.0], 5)
    sources = rng.integers(0, 3, 20)
    spikes = spikes_at(*times, sources=sources)
    sol = run(network, spikes)
    assert assert_like_reference(network, spikes, sol) > 6
    backwards = sources.reshape(4, 5)[:, ::-1].ravel()
    other = run(network, spikes_at(*times, sources=backwards))
    np.testing.assert_allclose(other.spikes[0].times, sol.spikes[0].times, rtol=1e-13)


@pytest.mark.parametrize("weight", [5.0, -5.0])
@pytest.mark.parametrize("back", [-3.0, 0.5])
def test_a_spike_exactly_at_an_input_time(weight, back):
    network = single_layer([[9.0], [weight]], [[back]])
    alone = run(network, spikes_at(1.0, np.inf))
    first = float(alone.spikes[0].times[0, 0])
    for time in (first, np.nextafter(first, 0), np.nextafter(first, 99)):
        spikes = spikes_at(1.0, time, sources=[0, 1])
        sol = run(network, spikes)
        assert abs(float(sol.spikes[0].times[0, 0]) - first) < 1e-14
        assert_like_reference(network, spikes, sol)


def test_start_above_the_threshold():
    network = single_layer(np.ones((1, 3)), np.full((3, 3), 0.5))
    v, i = jnp.array([[0.5, 1.0, 1.5]]), jnp.array([[2.0, 3.0, 0.0]])
    sol = run(network, spikes_at(np.inf), state=(ej.LayerState(ej.LIFState(v, i)),))
    assert sorted(np.asarray(sol.spikes[0].sources[0, :2])) == [1, 2]
    np.testing.assert_array_equal(sol.spikes[0].times[0, :2], 0.0)
    start = [jax.tree.map(lambda x: x[0], ej.LayerState(ej.LIFState(v, i)))]
    assert_like_reference(network, spikes_at(np.inf), sol, state=start)


def test_one_run_equals_two_halves():
    rng = np.random.default_rng(4)
    network = random_network(rng, "delays", "mixed")
    spikes = random_spikes(rng, BATCH, 40, INPUTS, T1)
    whole = run(network, spikes)
    middle = 23.0
    one = run(network, spikes, t1=middle)
    none = ej.Spikes(jnp.full((BATCH, 1), jnp.inf), jnp.zeros((BATCH, 1), jnp.int32))
    two = run(network, none, t0=middle, state=one.final_state)
    for k in range(2):
        both = one.spikes[k].merge(two.spikes[k])
        got = both.times[:, :CAPACITY], both.sources[:, :CAPACITY]
        want = whole.spikes[k]
        assert np.all(np.asarray(whole.num_spikes[k]) > 3)
        np.testing.assert_allclose(got[0], want.times, rtol=1e-12)
        np.testing.assert_array_equal(got[1], want.sources)
        ends = two.final_state[k], whole.final_state[k]
        np.testing.assert_allclose(ends[0].v, ends[1].v, atol=1e-11)
        np.testing.assert_allclose(ends[0].i, ends[1].i, atol=1e-11)


def test_batch_equals_vmap():
    rng = np.random.default_rng(5)
    network = random_network(rng, "delays", "mixed")
    spikes = random_spikes(rng, BATCH, 40, INPUTS, T1)
    batch = run(network, spikes)
    mapped = eqx.filter_jit(jax.vmap(lambda s: run(network, s)))(spikes)
    alone = run(network, jax.tree.map(lambda x: x[1], spikes))
    for k in range(2):
        for other in (mapped, jax.tree.map(lambda x: x[None], alone)):
            pick = slice(None) if other is mapped else slice(1, 2)
            got, want = other.spikes[k], batch.spikes[k]
            np.testing.assert_allclose(got.times, want.times[pick], rtol=1e-13)
            np.testing.assert_array_equal(got.sources, want.sources[pick])
            got, want = other.final_state[k], batch.final_state[k]
            np.testing.assert_allclose(got.v, want.v[pick], atol=1e-12)
