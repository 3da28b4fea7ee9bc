"""Neurons whose voltage only just reaches the threshold, or just does not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eventjax as ej


SAMPLES, NEURONS = 10, 2000


def largest_voltage(v: np.ndarray, i: np.ndarray) -> np.ndarray:
    """For tau_mem = 20 and tau_syn = 5 ms, where V = s x - a x^4 with x = exp(-t/20)."""
    a = i / 3
    s = v + a
    x = np.minimum(np.cbrt(np.maximum(s, 0) / (4 * a)), 1)
    return s * x - a * x**4


def grazing_states() -> tuple[np.ndarray, np.ndarray]:
    """Voltages, and currents with which their largest value is 1."""
    v = np.random.default_rng(0).uniform(-0.5, 0.99, (SAMPLES, NEURONS))
    v = v.astype(np.float32).astype(np.float64)
    low, high = np.full(v.shape, 1e-3), np.full(v.shape, 1e3)
    for _ in range(100):
        middle = (low + high) / 2
        below = largest_voltage(v, middle) < 1
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return v, high


@pytest.fixture(scope="module")
def first_spikes():
    """First spike times of neurons whose currents are `factor` times the grazing ones."""
    connection = ej.Dense(1, NEURONS, mean=0.0, std=0.0, key=jax.random.key(0))
    neuron = ej.LIF(NEURONS, tau_mem=20.0, tau_syn=5.0)
    network = ej.Network([ej.Layer(connection, neuron, capacity=2 * NEURONS)])
    network = jax.tree.map(
        lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, network
    )
    late = np.full((SAMPLES, 1), 40, np.float32)
    spikes = ej.Spikes(jnp.asarray(late), jnp.zeros((SAMPLES, 1), jnp.int32))
    v, i = grazing_states()

    def total(i):
        state = (ej.LayerState(ej.LIFState(jnp.asarray(v, jnp.float32), i)),)
        times = ej.simulate(network, spikes, 50.0, state=state).first_spike_times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0)), times

    value_and_grad = eqx.filter_jit(jax.value_and_grad(total, has_aux=True))

    def run(factor: float) -> tuple[np.ndarray, np.ndarray]:
        (_, times), grad = value_and_grad(jnp.asarray(i * factor, jnp.float32))
        return np.asarray(times), np.asarray(grad)

    return run


def spiking_share(first_spikes, factor: float) -> float:
    return float(np.isfinite(first_spikes(factor)[0]).mean())


def test_search_ends_within_rounding_of_the_threshold(first_spikes):
    """Compiled code may round V differently in each of its uses; the search for a
    crossing once went on for ever where these disagreed."""
    shares = [spiking_share(first_spikes, 1 + steps * 6e-8) for steps in range(-8, 9)]
    assert shares[0] < 0.1 and shares[-1] > 0.9, shares


def test_all_or_none_spike_beyond_rounding(first_spikes):
    assert spiking_share(first_spikes, 1 + 1e-4) == 1
    assert spiking_share(first_spikes, 1 - 1e-4) == 0


def test_gradients_of_grazing_spikes_keep_their_sign(first_spikes):
    """More current makes a spike earlier. The slope of V, which divides the gradient, is
    rounding noise here; it must not turn the sign or go to infinity."""
    for steps in range(-8, 9):
        times, grad = first_spikes(1 + steps * 6e-8)
        spiked = np.isfinite(times)
        assert np.all(grad[spiked] < 0) and np.all(grad[spiked] > -1e5)
        assert np.all(grad[~spiked] == 0)


def test_max_jump_bounds_the_gradient_and_counts():
    """A neuron that reaches 1 + 1e-6: the jump is I / (I - 1), about 1e3 here."""
    connection = ej.Dense(1, 1, mean=0.0, std=0.0, key=jax.random.key(0))
    network = ej.Network([ej.Layer(connection, ej.LIF(1, tau_mem=20.0, tau_syn=5.0))])
    spikes = ej.Spikes(jnp.full((1, 1), 40.0), jnp.zeros((1, 1), jnp.int32))
    v, i = grazing_states()

    def first(i, max_jump):
        state = (
            ej.LayerState(ej.LIFState(jnp.full((1, 1), v[0, 0]), jnp.full((1, 1), i))),
        )
        adjoint = ej.Eventprop(max_jump=max_jump)
        sol = ej.simulate(network, spikes, 50.0, state=state, adjoint=adjoint)
        clipped = 0 if max_jump is None else sol.num_clipped[0][0]
        return sol.first_spike_times[0, 0], clipped

    grad = jax.grad(first, has_aux=True)
    current = i[0, 0] * (1 + 1e-6)
    exact, _ = grad(current, None)
    loose, none_clipped = grad(current, 1e6)
    tight, one_clipped = grad(current, 10.0)
    assert (int(none_clipped), int(one_clipped)) == (0, 1)
    assert loose == exact
    assert exact < 20 * tight < 0
