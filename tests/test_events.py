"""`DiffraxEvent`, and what it shares with the generic event loop: LIF networks, where
`ClosedForm` says what is right."""

import functools as ft

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest
from jaxtyping import Array
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej
from eventjax._solver._explicit_step import explicit_step
from experiments.benchmark import workloads
from experiments.benchmark.ours_recurrent import make_layer


INPUTS, NEURONS, EVENTS, T1 = 4, 5, 12, 40.0


class Leaves(eqx.Module):
    """All that gradients reach."""

    weight: Array
    recurrent: Array
    times: Array
    delay: Array
    recurrent_delay: Array | None
    lif: dict[str, Array]
    drive: Array
    v: Array
    i: Array


def draw(seed: int, recurrent_delay: bool, batch: int = 2) -> tuple[Leaves, Array]:
    rng = np.random.default_rng(seed)
    lif = random_lif(rng, NEURONS)
    spikes = random_spikes(rng, batch, EVENTS, INPUTS, 0.8 * T1)
    leaves = Leaves(
        weight=random_weight(rng, lif, INPUTS, 1.2, 1.0),
        recurrent=random_weight(rng, lif, NEURONS, -0.3, 0.8),
        times=spikes.times,
        delay=jnp.asarray(rng.uniform(0, 4, INPUTS)),
        recurrent_delay=jnp.asarray(rng.uniform(0.5, 6, NEURONS))
        if recurrent_delay
        else None,
        lif=lif,
        drive=jnp.asarray(rng.uniform(-0.2, 0.2, (batch, NEURONS))),
        v=jnp.asarray(rng.uniform(-0.5, 0.5, (batch, NEURONS))),
        i=jnp.asarray(rng.uniform(-1, 2, (batch, NEURONS))),
    )
    return leaves, spikes.sources


def network_of(leaves: Leaves) -> ej.Network:
    recurrent = dense(leaves.recurrent, leaves.recurrent_delay)
    layer = ej.Layer(
        dense(leaves.weight, leaves.delay),
        ej.LIF(NEURONS, **leaves.lif),
        recurrent,
        capacity=48,
    )
    return ej.Network([layer])


def value(leaves: Leaves, sources: Array, solver, adjoint) -> tuple[Array, ej.Solution]:
    """A smooth function of everything that can be differentiated."""
    sol = ej.simulate(
        network_of(leaves),
        ej.Spikes(leaves.times, sources),
        T1,
        state=(ej.LayerState(ej.LIFState(leaves.v, leaves.i)),),
        drive=(leaves.drive,),
        record=jnp.array([17.0, 3.0, T1]),
        solver=solver,
        adjoint=adjoint,
        throw=False,
    )
    spikes, end = sol.spikes[0], sol.final_state[0]
    there = jnp.isfinite(spikes.times)
    angle = jnp.where(there, spikes.times, 0.0) / 5
    angle = angle + spikes.sources.astype(angle.dtype)
    total = jnp.sum(jnp.where(there, jnp.sin(angle), 0.0)) + jnp.sum(end.v**2)
    return total + jnp.sum(jnp.tanh(end.i)) + jnp.sum(jnp.sin(sol.voltages[0])), sol


@eqx.filter_jit
def gradient(leaves: Leaves, sources: Array, solver, adjoint):
    return eqx.filter_value_and_grad(value, has_aux=True)(
        leaves, sources, solver, adjoint
    )


