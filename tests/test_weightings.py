"""Weighted integrals of voltages, against quadrature and against differences."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from networks import dense, random_spikes

import eventjax as ej
from eventjax._layer_arrivals import layer_arrivals
from eventjax._layer_problem import make_problem
from eventjax._solver._voltage_integral import Integral, voltage_integrals


BATCH, INPUTS, NEURONS, T1 = 2, 3, 5, 40.0
POINTS = 14

MIXED = dict(
    tau_mem=jnp.array([20.0, 8.0, 8.0, 3.0, 300.0]),
    tau_syn=jnp.array([5.0, 8.0, 8.0 + 1e-9, 6.0, 2.0]),
    bias=jnp.array([0.0, 0.3, -0.3, 0.5, 3.0]),
)
SHARED = dict(tau_mem=jnp.array(9.0), tau_syn=jnp.array(9.0), bias=jnp.array(0.4))
SETTINGS = dict(
    scale=jnp.array(0.7),
    centre=jnp.array(0.4),
    width=jnp.array(0.15),
    frequency=jnp.array(9.0),
    tau=jnp.array(6.0),
    gain=jnp.array(0.3),
)


class Wave(eqx.Module):
    frequency: jax.Array

    def __call__(self, u):
        return jnp.cos(self.frequency * u)


@pytest.fixture
def untyped():
    """Without the hook that checks type hints, as users run the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def weightings(settings=SETTINGS):
    s, w = settings, ej.weightings
    return {
        "uniform": w.Uniform(),
        "exponential": w.Exponential(s["scale"]),
        "linear": w.Linear(),
        "sigmoid": w.Sigmoid(s["centre"], s["width"]),
        "smooth": w.Smooth(Wave(s["frequency"])),
        "input activity": w.InputActivity(s["tau"], s["gain"]),
    }


class Case(eqx.Module):
    weight: jax.Array
    times: jax.Array
    delay: jax.Array
    taus: dict
    state: tuple
    settings: dict

    @classmethod
    def draw(cls, rng, taus, capacity=10):
        spikes = random_spikes(rng, BATCH, capacity, INPUTS, 1.2 * T1)  # some too late
        case = cls(
            jnp.asarray(rng.normal(0.3, 1, (INPUTS, NEURONS))),
            spikes.times,
            jnp.asarray(rng.uniform(0, 4, INPUTS)),
            taus,
            tuple(jnp.asarray(rng.normal(0, 1, (2, BATCH, NEURONS)))),
            SETTINGS,
        )
        # Of no weak type, or every change of one would compile anew.
        case = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), case)
        return case, spikes.sources

    @property
    def layer(self):
        neuron = ej.LeakyIntegrator(NEURONS, **self.taus)
        return ej.Layer(dense(self.weight, self.delay), neuron)

    @property
    def initial_state(self):
        return (ej.LayerState(ej.LIFState(*self.state)),)

    def simulate(self, sources, weighting, **kwargs):
        network, spikes = ej.Network([self.layer]), ej.Spikes(self.times, sources)
        kwargs = dict(state=self.initial_state, integrate=weighting) | kwargs
        return ej.simulate(network, spikes, T1, **kwargs)


def integral_of(case, sources, weighting, t1=T1):
    """Straight from the arrivals, without what else a run does: small programs."""
    state, spikes = case.initial_state[0], ej.Spikes(case.times, sources)
    t0, t1 = (jnp.asarray(x, case.times.dtype) for x in (0.0, t1))
    arrivals = layer_arrivals(case.layer, spikes, state, t0)
    problem = make_problem(case.layer, arrivals, state, None, t0, t1)
    integral = Integral(weighting, ej.weightings.Trial(t0, t1, spikes))
    return voltage_integrals(problem, integral)[0]


@eqx.filter_jit
def integrals(case, sources, t1=T1):
    """Of all weightings, `[weightings, batch, neurons]`."""
    every = weightings(case.settings).values()
    return jnp.stack([integral_of(case, sources, w, t1) for w in every])


def pieces(bounds):
    """A Gauss rule on each piece between sorted bounds: times and weights."""
    x, w = np.polynomial.legendre.leggauss(POINTS)
    width = np.diff(bounds)[:, None]
    times = bounds[:-1, None] + 0.5 * width * (1 + x)
    return times.ravel(), (0.5 * width * w).ravel()


