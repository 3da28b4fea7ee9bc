"""Random layers of the neurons in closed form that are no LIF, whose spikes are found event
by event: each run is replayed by their own courses, however it was cut or ordered."""

import equinox as eqx
import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz_checks import (
    check_form,
    joined,
    okay,
    run,
    same_slopes,
    TALLY,
    ties_reordered,
)
from fuzz_networks import (
    BATCH,
    draw_delay,
    draw_spikes,
    INPUTS,
    Kinds,
    kinds,
    reordered,
    T1,
)
from fuzz_replay import replay
from fuzzing import EXAMPLES, fuzzed
from networks import dense

import eventjax as ej


pytestmark = pytest.mark.usefixtures("fuzz_tally")

SIZE, CAPACITY, LITTLE, TOLERANCE = 4, 64, 6, 1e-12
NEURONS = "ALIF", "DeltaLIF", "DeltaLIF to zero", "DeltaQIF"
PARTS = {"usual": 1.0, "strong": 8.0, "huge": 1e3, "tiny": 1e-6, "few": 4.0}


def _neuron(rng, name: str, kinds: Kinds) -> ej.AbstractNeuron:
    uniform = lambda low, high: jnp.asarray(rng.uniform(low, high, SIZE))
    tau_mem, lift = uniform(5, 25), 1.5 * (kinds.weights in ("tiny", "inhibition"))
    reset, bias = uniform(-0.5, 0.1), uniform(-0.3, 0.6) + lift
    if kinds.taus == "tiny mem":
        tau_mem = tau_mem * jnp.asarray(rng.choice([1e-2, 1.0], SIZE))
    if name == "DeltaQIF":
        bias, threshold = 0.3 * bias, uniform(2, 12)
        return ej.DeltaQIF(
            SIZE, tau_mem=tau_mem, v_threshold=threshold, v_reset=reset, bias=bias
        )
    lif = dict(tau_mem=tau_mem, v_threshold=uniform(0.8, 1.2), v_reset=reset, bias=bias)
    if name != "ALIF":
        return ej.DeltaLIF(SIZE, **lif, subtract=name == "DeltaLIF")
    tau_syn = dict(equal=tau_mem, near=tau_mem * (1 + 1e-9))
    lif["tau_syn"] = tau_syn.get(kinds.taus, uniform(2, 10))
    return ej.ALIF(SIZE, **lif, tau_adapt=10 ** uniform(0, 3), beta=uniform(0, 1))


def draw(name: str, kinds: Kinds, capacity: int) -> ej.Network:
    rng = np.random.default_rng([kinds.seed, 0])
    neuron = _neuron(rng, name, kinds)
    scale = {"ALIF": 0.8, "DeltaQIF": 0.5}.get(name, 0.25)
    weight = rng.normal(1.0, 1.6, (INPUTS, SIZE)) * scale
    if kinds.weights == "inhibition":
        weight = -100 * np.abs(weight)
    if kinds.weights == "few":
        weight = weight * (rng.uniform(size=weight.shape) < 0.2)
    weight = weight * PARTS.get(kinds.weights, 1.0)
    back = rng.normal(-0.3, 1.0, (SIZE, SIZE)) * scale
    if kinds.recurrent == "none":
        back = 0 * back
    elif kinds.recurrent == "huge inhibition":
        back = -1e3 * np.abs(back)
    late = [jnp.asarray(draw_delay(rng, n, kinds.delays)) for n in (INPUTS, SIZE)]
    layer = ej.Layer(
        dense(jnp.asarray(weight), late[0]),
        neuron,
        dense(jnp.asarray(back), late[1]),
        capacity=capacity,
    )
    return ej.Network([layer])


