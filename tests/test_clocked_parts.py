"""The parts of a run on a time grid, and what it refuses."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, Float

import eventjax as ej
from eventjax._adjoint._clocked_loop import _after_spikes
from eventjax._solver._delay_steps import delay_steps, delayed_currents
from eventjax._solver._recurrence import Recurrence


STEPS, BATCH, SIZE, OUT, T1 = 7, 2, 3, 4, 10.0
GRID, RULE = ej.Clocked(0.5, max_delay=3.0), ej.Surrogate()


class Delayed(ej.AbstractConnection):
    """Any weights with any delays, also some for each synapse."""

    weight: Array
    delay: Float[Array, "..."] | np.ndarray | float
    in_size: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    copies: int = eqx.field(static=True, default=1)

    def __init__(self, weight, delay):
        self.weight, self.delay = weight, delay
        self.in_size, self.out_size = weight.shape

    def rows(self, sources):
        return self.weight[sources]

    def delays(self):
        return self.delay


def brute_force(raster, weight, steps, ahead):
    """Currents of each step and `ahead` more, spike by spike."""
    weight = np.asarray(weight)
    out = np.zeros((len(raster) + ahead, raster.shape[1], weight.shape[1]))
    copies = weight.shape[0] // raster.shape[2]
    steps = np.asarray(steps)
    steps = np.broadcast_to(steps[:, None] if steps.ndim == 1 else steps, weight.shape)
    for k, b, source in zip(*np.nonzero(raster)):
        for row in source + raster.shape[2] * np.arange(copies):
            for n in range(weight.shape[1]):
                out[k + steps[row, n], b, n] += raster[k, b, source] * weight[row, n]
    return out


DELAYS = {"number": (), "row": (SIZE,), "synapse": (SIZE, SIZE), "copies": (2 * SIZE,)}


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("known", [True, False])
def test_delays(kind, known):
    """Between layers, and in the loop of a recurrent layer, delays of every form do what
    they say, known or not, rounded to whole steps."""
    rng = np.random.default_rng(1)
    ms = rng.uniform(0.0, 2.2, DELAYS[kind])
    steps = np.maximum(np.rint(ms / 0.5), 1).astype(int)
    raster = rng.poisson(0.4, (STEPS, BATCH, SIZE)).astype(float)
    rows = 2 * SIZE if kind == "copies" else SIZE
    weight = jnp.asarray(rng.normal(size=(rows, SIZE)))
    one_or_many = float(ms) if kind == "number" and known else jnp.asarray(ms)

    def go(ms):
        connection = Delayed(jnp.zeros((SIZE, SIZE)), ms)
        delay, too_long = delay_steps(connection, 0.5, 3.0, 1)
        currents = delayed_currents(jnp.asarray(raster), weight, delay)
        recurrence = Recurrence(weight, delay)

        def step(ring, given):
            number, spikes = given
            current = recurrence.current(ring, number)
            return recurrence.remember(ring, number, spikes), current

        start = recurrence.start(BATCH)
        numbers = jnp.arange(STEPS, dtype=jnp.int32)
        _, loop = jax.lax.scan(step, start, (numbers, jnp.asarray(raster)))
        return currents, loop, recurrence.on_the_way(jnp.asarray(raster)), too_long

    f = (lambda x: jax.jit(lambda: go(x))()) if known else jax.jit(go)
    currents, loop, ahead, too_long = f(one_or_many)
    bound = len(currents) - STEPS
    assert bound == (steps if kind == "number" and known else 6)
    expected = brute_force(raster, weight, steps, bound)
    np.testing.assert_allclose(currents, expected, atol=1e-12)
    np.testing.assert_allclose(loop, expected[:STEPS], atol=1e-12)
    np.testing.assert_allclose(ahead, expected[STEPS:], atol=1e-12)
    assert not too_long


def network(back=None, delay=1.0, second=True) -> ej.Network:
    keys = jr.split(jr.key(2), 3)
    recurrent = None
    if back is not None:
        recurrent = Delayed(0.3 * jr.normal(keys[1], (SIZE, SIZE)), back)
    hidden = ej.Layer(
        ej.Dense(2, SIZE, mean=6.0, std=1.0, key=keys[0]), ej.LIF(SIZE), recurrent
    )
    weight = 1 + 0.3 * jr.normal(keys[2], (SIZE, OUT))
    out = ej.Layer(Delayed(weight, delay), ej.LeakyIntegrator(OUT))
    return ej.Network([hidden, out] if second else [hidden])


def spikes(times=(1.0, 2.2, 4.1, 4.3)) -> ej.Spikes:
    sources = jnp.asarray([0, 1, 0, 1], jnp.int32)
    return ej.Spikes(jnp.asarray([times] * 2), jnp.stack([sources, sources[::-1]]))


def run(net, given=None, t1=T1, solver=GRID, adjoint=RULE, **more) -> ej.Solution:
    given = spikes() if given is None else given
    return ej.simulate(net, given, t1, solver=solver, adjoint=adjoint, **more)


def test_synaptic_delays_of_input():
    """Each neuron has its own arrival times, which are put into steps exactly."""
    delay = jnp.asarray([[0.0, 0.6, 1.3], [2.1, 0.2, 9.7]])
    weight = jnp.ones((2, SIZE))
    together = ej.Layer(Delayed(weight, delay), ej.LIF(SIZE, v_threshold=9.0))
    record = jnp.linspace(0.0, T1, 21)

    @eqx.filter_jit
    def voltages(layer):
        sol = run(ej.Network([layer]), record=record)
        return sol.voltages[0], sol.final_state[0].arriving.count()

    v, count = voltages(together)
    np.testing.assert_array_equal(count, [2, 2])  # source 1 at neuron 2, at 11.9 and 14
    for n in range(SIZE):
        column = Delayed(weight, delay[:, n])
        alone, _ = voltages(ej.Layer(column, ej.LIF(SIZE, v_threshold=9.0)))
        np.testing.assert_allclose(v[:, :, n], alone[:, :, n], rtol=1e-12)


def test_too_long_a_delay():
    @eqx.filter_jit
    def quiet(net):
        return run(net, throw=False).result

    for kind in ("between layers", "recurrent"):
        good = network(jnp.ones(SIZE), jnp.ones(SIZE))
        where = lambda n: n.layers[1].connection.delay
        if kind == "recurrent":
            where = lambda n: n.layers[0].recurrent.delay
        bad = eqx.tree_at(where, good, jnp.asarray([1.0, 3.3, 1.0]))
        assert all(quiet(bad) == ej.RESULTS.delay_too_long)
        assert all(quiet(good) == ej.RESULTS.successful)
        with pytest.raises(ValueError, match="`max_delay` must be at least .* 3.3 ms"):
            run(bad)
    with pytest.raises(ValueError, match="are an array whose values are traced"):
        eqx.filter_eval_shape(run, good, solver=ej.Clocked(0.5))


def test_no_gradient_of_times_and_delays():
    def loss(delay, times):
        net = network(jnp.ones(SIZE), delay)
        return jnp.sum(run(net, spikes(times)).max_voltages)

    arguments = jnp.ones(SIZE), jnp.asarray([1.0, 2.0, 3.0, 4.0])
    for number, what in ((0, "A delay"), (1, "The time of an input spike")):
        with pytest.raises(RuntimeError, match=f"{what} has no gradient"):
            jax.eval_shape(jax.grad(loss, number), *arguments)

    def of_input(delay):
        first = ej.Layer(Delayed(jnp.ones((2, SIZE)), delay), ej.LIF(SIZE))
        return jnp.sum(run(ej.Network([first])).final_state[0].v)

    with pytest.raises(RuntimeError, match="A delay has no gradient"):
        jax.eval_shape(jax.grad(of_input), jnp.ones(2))


@pytest.mark.parametrize("adjoint", [ej.Eventprop(), ej.Direct()])
def test_exact_adjoints_are_refused(adjoint):
    name = type(adjoint).__name__
    match = f"`{name}` does not work with the solver `Clocked`: .*`Surrogate\\(\\)`"
    with pytest.raises(ValueError, match=match):
        run(network(), adjoint=adjoint)


@pytest.mark.parametrize("solver", [ej.ClosedForm(), ej.DiffraxEvent()])
def test_surrogate_needs_a_grid(solver):
    name = type(solver).__name__
    match = f"`Surrogate` does not work with the solver `{name}`: .*`Clocked\\(dt\\)`"
    with pytest.raises(ValueError, match=match):
        run(network(), solver=solver)


def test_duration():
    for name in ("t0", "t1"):
        other = {"t0": 0.0, "t1": T1}

        def go(x, name=name, other=other):
            t = other | {name: x}
            return ej.simulate(network(), spikes(), solver=GRID, adjoint=RULE, **t)

        with pytest.raises(
            ValueError, match=f"`{name}` is traced: give it as a Python"
        ):
            jax.eval_shape(go, other[name])
    with pytest.raises(ValueError, match="10.1 ms are 20.2 steps of `dt=0.5`"):
        run(network(), t1=10.1)
    for t1 in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="`t1` must be finite and after"):
            run(network(), t1=t1, throw=False)
    third = jax.eval_shape(lambda: run(network(), t1=1.0, solver=ej.Clocked(1 / 3)))
    assert third.frames[0].counts.shape[1] == 3


def test_bad_arguments():
    for dt in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="`dt` must be positive"):
            ej.Clocked(dt)
    with pytest.raises(ValueError, match="`dt` must be known .* is traced"):
        jax.eval_shape(lambda x: jnp.asarray(ej.Clocked(x).dt), 1.0)
    with pytest.raises(ValueError, match="`max_delay` must be finite and not negative"):
        ej.Clocked(1.0, max_delay=-1.0)
    with pytest.raises(ValueError, match="explicit Runge-Kutta .*got `ImplicitEuler`"):
        ej.Clocked(1.0, integrator=diffrax.ImplicitEuler())
    with pytest.raises(ValueError, match="`width` must be positive"):
        ej.surrogates.Triangle(width=0.0)
    with pytest.raises(ValueError, match="`height` must be finite"):
        ej.surrogates.Gaussian(height=np.nan)
    with pytest.raises(ValueError, match=r"keep the shape .*\(2,\) of \(2, 3\)"):
        run(network(), adjoint=ej.Surrogate(lambda x: x[:, 0]))


def test_states_of_other_solvers():
    one = jax.eval_shape(lambda: run(network(1.0)).final_state)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
    net = network(1.0)

    def go(where, value, solver=GRID, adjoint=RULE):
        is_leaf = lambda x: x is None
        state = eqx.tree_at(where, zeros, value, is_leaf=is_leaf)
        jax.eval_shape(lambda: run(net, state=state, solver=solver, adjoint=adjoint))

    pending = zeros[0].pending
    assert pending.shape == (2, 2, SIZE)
    go(lambda s: s[0].pending, pending)
    go(lambda s: s[0].pending, None)
    with pytest.raises(ValueError, match="`returning` of the state holds"):
        go(lambda s: s[0].returning, spikes())
    with pytest.raises(ValueError, match="`arriving` of the state holds"):
        go(lambda s: s[1].arriving, spikes())
    with pytest.raises(ValueError, match=r"`pending` .* of 2 steps .* of 3 steps"):
        go(lambda s: s[0].pending, jnp.zeros((2, 3, SIZE)))
    with pytest.raises(ValueError, match=r"`state\[0\].pending` must have shape"):
        go(lambda s: s[0].pending, jnp.zeros((3, 2, SIZE)))
    with pytest.raises(ValueError, match="`pending` .*`ClosedForm` cannot take on"):
        go(lambda s: s[1].pending, None, ej.ClosedForm(), ej.Eventprop())


SHAPES = {
    "SuperSpike": lambda x, w: x / (1 + abs(x) / w),
    "Triangle": lambda x, w: np.where(
        abs(x) < w, x - np.sign(x) * x**2 / (2 * w), np.sign(x) * w / 2
    ),
    "ATan": lambda x, w: w * np.arctan(x / w),
    "Sigmoid": lambda x, w: 4 * w / (1 + np.exp(-x / w)),
    "Gaussian": None,
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    """Each is the derivative of the function that it is named after."""
    kind, width, height = getattr(ej.surrogates, name), 0.4, 0.3
    x = np.asarray([-2.0, -0.39, -0.1, 0.05, 0.3, 1.7])
    got = kind(width, height)(jnp.asarray(x))
    if name == "Gaussian":
        expected = np.exp(-(x**2) / (2 * width**2))
    else:
        h = 1e-5
        whole = SHAPES[name]
        expected = (whole(x + h, width) - whole(x - h, width)) / (2 * h)
    np.testing.assert_allclose(got, height * expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(kind(height=height)(jnp.zeros(1)), height)


def test_any_function_is_a_shape():
    slope = lambda x: 0.7 * jnp.exp(-jnp.abs(x))
    x = jnp.asarray([[-0.5, 0.0, 0.5]])
    spike = lambda shape: lambda x: ej.Surrogate(shape).spike(x)
    value, tangent = jax.jvp(spike(slope), (x,), (jnp.ones_like(x),))
    np.testing.assert_array_equal(value, [[0.0, 1.0, 1.0]])
    np.testing.assert_allclose(tangent, slope(x))
    # A shape whose parameters are traced.
    shape = lambda w: ej.surrogates.Gaussian(w)
    f = jax.jit(lambda w: jax.grad(lambda x: jnp.sum(spike(shape(w))(x)))(x))
    np.testing.assert_allclose(f(0.4), shape(0.4)(x))


def test_reset_of_a_state_beyond_all_bounds():
    """One step may take an exponential or quadratic neuron to infinity."""
    neuron = ej.LIF(2, v_reset=-0.5)
    state = ej.LIFState(jnp.asarray([[jnp.inf, 0.3]]), jnp.ones((1, 2)))
    spikes = jnp.asarray([[1.0, 0.0]])
    for through in (True, False):
        new = _after_spikes(neuron, 0.0, state, spikes, through)
        np.testing.assert_array_equal(new.v, [[-0.5, 0.3]])


def test_paths_are_cut():
    """A rule says where gradients may pass; values stay as they are."""

    class Rule(ej.AbstractClockedAdjoint):
        ways: ej.Paths

        def check(self, solver):
            pass

        @property
        def paths(self):
            return self.ways

        def spike(self, distance):
            spikes = jnp.where(distance >= 0, 1.0, 0.0)
            return ej.with_slope(spikes, distance, jnp.ones_like(distance))

    net = network(0.0)
    where = lambda n: (n.layers[0].recurrent.weight, n.layers[0].connection.weight)

    @eqx.filter_jit
    def gradients(ways):
        def loss(weights, last):
            sol = run(eqx.tree_at(where, net, weights), adjoint=Rule(ways))
            read = sol.max_voltages if last else sol.frames[0].counts
            return jnp.sum(read)

        value, last = jax.value_and_grad(loss)(where(net), True)
        return value, last, jax.grad(loss)(where(net), False)

    all_ways = gradients(ej.Paths())
    assert all(np.abs(x).max() > 1e-3 for x in jax.tree.leaves(all_ways))
    no_way_on = gradients(ej.Paths(onward=False))
    assert all(np.all(x == 0) for x in no_way_on[1])
    not_back = gradients(ej.Paths(recurrent=False))
    for x, y in zip(not_back[2], all_ways[2]):
        assert np.abs(x).max() > 1e-3
        assert np.abs(x - y).max() > 1e-3
    no_reset = gradients(ej.Paths(reset=False))
    assert np.abs(no_reset[2][1] - all_ways[2][1]).max() > 1e-3
    for cut in (no_way_on, not_back, no_reset):
        np.testing.assert_array_equal(cut[0], all_ways[0])
