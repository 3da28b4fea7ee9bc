"""What fuzzing of the solvers has found, one small network for each."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from networks import dense, reference_run

import eventjax as ej


NEURONS, EVENTS, CAPACITY, T1 = 4, 200, 4, 20.0


@eqx.filter_jit
def _run(weight, recurrent, delay, times) -> ej.Solution:
    layer = ej.Layer(
        dense(weight), ej.LIF(NEURONS), dense(recurrent, delay), capacity=CAPACITY
    )
    spikes = ej.Spikes(times, jnp.zeros(times.shape, jnp.int32))
    return ej.simulate(ej.Network([layer]), spikes, T1, throw=False)


def run(weight: float, recurrent: float, delay: float, times) -> ej.Solution:
    full = lambda x, *shape: jnp.full(shape, x)
    given = jnp.full((1, EVENTS), np.inf).at[0, : len(times)].set(jnp.asarray(times))
    return _run(
        full(weight, 1, NEURONS),
        full(recurrent, NEURONS, NEURONS),
        full(delay, NEURONS),
        given,
    )


def test_short_windows_do_not_use_up_the_room_for_spikes():
    """Windows end at the shortest delay where that is not far from their end. They were
    not counted, and a silent layer was said to need more capacity."""
    sol = run(1e-3, 0.0, 0.5, np.linspace(0, 12, EVENTS))
    assert sol.okay
    assert sol.num_spikes[0][0] == 0


def test_spikes_that_are_taken_back_need_no_room():
    """Without the inhibition that the first spikes bring each neuron would spike ten
    times in the window. These were counted, and a layer with all the room it needs was
    said to need more."""
    sol = run(1e3, -1e5, 0.0, [1.0])
    assert sol.okay
    assert sol.num_spikes[0][0] == NEURONS
    times = np.asarray(sol.spikes[0].times[0])
    # V = 1000 t / 20 at first: the threshold is reached after about 0.02 ms.
    np.testing.assert_allclose(times, 1.02005018, rtol=1e-8)
    assert sorted(np.asarray(sol.spikes[0].sources[0])) == [0, 1, 2, 3]


def test_spikes_while_inhibition_wears_off():
    """A negative current rises between arrivals. Whether neurons may spike once more in
    a window was screened by the currents at arrivals, and all spikes after the first of
    a long silence were lost."""
    neuron, t1 = ej.LIF(1, tau_mem=0.5, tau_syn=4.0, bias=1.8), 40.0
    layer = ej.Layer(dense(np.full((1, 1), -5.0)), neuron, capacity=100)
    # More arrivals than go into a window, so that one starts with a negative current.
    times = np.repeat([0.0, t1], 100)
    spikes = ej.Spikes(jnp.asarray(times[None]), jnp.zeros((1, 200), jnp.int32))
    sol = ej.simulate(ej.Network([layer]), spikes, t1)
    want = reference_run(layer, times, np.zeros(200, int), t1)
    assert len(want.times) > 20
    assert sol.num_spikes[0][0] == len(want.times)
    got = np.asarray(sol.spikes[0].times[0])[: len(want.times)]
    np.testing.assert_allclose(got, want.times, rtol=1e-9)