def by_quadrature(weighting, sol, times, rule, spikes):
    trial = ej.weightings.Trial(sol.t0, sol.t1, spikes)
    g = np.asarray(weighting.weight(jnp.asarray(times), trial))
    g = np.broadcast_to(g, (len(times), BATCH))
    return np.einsum("t,tb,btn->bn", rule, g, np.asarray(sol.voltages[0])) / T1


@pytest.mark.parametrize("taus", [MIXED, SHARED])
def test_integrals_equal_quadrature(taus):
    case, sources = Case.draw(np.random.default_rng(0), taus)
    spikes = ej.Spikes(case.times, sources)
    sent = np.asarray(case.times)
    there = np.isfinite(sent)
    arrive = sent + np.asarray(case.delay)[np.asarray(sources)]
    assert np.sum(arrive[there] <= T1) > 10
    assert np.sum(arrive[there] > T1) > 2
    bounds = np.unique([0.0, T1, *arrive[arrive < T1], *sent[sent < T1]])
    times, rule = pieces(bounds)
    last = ej.weightings.InputActivity(SETTINGS["tau"], SETTINGS["gain"])
    run = eqx.filter_jit(lambda case: case.simulate(sources, last, record=times))
    sol = run(case)
    found = integrals(case, sources)
    np.testing.assert_allclose(sol.voltage_integrals, found[-1], rtol=1e-13)
    for z, (name, weighting) in zip(found, weightings().items(), strict=True):
        expected = by_quadrature(weighting, sol, times, rule, spikes)
        assert np.abs(expected).max() > 0.1, name
        np.testing.assert_allclose(z, expected, rtol=0, atol=2e-13, err_msg=name)


@eqx.filter_jit
def read(case, sources, name, reads):
    """A number made of the integrals."""
    weighting = weightings(case.settings)[name]
    return jnp.sum(integral_of(case, sources, weighting) * reads)


slopes = eqx.filter_jit(jax.grad(read))


@pytest.mark.parametrize(
    "name, taus",
    [
        ("uniform", "mixed"),
        ("exponential", "shared"),
        ("linear", "mixed"),
        pytest.param("sigmoid", "shared", marks=pytest.mark.slow),
        ("smooth", "mixed"),
        pytest.param("input activity", "mixed", marks=pytest.mark.slow),
        ("input activity", "shared"),
    ],
)
def test_gradients_equal_central_differences(name, taus):
    taus = MIXED if taus == "mixed" else SHARED
    case, sources = Case.draw(np.random.default_rng(1), taus)
    reads = jnp.asarray(np.random.default_rng(2).normal(size=(BATCH, NEURONS)))
    found = slopes(case, sources, name, reads)
    leaves, structure = jax.tree.flatten(case)
    names = [jax.tree_util.keystr(x) for x, _ in jax.tree.leaves_with_path(case)]
    nothing = []
    for n, leaf in enumerate(leaves):
        way = jnp.asarray(np.random.default_rng(n).normal(size=leaf.shape))

        def move(h):
            moved = [y + h * way if k == n else y for k, y in enumerate(leaves)]
            return read(jax.tree.unflatten(structure, moved), sources, name, reads)

        h = 1e-4
        near, far = ((move(k * h) - move(-k * h)) / (2 * k * h) for k in (1, 2))
        expected = (4 * near - far) / 3
        got = jnp.sum(jax.tree.leaves(found)[n] * way)
        np.testing.assert_allclose(
            got, expected, rtol=1e-7, atol=1e-9, err_msg=names[n]
        )
        nothing += [names[n]] if abs(expected) < 1e-6 else []
    # Only the settings of other weightings change nothing.
    assert all(x.startswith(".settings") for x in nothing), nothing


def test_forward_and_second_derivatives():
    """`Direct` allows them, and so must what is read."""
    case, sources = Case.draw(np.random.default_rng(3), SHARED, capacity=4)

    def read(times):
        moved = eqx.tree_at(lambda c: c.times, case, times)
        sol = moved.simulate(sources, ej.weightings.Sigmoid(), adjoint=ej.Direct())
        return jnp.sum(sol.voltage_integrals[0])

    along = jnp.ones_like(case.times)
    first = jax.jit(jax.grad(read))
    slope = jax.jit(lambda t: jax.jvp(first, (t,), (along,))[1])(case.times)
    h = 1e-5
    expected = (first(case.times + h) - first(case.times - h)) / (2 * h)
    assert np.abs(expected).max() > 1e-5
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-11)