def _sample(spikes: ej.Spikes, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and sources of one sample up to the end."""
    times, sources = np.asarray(spikes.times[k]), np.asarray(spikes.sources[k])
    return times[times <= T1], sources[times <= T1]


def prove(network: ej.Network, given: ej.Spikes, sol: ej.Solution) -> np.ndarray:
    """That all spikes of all samples that ended well are those of the neurons. Returns
    the smallest slope at a spike of each."""
    slopes = np.zeros(BATCH)
    claimed = sol.spikes[0]
    for sample in np.flatnonzero(okay(sol)):
        one, two = (_sample(x, sample) for x in (given, claimed))
        found = replay(network.layers[0], one, two, T1, TOLERANCE)
        assert found.excess <= 1, (sample, found)
        slopes[sample] = found.slope
    return slopes


def assert_all_hold(name: str, kinds: Kinds) -> None:
    network, spikes = draw(name, kinds, CAPACITY), draw_spikes(kinds, np.float64)
    sol = run(network, spikes)
    check_form(sol, network, 0.0, T1)
    prove(network, spikes, sol)
    TALLY.add(sol, runs=5)

    # The order of the neurons, of simultaneous events, and the place in the batch.
    order = np.random.default_rng(kinds.seed).permutation(SIZE)
    mixed = reordered(network, order)
    prove(mixed, spikes, run(mixed, spikes))
    mixed = ties_reordered(spikes, kinds.seed)
    prove(network, mixed, run(network, mixed))

    # A halt in between.
    cut = 0.37 * T1
    one = run(network, spikes, 0.0, cut)
    check_form(one, network, 0.0, cut)
    nothing = ej.Spikes(jnp.full_like(spikes.times, jnp.inf), 0 * spikes.sources)
    two = run(network, nothing, cut, T1, one.final_state)
    check_form(two, network, cut, T1)
    both = np.where(okay(one) & okay(two), two.result._value, 1)
    prove(
        network,
        spikes,
        eqx.tree_at(lambda s: s.result._value, joined(one, two), both),
    )

    # More room changes no bit.
    small = draw(name, kinds, LITTLE)
    other = run(small, spikes)
    check_form(other, small, 0.0, T1)
    good = okay(other)
    np.testing.assert_array_equal(good & okay(sol), good)
    x, y = other.spikes[0], sol.spikes[0]
    np.testing.assert_array_equal(x.times[good], y.times[good, :LITTLE])
    np.testing.assert_array_equal(x.sources[good], y.sources[good, :LITTLE])


def assert_gradients_agree(name: str, kinds: Kinds) -> None:
    """Eventprop and Direct, in samples where no spike grazes."""
    network, spikes = draw(name, kinds, CAPACITY), draw_spikes(kinds, np.float64)
    sol = run(network, spikes)
    slopes = prove(network, spikes, sol)
    TALLY.add(sol, runs=3)
    which = jnp.asarray(okay(sol) & (slopes > 1e-2) & (kinds.weights != "huge"))
    same_slopes(network, spikes, which)


def test_a_replay_sees_what_is_wrong():
    """A spike that is left out, later, or too many."""
    usual = Kinds(
        0, "mixed", "usual", "usual", "mixed", "anywhere", ("spread",) * BATCH
    )
    network, spikes = draw("ALIF", usual, CAPACITY), draw_spikes(usual, np.float64)
    sol = run(network, spikes)

    times, sources = _sample(sol.spikes[0], 0)
    count = len(times)

    def excess(*claimed):
        given = _sample(spikes, 0)
        return replay(network.layers[0], given, claimed, T1, TOLERANCE).excess

    assert count > 5
    assert excess(times, sources) <= 1
    assert excess(np.delete(times, 3), np.delete(sources, 3)) > 100
    assert excess(times + 1e-7 * (np.arange(count) == 3), sources) > 100
    more = np.insert(times, 3, times[2:4].mean()), np.insert(sources, 3, sources[2])
    assert excess(*more) > 100


@pytest.mark.parametrize("name", ["ALIF"])
@fuzzed(2, shrink=False)
@hypothesis.given(kinds=kinds())
def test_invariants(name, kinds):
    assert_all_hold(name, kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
@fuzzed(EXAMPLES, anew=True, shrink=False)
@hypothesis.given(kinds=kinds())
def test_invariants_at_length(name, kinds):
    assert_all_hold(name, kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
@fuzzed(EXAMPLES, anew=True, shrink=False)
@hypothesis.given(kinds=kinds())
def test_gradients_at_length(name, kinds):
    assert_gradients_agree(name, kinds)
