"""Each neuron by its equations and rules: what drives it, arrivals, spikes, faults."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eventjax as ej


CLOSED = ej.LIF, ej.ALIF, ej.DeltaLIF, ej.DeltaQIF
ALL = (*CLOSED, ej.QIF, ej.EIF, ej.Izhikevich, ej.GatedUnit)


@eqx.filter_jit
def flow(neuron, state, drive, dt):
    return neuron.flow(state, drive, dt)


@eqx.filter_jit
def crossing(neuron, state, drive, dt):
    return neuron.crossing(state, drive, dt)


@eqx.filter_jit
def field(neuron, state, drive):
    return neuron.vector_field(0.0, state, drive)


def test_equations_without_closed_form():
    v, u, i = jnp.array([-2.0, 0.7]), jnp.array([0.3, -9.0]), jnp.array([1.5, -2.5])
    got = field(ej.EIF(2, delta_t=0.3, v_t=0.8, bias=0.1), ej.LIFState(v, i), 0.2)
    upstroke = 0.3 * np.exp((np.asarray(v) - 0.8) / 0.3)
    np.testing.assert_allclose(got.v, (-v + upstroke + i + 0.3) / 20)
    np.testing.assert_allclose(got.i, -i / 5)
    got = field(ej.QIF(2, v_c=0.8, bias=0.1), ej.LIFState(v, i), 0.2)
    np.testing.assert_allclose(got.v, (v * (v - 0.8) + i + 0.3) / 20)
    got = field(ej.GatedUnit(2, bias=0.1), ej.LIFState(v, i), 0.2)
    np.testing.assert_allclose(got.v, (i + 0.3 - v) / 20 / (1 + np.exp(2 - 2 * i)))
    state = ej.IzhikevichState(30 * v, u, i)
    got = field(ej.Izhikevich(2, bias=0.1), state, 0.2)
    v = np.asarray(state.v)
    np.testing.assert_allclose(got.v, 0.04 * v**2 + 5 * v + 140 - u + i + 0.3)
    np.testing.assert_allclose(got.u, 0.02 * (0.2 * v - u))


def test_izhikevich_starts_at_rest():
    neuron = ej.Izhikevich(3, b=np.array([0.2, 0.25, 0.3]))
    moves = field(neuron, neuron.initial_state(), 0.0)
    for x in jax.tree.leaves(moves):
        np.testing.assert_allclose(x[:2], 0, atol=1e-11)
    assert moves.v[2] > 0  # it has no rest


@pytest.mark.parametrize("kind", ALL)
def test_rules_and_float_types(kind):
    """What a spike and an arrival do; all in the float type of the state, far beyond the
    threshold too."""
    neuron = kind(2, v_reset=-0.5)
    single = lambda x: jnp.full((2,), x, jnp.float32)
    rest = neuron.initial_state()
    assert all(x.shape == (2,) for x in jax.tree.leaves(rest))
    state = jax.tree.map(lambda x: single(4.0), rest)
    delta = "i" not in type(state).__dataclass_fields__
    arrived = neuron.receive(state, single(2.0))
    assert np.all((arrived.v if delta else arrived.i) == 6)
    assert delta or np.all(arrived.v == 4)
    after = neuron.reset(0.0, state)
    expected = 2.5 if kind is ej.DeltaLIF else -0.5
    np.testing.assert_array_equal(after.v, expected)
    for name, rise in {"i": 0, "a": 1, "u": 8}.items():
        if hasattr(state, name):
            np.testing.assert_array_equal(getattr(after, name), 4 + rise)
    lift = 0.2 * 4 if kind is ej.ALIF else 0
    np.testing.assert_allclose(
        neuron.threshold(0.0, state), 4 - neuron.v_threshold - lift, rtol=1e-6
    )
    high = eqx.tree_at(lambda s: s.v, state, single(1e6))
    moves = field(neuron, high, 0.0)
    assert np.all(np.abs(moves.v) < 1e5)
    trees = [arrived, after, moves, neuron.threshold(0.0, state)]
    if kind in CLOSED:
        trees += [flow(neuron, high, 0.0, 1.0), crossing(neuron, state, 0.0, 1.0)]
    for x in jax.tree.leaves(trees):
        assert x.dtype == jnp.float32
        assert x.shape == (2,)
        assert not np.any(np.isnan(x))


def test_delta_lif_spikes_once_for_each_threshold_in_an_arrival():
    neuron = ej.DeltaLIF(1)
    state = neuron.receive(neuron.initial_state(), jnp.array([3.4]))
    count = 0
    while np.all(crossing(neuron, state, 0.0, 5.0) == 0):
        state, count = neuron.reset(0.0, state), count + 1
    assert count == 3
    np.testing.assert_allclose(state.v, 0.4, rtol=1e-12)


WRONG = [
    (ej.ALIF, dict(tau_adapt=0.0)),
    (ej.ALIF, dict(beta=np.nan)),
    (ej.ALIF, dict(v_reset=1.0)),
    (ej.DeltaLIF, dict(tau_mem=-1.0)),
    (ej.DeltaLIF, dict(v_reset=[0.0, 2.0])),
    (ej.DeltaQIF, dict(v_c=0.0)),
    (ej.DeltaQIF, dict(v_c=11.0)),
    (ej.QIF, dict(v_c=11.0)),
    (ej.QIF, dict(tau_syn=[1.0, 2.0, 3.0])),
    (ej.EIF, dict(delta_t=0.0)),
    (ej.EIF, dict(v_t=2.0)),
    (ej.Izhikevich, dict(a=0.0)),
    (ej.Izhikevich, dict(v_reset=31.0)),
    (ej.GatedUnit, dict(gate_gain=np.inf)),
]


@pytest.mark.parametrize("kind, wrong", WRONG)
def test_wrong_parameters(kind, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must"):
        kind(2, **wrong)