def test_one_run_is_two_halves():
    """Also of what is in flight between them; means count by their lengths."""
    case, sources = Case.draw(np.random.default_rng(4), MIXED)
    case = eqx.tree_at(lambda c: c.delay, case, jnp.full(INPUTS, 4.0))
    middle = 20.0
    uniform = ej.weightings.Uniform()
    whole = case.simulate(sources, uniform)
    network = ej.Network([case.layer])
    early = case.times < middle
    first = ej.Spikes(jnp.where(early, case.times, jnp.inf), sources)
    order = jnp.argsort(jnp.where(early, jnp.inf, case.times), axis=1)
    late = jnp.take_along_axis(jnp.where(early, jnp.inf, case.times), order, axis=1)
    second = ej.Spikes(late, jnp.take_along_axis(sources, order, axis=1))
    state = case.initial_state
    one = ej.simulate(network, first, middle, state=state, integrate=uniform)
    two = ej.simulate(
        network, second, T1, t0=middle, state=one.final_state, integrate=uniform
    )
    assert int(jnp.sum(jnp.isfinite(one.final_state[0].arriving.times))) >= 1
    total = middle * one.voltage_integrals + (T1 - middle) * two.voltage_integrals
    np.testing.assert_allclose(total, T1 * whole.voltage_integrals, rtol=1e-12)


def connections(rng):
    weight = jnp.asarray(rng.normal(0.3, 1, (2 * INPUTS, NEURONS)))
    delay = jnp.asarray(rng.uniform(0, 6, (INPUTS, NEURONS)))
    return {
        "synaptic": ej.SynapticDelay(dense(weight[:INPUTS]), delay),
        "line": ej.DelayLine(dense(weight), (0.0, 3.5)),
    }


@pytest.mark.parametrize(
    "kind, taus",
    [
        ("synaptic", SHARED),
        ("line", SHARED),
        pytest.param("synaptic", MIXED, marks=pytest.mark.slow),
        pytest.param("line", MIXED, marks=pytest.mark.slow),
    ],
)
def test_lists_of_each_neuron_and_streams(kind, taus):
    rng = np.random.default_rng(5)
    spikes = random_spikes(rng, BATCH, 6, INPUTS, 1.1 * T1)
    connection = connections(rng)[kind]
    layer = ej.Layer(connection, ej.LeakyIntegrator(NEURONS, **taus))
    sent = np.asarray(spikes.times)
    arrive = [sent, sent + 3.5]
    if kind == "synaptic":
        arrive = [sent[..., None] + np.asarray(connection.delay)[spikes.sources]]
    arrive = np.concatenate([x.ravel() for x in arrive])
    times, rule = pieces(np.unique([0.0, T1, *arrive[arrive < T1]]))
    weighting = ej.weightings.Exponential()

    @eqx.filter_jit
    def run(layer):
        return ej.simulate(
            ej.Network([layer]), spikes, T1, record=times, integrate=weighting
        )

    sol = run(layer)
    expected = by_quadrature(weighting, sol, times, rule, spikes)
    got = np.asarray(sol.voltage_integrals)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


def test_other_solvers():
    case, sources = Case.draw(np.random.default_rng(6), SHARED)
    case = eqx.tree_at(lambda c: c.delay, case, jnp.zeros(INPUTS))
    weighting = ej.weightings.InputActivity(5.0, 0.2)
    run = eqx.filter_jit(lambda case, **how: case.simulate(sources, weighting, **how))
    exact = run(case).voltage_integrals
    event = run(case, solver=ej.DiffraxEvent()).voltage_integrals
    np.testing.assert_allclose(event, exact, rtol=1e-13)

    # On a grid the sum over it.
    ends = 0.25 * np.arange(1, 161)
    how = dict(solver=ej.Clocked(0.25, max_delay=1.0), adjoint=ej.Surrogate())
    sol = run(case, record=ends, **how)
    trial = ej.weightings.Trial(sol.t0, sol.t1, ej.Spikes(case.times, sources))
    g = weighting.weight(jnp.asarray(ends), trial)
    total = jnp.einsum("tb,btn->bn", g, sol.voltages[0]) * 0.25 / T1
    np.testing.assert_allclose(sol.voltage_integrals, total, rtol=1e-12)
    np.testing.assert_allclose(total, exact, atol=0.02)
    assert np.abs(exact).max() > 0.1


