"""`Refractory`: what it holds, what it lets go on, and how its time ends."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy.integrate import solve_ivp

import eventjax as ej


KINDS = (
    ej.LIF,
    ej.ALIF,
    ej.DeltaLIF,
    ej.DeltaQIF,
    ej.QIF,
    ej.EIF,
    ej.Izhikevich,
    ej.GatedUnit,
)
CLOSED = KINDS[:4]
# Not refractory, in the middle of it, at its end just after `DT`, `DT` itself
LEFT = np.array([0.0, 1.5, 4.5, 4.0])
DT = 4.0


def held_state(neuron: ej.Refractory, **values) -> ej.RefractoryState:
    left = jnp.asarray(LEFT)
    inner = jax.tree.map(lambda x: x + 0.0, neuron.neuron.initial_state())
    for name, value in values.items():
        if hasattr(inner, name):
            where = lambda s, name=name: getattr(s, name)
            inner = eqx.tree_at(where, inner, where(inner) + value)
    return ej.RefractoryState(inner, left, (left > 0).astype(left.dtype))


def expected(neuron: ej.Refractory, state, drive: float, dt: float) -> Any:
    """By an ODE solver, in two parts for each neuron."""
    inner, unravel = jax.flatten_util.ravel_pytree(state.inner)
    at_v = jax.tree.map(jnp.zeros_like, state.inner)
    at_v = eqx.tree_at(lambda s: s.v, at_v, jnp.ones(neuron.size))
    at_v = jax.flatten_util.ravel_pytree(at_v)[0]
    first = np.minimum(np.asarray(state.left), dt)

    @jax.jit
    def field(y, length, free):
        moves = neuron.neuron.vector_field(0.0, unravel(y), drive)
        moves = jax.tree.map(lambda x: x * length, moves)
        return jax.flatten_util.ravel_pytree(moves)[0] * jnp.where(free, 1.0, 1 - at_v)

    y = np.asarray(inner)
    for length, free in ((first, False), (dt - first, True)):
        rate = lambda _, y: np.asarray(field(y, length, free))
        y = solve_ivp(rate, (0, 1), y, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return unravel(jnp.asarray(y))


@eqx.filter_jit
def flow(neuron, state, drive, dt):
    return neuron.flow(state, drive, dt)


@eqx.filter_jit
def crossing(neuron, state, drive, dt):
    return neuron.crossing(state, drive, dt)


@eqx.filter_jit
def runge_kutta(neuron, state, drive, dt, steps: int):
    """Classical steps, as a clocked solver takes them."""

    def step(state, h):
        rate = lambda s: neuron.vector_field(0.0, s, drive)
        add = lambda s, part, r: jax.tree.map(lambda x, y: x + part * h * y, s, r)
        one = rate(state)
        two = rate(add(state, 0.5, one))
        three = rate(add(state, 0.5, two))
        four = rate(add(state, 1.0, three))
        mean = jax.tree.map(
            lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, one, two, three, four
        )
        return add(state, 1.0, mean)

    take = lambda _, s: neuron.pass_end(s, dt / steps, step)
    return jax.lax.fori_loop(0, steps, take, state)


@pytest.mark.parametrize("kind", KINDS)
def test_time_passes(kind):
    """The voltage is held, the rest goes on, and afterwards all does."""
    neuron = ej.Refractory(kind(4, bias=0.2), 5.0)
    assert ej.has_closed_form(neuron) == (kind in CLOSED)
    state = held_state(neuron, v=0.4, i=0.7, a=1.0, u=2.0)
    want = expected(neuron, state, 0.1, DT)
    if kind in CLOSED:
        got, tolerance = flow(neuron, state, 0.1, DT), 1e-9
    else:
        got, tolerance = runge_kutta(neuron, state, 0.1, DT, 41), 1e-5
        with pytest.raises(ValueError, match="`DiffraxEvent"):
            neuron.flow(state, 0.1, DT)
        with pytest.raises(ValueError, match="`DiffraxEvent"):
            neuron.crossing(state, 0.1, DT)
    for x, y in zip(jax.tree.leaves(got.inner), jax.tree.leaves(want)):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got.v, got.inner.v)
    np.testing.assert_allclose(got.v[2:], state.v[2:], rtol=1e-12)
    assert np.all(got.v[:2] != state.v[:2])
    np.testing.assert_allclose(got.left, [0, 0, 0.5, 0], atol=1e-12)
    np.testing.assert_array_equal(got.held[:3], [0, 0, 1])
    if kind in CLOSED:  # sums of steps need not end with a refractory time
        assert got.left[3] == 0
        assert not neuron.is_spike(got)[3]


@pytest.mark.parametrize("kind", CLOSED)
def test_crossing_passes_the_end(kind):
    neuron = ej.Refractory(kind(4, bias=3.0), 5.0)
    dt = jnp.array(40.0)
    # From rest: nothing changes while a neuron is held.
    got = crossing(neuron, held_state(neuron), 0.0, dt)
    np.testing.assert_allclose(got, got[0] + LEFT, rtol=1e-12)
    state = held_state(neuron, v=0.5, i=2.0, a=1.0)
    got = crossing(neuron, state, 0.0, dt)
    assert np.all(got > LEFT)
    there = flow(neuron, state, 0.0, got)
    np.testing.assert_allclose(neuron.threshold(0.0, there), 0, atol=1e-12)
    assert np.all(neuron.is_spike(there))
    got = crossing(neuron, state, 0.0, jnp.array(1.4))  # too early for all but one
    np.testing.assert_array_equal(got[1:], np.inf)


def test_standing_above_threshold_at_the_end():
    neuron = ej.Refractory(ej.DeltaLIF(1), 2.0)
    state = neuron.receive(neuron.initial_state(), jnp.array([2.5]))
    assert np.all(neuron.crossing(state, 0.0, 9.0) == 0)
    state = neuron.reset(0.0, state)
    assert np.all(neuron.crossing(state, 0.0, 9.0) == 2)
    state = neuron.flow(state, 0.0, 2.0)
    assert np.all(neuron.threshold(0.0, state) == 0)
    assert not np.any(neuron.is_spike(state))
    state = neuron.reset(0.0, state)
    assert np.all(state.v == 1.5)
    assert np.all(neuron.crossing(state, 0.0, 9.0) == 0)
    assert np.all(neuron.is_spike(state))


def test_events():
    """The end of a refractory time as an event of the equations."""
    neuron = ej.Refractory(ej.ALIF(4), np.array([0.0, 2.0, 3.0, 4.0]))
    state = neuron.initial_state()
    high = eqx.tree_at(lambda s: s.inner.v, state, jnp.full(4, 1.5))
    assert np.all(neuron.threshold(0.0, high) == 0.5)
    assert np.all(neuron.is_spike(high))
    after = neuron.reset(0.0, high)
    np.testing.assert_array_equal(after.v, 0)
    np.testing.assert_array_equal(after.inner.a, 1)
    np.testing.assert_array_equal(after.left, neuron.refractory)
    np.testing.assert_array_equal(neuron.is_spike(after), LEFT * 0 == neuron.refractory)
    np.testing.assert_array_equal(neuron.threshold(0.0, after), [-1.2, -2, -3, -4])
    moves = neuron.vector_field(0.0, after, 1.0)
    np.testing.assert_array_equal(moves.left, [0, -1, -1, -1])
    np.testing.assert_array_equal(moves.held, 0)
    np.testing.assert_allclose(moves.v, [1 / 20, 0, 0, 0])
    np.testing.assert_allclose(moves.inner.a, -1 / 200)

    late = eqx.tree_at(lambda s: s.left, after, after.left - 3)  # a step too far
    late = eqx.tree_at(lambda s: s.left, late, late.left.at[0].set(0.0))
    np.testing.assert_array_equal(neuron.threshold(0.0, late)[1:], [1, 0, -1])
    free = neuron.reset(0.0, late)
    np.testing.assert_array_equal(free.left[1:], 0)
    assert np.all(neuron.is_spike(free)[1:])
    np.testing.assert_array_equal(free.inner.a[1:], 1)  # no spike


def test_arrivals():
    for kind, name in ((ej.LIF, "i"), (ej.DeltaQIF, "v")):
        neuron = ej.Refractory(kind(4), 5.0)
        new = neuron.receive(held_state(neuron), jnp.full(4, 0.5))
        want = 0.5 * ((LEFT == 0) | (name == "i"))
        np.testing.assert_array_equal(getattr(new.inner, name), want)
        np.testing.assert_array_equal(new.left, LEFT)


def test_derivatives():
    """Of a spike's effect at a later time: by the refractory time, the time since the
    spike, and all else, against differences."""
    inner = ej.ALIF(3, tau_mem=jnp.array([8.0, 12, 20]), bias=jnp.full(3, 0.4))
    neuron = ej.Refractory(inner, jnp.array([1.0, 2.0, 6.0]))
    state = jax.tree.map(lambda x: x + 0.6, neuron.initial_state())
    state = eqx.tree_at(lambda s: s.held, state, jnp.zeros(3))
    arrays, static = eqx.partition((neuron, state), eqx.is_array)

    @jax.jit
    def run(arrays, dt):
        neuron, state = eqx.combine(arrays, static)
        end = neuron.flow(neuron.reset(0.0, state), 0.0, dt)
        return jnp.sum(end.v * jnp.array([1.0, 2, 3])) + jnp.sum(end.left**2)

    dt = jnp.array(4.0)
    by_arrays, by_dt = jax.jit(jax.grad(run, (0, 1)))(arrays, dt)
    h = 1e-5
    want = (run(arrays, dt + h) - run(arrays, dt - h)) / (2 * h)
    np.testing.assert_allclose(by_dt, want, rtol=1e-7)
    for where in (lambda x: x[0].refractory, lambda x: x[0].neuron.tau_mem):
        for k in range(3):
            step = h * jnp.eye(3)[k]
            one, two = (
                eqx.tree_at(where, arrays, where(arrays) + s * step) for s in (1, -1)
            )
            want = (run(one, dt) - run(two, dt)) / (2 * h)
            np.testing.assert_allclose(where(by_arrays)[k], want, rtol=1e-6, atol=1e-9)


class Oscillator(ej.AbstractClosedForm):
    """Its second variable follows the voltage: what holds one does not leave the other
    as it is."""

    size: int = 2

    def initial_state(self):
        return ej.LIFState(jnp.zeros(2), jnp.zeros(2))

    def vector_field(self, t, state, drive):
        return ej.LIFState(-state.i, state.v)

    def receive(self, state, current: Array):
        return ej.LIFState(state.v + current, state.i)

    def threshold(self, t, state):
        return state.v - 1

    def reset(self, t, state):
        return ej.LIFState(0 * state.v, state.i)

    def flow(self, state, drive, dt):
        cos, sin = jnp.cos(dt), jnp.sin(dt)
        v, i = state.v, state.i
        return ej.LIFState(cos * v - sin * i, sin * v + cos * i)

    def crossing(self, state, drive, dt):
        return jnp.full_like(state.v, jnp.inf)


class Nameless(ej.AbstractNeuron):
    size: int = 2

    def initial_state(self):
        return jnp.zeros(2)

    def vector_field(self, t, state, drive):
        return drive - state

    def receive(self, state, current: Array):
        return state + current

    def threshold(self, t, state):
        return state - 1

    def reset(self, t, state):
        return 0 * state


def test_what_can_be_wrapped():
    for kind in KINDS:
        assert ej.has_closed_form(kind(2)) == (kind in CLOSED)
    assert ej.has_closed_form(Oscillator())
    assert not ej.has_closed_form(ej.Refractory(Oscillator()))
    with pytest.raises(ValueError, match="never spikes"):
        ej.Refractory(ej.LeakyIntegrator(2))
    with pytest.raises(ValueError, match="already"):
        ej.Refractory(ej.Refractory(ej.LIF(2)))
    with pytest.raises(ValueError, match="field `v`"):
        ej.Refractory(Nameless())
    with pytest.raises(ValueError, match="0 or positive.*-1"):
        ej.Refractory(ej.LIF(2), -1.0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        ej.Refractory(ej.LIF(2), [1.0, 2.0, 3.0])

    @jax.jit
    def inside(tau, refractory):  # its parameters are traced
        neuron = ej.Refractory(ej.ALIF(2, tau_mem=tau), refractory)
        assert ej.has_closed_form(neuron)
        return neuron.flow(neuron.initial_state(), 1.0, 2.0).v

    np.testing.assert_allclose(inside(jnp.array(20.0), 1.0), 1 - np.exp(-0.1))