def distance(one, two) -> float:
    """Largest relative distance of two gradients, leaf by leaf."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return max(float(jnp.linalg.norm(x - y) / jnp.linalg.norm(y)) for x, y in pairs)


@pytest.mark.parametrize("delayed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_equals_closed_form(delayed):
    """Spikes, voltages and gradients within 100 rtol, falling with rtol."""
    leaves, sources = draw(3, delayed)
    (_, exact), right = gradient(leaves, sources, ej.ClosedForm(), ej.Eventprop())
    assert exact.okay and exact.num_spikes[0].min() >= 5
    found = []
    for rtol in (1e-6, 1e-8, 1e-10):
        tolerance = jnp.asarray(rtol)
        solver = ej.DiffraxEvent(rtol=tolerance, atol=tolerance, max_steps=512)
        (_, sol), grads = gradient(leaves, sources, solver, ej.Eventprop())
        assert sol.okay
        np.testing.assert_array_equal(sol.spikes[0].sources, exact.spikes[0].sources)
        there = np.isfinite(exact.spikes[0].times)
        late = np.abs(sol.spikes[0].times - exact.spikes[0].times)[there].max() / T1
        seen = float(jnp.max(jnp.abs(sol.voltages[0] - exact.voltages[0])))
        found.append((late, seen, distance(grads, right)))
        assert max(found[-1]) < 100 * rtol, found
    for two, one in zip(found[1:], found[:-1]):
        assert all(y < 0.1 * x for x, y in zip(one, two)), found


def test_direct_equals_eventprop():
    """To rounding; in forward mode too."""
    leaves, sources = draw(5, True, batch=1)
    solver = ej.DiffraxEvent(rtol=1e-6, atol=1e-6, max_steps=128)
    (_, sol), grads = gradient(leaves, sources, solver, ej.Eventprop())
    (_, direct), again = gradient(leaves, sources, solver, ej.Direct())
    assert sol.okay and direct.okay and sol.num_spikes[0].min() >= 5
    assert distance(grads, again) < 1e-11

    arrays, rest = eqx.partition(leaves, eqx.is_inexact_array)
    ones = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), arrays)

    @jax.jit
    def forwards(arrays, ones):
        def run(arrays):
            leaves = eqx.combine(arrays, rest)
            return value(leaves, sources, solver, ej.Direct())[0]

        return jax.jvp(run, (arrays,), (ones,))[1]

    expected = sum(
        jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(grads), jax.tree.leaves(ones))
    )
    np.testing.assert_allclose(forwards(arrays, ones), expected, rtol=1e-9)


def test_double_crossing_within_a_step():
    """A voltage that only just reaches the threshold is up and down again within one
    step of a loose tolerance; the threshold is set from the exact largest voltage."""
    weight = jnp.asarray(np.random.default_rng(0).uniform(4.0, 8.0, (1, 6)))
    probe = ej.Network([ej.Layer(dense(weight), ej.LeakyIntegrator(6))])
    spikes = ej.Spikes(jnp.array([[1.0]]), jnp.array([[0]], jnp.int32))
    peak = ej.simulate(probe, spikes, 60.0).max_voltages[0]

    @eqx.filter_jit
    def count(threshold):
        network = ej.Network(
            [ej.Layer(dense(weight), ej.LIF(6, v_threshold=threshold))]
        )
        solver = ej.DiffraxEvent(rtol=1e-3, atol=1e-3)
        sol = ej.simulate(network, spikes, 60.0, solver=solver)
        return sol.spikes[0].counts_per_source(6)[0]

    # Looser than the tolerance, the step's own error decides.
    for below, there in ((1e-3, 1), (1e-2, 1), (-1e-3, 0), (-1e-2, 0)):
        np.testing.assert_array_equal(count(peak * (1 - below)), there)


def test_neurons_at_threshold_spike_together():
    """Equal neurons, of which one also stands at its threshold after a restart."""
    weight = jnp.array([[8.0, 8.0, 8.0, 0.0]])
    state = ej.LIFState(jnp.array([[0.0, 0.0, 0.0, 1.0]]), jnp.zeros((1, 4)))
    spikes = ej.Spikes(jnp.array([[1.0, jnp.inf]]), jnp.array([[0, 0]], jnp.int32))
    network = ej.Network([ej.Layer(dense(weight), ej.LIF(4, bias=jnp.zeros(4)))])
    run = eqx.filter_jit(ej.simulate)
    solver = ej.DiffraxEvent(rtol=1e-10, atol=1e-10)
    kwargs = dict(state=(ej.LayerState(state),), solver=solver)
    sol = run(network, spikes, 30.0, **kwargs)
    times, sources = sol.spikes[0].to_ragged()[0]
    assert times[0] == 0.0 and sources[0] == 3
    first = times[1:4]
    np.testing.assert_array_equal(np.sort(sources[1:4]), [0, 1, 2])
    assert np.all(first == first[0])
    exact = run(network, spikes, 30.0, state=(ej.LayerState(state),))
    np.testing.assert_allclose(times, exact.spikes[0].to_ragged()[0][0], rtol=1e-9)


@pytest.mark.parametrize(
    "method",
    [
        diffrax.Heun(),
        diffrax.Bosh3(),
        diffrax.Tsit5(),
        diffrax.Dopri5(),
        diffrax.Dopri8(),
    ],
    ids=lambda x: type(x).__name__,
)
def test_explicit_steps_are_those_of_diffrax(method):
    term = diffrax.ODETerm(lambda t, y, args: (y[1] * t, -y[0] + args))
    state = jnp.array([1.0, 2.0]), jnp.array([-0.5, 0.3])
    t, h, args = jnp.array(0.3), jnp.array(0.4), jnp.array([0.7, 0.2])
    field = lambda t, y: term.vf(t, y, args)
    memory = method.init(term, t, t + h, state, args)
    want = method.step(term, t, t + h, state, args, memory, False)[:3]
    got = jax.jit(ft.partial(explicit_step, method.tableau, field))(t, state, h)
    assert got[2].keys() == want[2].keys()
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(
            ej.DiffraxEvent(diffrax.Dopri5(), root_finder=optx.Newton(1e-6, 1e-6)),
            marks=pytest.mark.slow,
            id="explicit",
        ),
        pytest.param(
            ej.DiffraxEvent(diffrax.Kvaerno5(), rtol=1e-7, atol=1e-7), id="implicit"
        ),
    ],
)
def test_other_solvers_and_root_finders(solver):
    leaves, sources = draw(5, True, batch=1)
    (_, exact), right = gradient(leaves, sources, ej.ClosedForm(), ej.Eventprop())
    (_, sol), grads = gradient(leaves, sources, solver, ej.Eventprop())
    assert sol.okay and exact.num_spikes[0] >= 4
    np.testing.assert_allclose(sol.spikes[0].times, exact.spikes[0].times, rtol=1e-5)
    assert distance(grads, right) < 1e-5


def test_single_precision():
    leaves, sources = draw(3, True)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), leaves)
    (_, exact), _ = gradient(leaves, sources, ej.ClosedForm(), ej.Eventprop())
    (_, sol), _ = gradient(single, sources, ej.DiffraxEvent(), ej.Eventprop())
    assert sol.okay and sol.spikes[0].times.dtype == jnp.float32
    np.testing.assert_array_equal(sol.num_spikes[0], exact.num_spikes[0])
    np.testing.assert_allclose(sol.spikes[0].times, exact.spikes[0].times, rtol=1e-3)
    with pytest.raises(ValueError, match="float32 cannot resolve"):
        gradient(single, sources, ej.DiffraxEvent(rtol=1e-9), ej.Eventprop())


def test_refused():
    with pytest.raises(ValueError, match="must estimate its error"):
        ej.DiffraxEvent(diffrax.Euler())
    with pytest.raises(ValueError, match="`rtol` must be positive"):
        ej.DiffraxEvent(rtol=0.0)
    with pytest.raises(ValueError, match="`max_steps`"):
        ej.DiffraxEvent(max_steps=0)
    leaves, sources = draw(3, True)
    bounded = ej.Eventprop(max_jump=10.0)
    with pytest.raises(ValueError, match="`max_jump` bounds"):
        gradient(leaves, sources, ej.DiffraxEvent(), bounded)


class Exploding(ej.AbstractNeuron):
    """A neuron whose field is not finite beyond its threshold, and steep before."""

    size: int = eqx.field(static=True, default=1)

    def initial_state(self):
        return {"x": jnp.zeros(self.size)}

    def vector_field(self, t, state, drive):
        return {"x": 1 / (1 - state["x"])}

    def receive(self, state, current):
        return state

    def threshold(self, t, state):
        return state["x"] - 2.0

    def reset(self, t, state):
        return self.initial_state()


def test_failures_are_results():
    """Too few steps, and a field that no step can cross, without hanging."""
    leaves, sources = draw(3, True)
    (_, sol), _ = gradient(
        leaves, sources, ej.DiffraxEvent(max_steps=7), ej.Eventprop()
    )
    assert np.all(np.asarray(sol.result == ej.RESULTS.max_steps_exceeded))

    network = ej.Network([ej.Layer(ej.Dense(1, 1, key=jr.key(0)), Exploding())])
    spikes = ej.Spikes(jnp.array([jnp.inf]), jnp.array([0], jnp.int32))
    run = eqx.filter_jit(ej.simulate)
    sol = run(network, spikes, 5.0, solver=ej.DiffraxEvent(), throw=False)
    bad = (ej.RESULTS.no_convergence, ej.RESULTS.max_steps_exceeded)
    assert any(bool(sol.result == x) for x in bad)
    with pytest.raises(ValueError, match="has no field `v`"):
        ej.simulate(network, spikes, 5.0, solver=ej.DiffraxEvent(), record=jnp.ones(1))
    with pytest.raises(ValueError, match="no closed form for `Exploding`"):
        ej.simulate(network, spikes, 5.0)


def test_large_steps_miss_no_spike(tmp_path):
    """In single precision steps are longer than the times between spikes; quarters whose
    only peak is below the threshold once hid those that crossed before it."""
    spec = workloads.WORKLOADS["WD"](batch=2)
    workloads.save(spec, tmp_path / "workload.npz")
    data = workloads.load(tmp_path / "workload.npz")[1]
    network = ej.Network([make_layer(spec, data)])
    spikes = ej.Spikes(jnp.asarray(data["times"]), jnp.asarray(data["sources"]))
    assert spikes.times.dtype == jnp.float32
    sol, exact = (
        ej.simulate(network, spikes, spec.t1, solver=solver)
        for solver in (ej.DiffraxEvent(max_steps=512), ej.ClosedForm())
    )
    assert exact.num_spikes[0].min() > 50
    np.testing.assert_array_equal(sol.spikes[0].sources, exact.spikes[0].sources)
    np.testing.assert_allclose(sol.spikes[0].times, exact.spikes[0].times, atol=1e-3)
