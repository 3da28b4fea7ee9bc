"""Closed forms of neurons: the course between events, its derivatives, and spikes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import eventjax as ej


SIZE = 60
CLOSED = ej.LIF, ej.ALIF, ej.DeltaLIF, ej.DeltaQIF


def draw(kind, rng, size=SIZE):
    """Neurons of a kind, a state, a drive and a time, all different.
    Time constants are near each other or equal in part of them, and so are the bias of
    `DeltaQIF` and that where its solutions change their form."""
    uniform = lambda low, high: rng.uniform(low, high, size)
    near = rng.choice([-1, 1], size) * 10 ** uniform(-17, -1)
    which = rng.integers(0, 5, size)
    mem, syn, adapt = uniform(5, 40), uniform(1, 20), uniform(2, 300)
    syn = np.where(which == 1, mem * (1 + near), syn)
    adapt = np.where(which == 2, mem * (1 + near), adapt)
    adapt = np.where(which == 3, syn * (1 + near), adapt)
    dt = 10 ** uniform(-1, 2.5)
    state = dict(v=uniform(-1, 1.2), i=uniform(-6, 8), a=rng.choice([0, 1, 3.3], size))
    x: dict = dict(tau_mem=mem, bias=uniform(-1, 1.5), v_reset=uniform(-0.5, 0.2))
    if kind in (ej.LIF, ej.ALIF):
        x |= dict(tau_syn=syn)
    if kind is ej.ALIF:
        x |= dict(tau_adapt=adapt, beta=uniform(0, 0.5))
    if kind is ej.DeltaQIF:
        at_change = np.where(which == 4, x["bias"], uniform(0.3, 1.5) ** 2 / 4)
        x |= dict(v_c=2 * np.sqrt(np.abs(at_change)), v_threshold=uniform(3, 10))
        x["bias"] = np.where(which == 1, at_change + near, at_change)
        x["bias"] = np.where(which == 2, uniform(-1, 2), x["bias"])
        x["v_c"], x["bias"] = (  # there exactly
            np.where(which == 3, y, x[name]) for name, y in (("v_c", 1), ("bias", 0.25))
        )
        state |= dict(v=uniform(-3, 4))
        dt = 10 ** uniform(-1, 1.7)
    neuron = kind(size, **x)
    fields = type(neuron.initial_state()).__dataclass_fields__
    state = type(neuron.initial_state())(*(jnp.asarray(state[k]) for k in fields))
    return (
        neuron,
        state,
        jnp.asarray(0.1 * uniform(-1, 1) * (which < 3)),
        jnp.asarray(dt),
    )


@eqx.filter_jit
def flow(neuron, state, drive, dt):
    return neuron.flow(state, drive, dt)


@eqx.filter_jit
def gap(neuron, state, drive, dt):
    return neuron.threshold(0.0, neuron.flow(state, drive, dt))


@eqx.filter_jit
def crossing(neuron, state, drive, dt):
    return neuron.crossing(state, drive, dt)


@eqx.filter_jit
def field(neuron, state, drive):
    return neuron.vector_field(0.0, state, drive)


@pytest.mark.parametrize("kind", CLOSED)
def test_flow_solves_the_equations(kind):
    neuron, state, drive, dt = draw(kind, np.random.default_rng(1))
    flat, unravel = jax.flatten_util.ravel_pytree(state)

    def rate(_, y):  # all neurons get to their own end at 1
        moves = field(neuron, unravel(jnp.asarray(y)), drive)
        return np.concatenate([np.asarray(dt * x) for x in jax.tree.leaves(moves)])

    # The upstroke of a quadratic neuron has a kink, which a long step may not notice.
    longest = 1e-3 if kind is ej.DeltaQIF else np.inf
    how = dict(method="DOP853", rtol=1e-11, atol=1e-12, max_step=longest)
    want = solve_ivp(rate, (0, 1), flat, **how)
    got = jax.flatten_util.ravel_pytree(flow(neuron, state, drive, dt))[0]
    np.testing.assert_allclose(got, want.y[:, -1], rtol=1e-7, atol=1e-9)
    halves = flow(neuron, flow(neuron, state, drive, dt / 2), drive, dt / 2)
    halves = jax.flatten_util.ravel_pytree(halves)[0]
    np.testing.assert_allclose(got, halves, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", CLOSED)
def test_derivatives_of_flow(kind):
    neuron, state, drive, dt = draw(kind, np.random.default_rng(2))
    if kind is ej.DeltaQIF:  # differences are no help where it all but blows up
        dt = 0.2 * dt
    arrays, static = eqx.partition((neuron, state, drive, dt), eqx.is_array)

    @jax.jit
    def run(arrays):
        return flow(*eqx.combine(arrays, static))

    push = jax.jit(lambda x, moves: jax.jvp(run, (x,), (moves,))[1])
    leaves, structure = jax.tree.flatten(arrays)
    for k, leaf in enumerate(leaves):
        moves = [jnp.zeros_like(x) for x in leaves]
        moves[k] = jnp.ones_like(leaf)
        moves = jax.tree.unflatten(structure, moves)
        h = 1e-5
        ahead, back = (
            run(jax.tree.map(lambda x, m: x + s * h * m, arrays, moves))
            for s in (1.0, -1.0)
        )
        want = jax.tree.map(lambda x, y: (x - y) / (2 * h), ahead, back)
        for got, expected in zip(
            jax.tree.leaves(push(arrays, moves)), jax.tree.leaves(want)
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    total = jax.jit(
        jax.grad(lambda x: sum(jnp.sum(y) for y in jax.tree.leaves(run(x))))
    )
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(total(arrays)))


@pytest.mark.parametrize("kind", CLOSED)
def test_crossing_is_the_first(kind):
    """Against a scan of each interval and a bisection of the first step that crosses."""
    neuron, state, drive, dt = draw(kind, np.random.default_rng(3), 500)
    f = lambda t: np.asarray(gap(neuron, state, drive, jnp.asarray(t)))
    got = np.asarray(crossing(neuron, state, drive, dt))
    low, high = np.zeros(500), np.full(500, np.inf)
    steps = np.linspace(0, 1, 601) ** 2
    standing = f(0.0 * dt) >= 0
    for before, after in zip(steps[:-1], steps[1:]):
        t = np.asarray(dt * after)
        new = np.isinf(high) & (f(t) >= 0)
        low, high = np.where(new, dt * before, low), np.where(new, t, high)
    seen, found = np.isfinite(high), np.isfinite(got)
    assert standing.sum() > 5
    assert np.all(got[standing] == 0)
    assert not np.any(seen & ~found)
    for _ in range(60):
        middle = 0.5 * (low + np.where(seen, high, 0))
        below = f(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    check = seen & ~standing
    assert check.sum() > 20
    np.testing.assert_allclose(got[check], high[check], rtol=1e-9, atol=1e-12)
    # A crossing that the scan did not see is there and short.
    hidden = found & ~seen & ~standing
    assert hidden.sum() < 10
    assert np.all(np.abs(f(np.where(found, got, 0))[found & ~standing]) < 1e-13 * 20)


def test_tangents():
    """Thresholds just below and just above the largest V - beta a on the way."""
    neuron, state, drive, dt = draw(ej.ALIF, np.random.default_rng(4))
    f = lambda t: np.asarray(gap(neuron, state, drive, jnp.asarray(t)))
    grid = np.linspace(0, 1, 2001)[:, None] * np.asarray(dt)
    best = np.argmax([f(t) for t in grid], axis=0)
    low, high = (grid[np.clip(best + k, 0, 2000), np.arange(SIZE)] for k in (-1, 1))
    for _ in range(80):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        left = f(one) > f(two)
        low, high = np.where(left, low, one), np.where(left, two, high)
    inside = (best > 0) & (best < 2000)
    assert inside.sum() > 10
    for shift in (-1e-11, 1e-11):
        moved = eqx.tree_at(
            lambda n: n.v_threshold, neuron, jnp.asarray(1 + f(low) + shift)
        )
        time = np.asarray(crossing(moved, state, drive, dt))[inside]
        assert np.all(np.isfinite(time) == (shift < 0))
        if shift < 0:
            np.testing.assert_allclose(time, low[inside], atol=1e-3)


def test_special_cases_of_each_other():
    rng = np.random.default_rng(5)
    neuron, state, drive, dt = draw(ej.ALIF, rng)
    names = "tau_mem", "tau_syn", "v_threshold", "v_reset", "bias"
    lif = ej.LIF(SIZE, **{name: getattr(neuron, name) for name in names})
    plain = eqx.tree_at(lambda n: n.beta, neuron, jnp.zeros(SIZE))
    flat = ej.LIFState(state.v, state.i)
    time = np.asarray(crossing(lif, flat, drive, dt))
    assert 10 < np.isfinite(time).sum() < SIZE
    np.testing.assert_allclose(crossing(plain, state, drive, dt), time, rtol=1e-12)

    gated = ej.GatedUnit(SIZE, tau_mem=neuron.tau_mem, gate_gain=0.0, gate_bias=0.4)
    part = 1 + np.exp(-0.4)
    slow = ej.LIF(SIZE, tau_mem=neuron.tau_mem * part)
    one, two = (field(n, flat, drive) for n in (gated, slow))
    np.testing.assert_allclose(one.v, two.v, rtol=1e-12)

    still = ej.LIFState(state.v, jnp.zeros(SIZE))
    one = field(ej.QIF(SIZE, bias=0.3), still, drive)
    two = field(ej.DeltaQIF(SIZE, bias=0.3), ej.VoltageState(state.v), drive)
    np.testing.assert_allclose(one.v, two.v, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_where_delta_qif_is_easily_wrong(dtype):
    """Fixed points, no fixed point, a double one, and far beyond the threshold: finite
    and the same from any side."""
    points = np.meshgrid(
        [0.0, 1.0, 0.5, 0.5 + 1e-7, -50.0, 10.0, 15.0, 20.0],
        [0.0, 0.25, 0.25 + 1e-7, 1.0, -300.0],
        [0.0, 1e-6, 1.0, 20.0, 1e4],
    )
    v, bias, dt = (jnp.asarray(np.ravel(x), dtype) for x in points)
    neuron = ej.DeltaQIF(len(v), bias=bias, v_c=jnp.ones(len(v), dtype))

    def run(v, bias, dt):
        moved = eqx.tree_at(lambda n: n.bias, neuron, bias)
        return moved.flow(ej.VoltageState(v), 0.0, dt).v

    new = jax.jit(run)(v, bias, dt)
    assert np.all(np.isfinite(new))
    fixed = (bias == 0) & ((v == 0) | (v == 1)) | (bias == 0.25) & (v == 0.5)
    np.testing.assert_array_equal(new[fixed], v[fixed])
    slopes = jax.jit(jax.grad(lambda *x: jnp.sum(run(*x)), (0, 1, 2)))(v, bias, dt)
    assert all(np.all(np.isfinite(x)) for x in slopes)
    time = crossing(neuron, ej.VoltageState(v), 0.0, dt)
    assert not np.any(np.isnan(time))
    np.testing.assert_array_equal(time[fixed], np.inf)
    np.testing.assert_array_equal(time[v >= 10], 0)


def test_parameters_of_two_float_types():
    """The state has the wider one, where JAX promotes none by itself, too."""
    bias = jnp.zeros(3, jnp.float32)
    neuron = ej.DeltaIntegrator(3, tau_mem=jnp.ones(3), bias=bias)
    assert neuron.initial_state().v.dtype == jnp.float64
    assert ej.DeltaIntegrator(3, bias=bias).initial_state().v.dtype == jnp.float32