@pytest.mark.parametrize(
    "taus", ["shared", pytest.param("own", marks=pytest.mark.slow)]
)
def test_float32_in_a_long_trial(taus):
    """A second of 400 arrivals, to 1e-5 of the largest value and gradient."""
    rng, t1 = np.random.default_rng(7), 1000.0
    own = dict(
        tau_mem=jnp.array([20.0, 8.0, 8.0, 5.0, 40.0]),
        tau_syn=jnp.array([5.0, 8.0, 7.99, 6.0, 1.2]),
        bias=jnp.array(0.1),
    )
    shared = jax.tree.map(jnp.asarray, dict(tau_mem=20.0, tau_syn=5.0, bias=0.1))
    case, _ = Case.draw(rng, own if taus == "own" else shared)
    spikes = random_spikes(rng, BATCH, 200, INPUTS, t1)
    case = eqx.tree_at(lambda c: c.times, case, spikes.times)
    # Only what is computed is rounded, not what is given.
    single = jax.tree.map(lambda x: x.astype(jnp.float32), case)
    case = jax.tree.map(lambda x: x.astype(jnp.float64), single)
    reads = jnp.asarray(rng.normal(size=(BATCH, NEURONS)))

    @eqx.filter_jit
    def both(case):
        def read(weight, times):
            where = lambda c: (c.weight, c.times)
            found = integrals(
                eqx.tree_at(where, case, (weight, times)), spikes.sources, t1
            )
            return jnp.sum(found * reads.astype(found.dtype)[None], axis=(1, 2)), found

        _, back, found = jax.vjp(read, case.weight, case.times, has_aux=True)
        return *lax.map(back, jnp.eye(len(found), dtype=found.dtype)), found

    for x, y in zip(both(single), both(case), strict=True):
        assert x.dtype == jnp.float32
        for one, two in zip(np.asarray(x), np.asarray(y), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=2e-5 * np.abs(two).max())


def test_what_is_not_smooth_is_an_error():
    w = ej.weightings
    case, sources = Case.draw(np.random.default_rng(8), SHARED)
    trial = w.Trial(jnp.array(0.0), jnp.array(T1), ej.Spikes(case.times, sources))

    @eqx.filter_jit
    def resolved(weighting, tau=9.0):
        return weighting.kernel(trial, *(jnp.asarray(tau),) * 2).resolved

    kink = w.Smooth(lambda u: jnp.abs(u - 0.3004))
    empty = w.Smooth(lambda u: jnp.log(u - 0.5))
    assert not resolved(kink)
    assert not resolved(w.Smooth(lambda u: jnp.where(u < 0.3, 1.0, 0.0)))
    assert not resolved(empty)
    assert resolved(w.Sigmoid(width=jnp.array(5e-3)))
    assert not resolved(w.Sigmoid(width=jnp.array(1e-3)))
    # The trial's length: 1000 time constants are resolved, 3000 are not.
    usual = w.Sigmoid(width=jnp.array(0.2))
    assert resolved(usual, jnp.array(T1 / 1000))
    assert not resolved(usual, jnp.array(T1 / 3000))
    with pytest.raises(RuntimeError, match="must be smooth"):
        case.simulate(sources, kink)


def test_wrong_settings_are_an_error():
    w = ej.weightings
    with pytest.raises(ValueError, match="`scale` must be one number, positive"):
        w.Exponential(0.0)
    with pytest.raises(ValueError, match="`width` must be one number, positive"):
        w.Sigmoid(width=-0.2)
    with pytest.raises(ValueError, match="`tau` must be one number.*got nan"):
        w.InputActivity(tau=np.nan)
    with pytest.raises(ValueError, match="`gain` must be one number, finite"):
        w.InputActivity(gain=jnp.ones(2))
    case, sources = Case.draw(np.random.default_rng(9), SHARED)
    spikes = ej.Spikes(case.times, sources)
    lif = ej.Network([ej.Layer(dense(case.weight), ej.LIF(NEURONS))])
    with pytest.raises(ValueError, match="must be a `LeakyIntegrator`, got `LIF`"):
        ej.simulate(lif, spikes, T1, integrate=w.Uniform())


def test_a_function_is_not_yet_a_weighting(untyped):
    case, sources = Case.draw(np.random.default_rng(9), SHARED)
    with pytest.raises(ValueError, match="`ej.weightings.Smooth`"):
        case.simulate(sources, jnp.cos)
