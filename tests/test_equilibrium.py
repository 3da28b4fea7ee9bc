"""`ej.equilibrium`: phases against the library's own simulation, on a grid, in halves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eventjax as ej
from eventjax.equilibrium import (
    Activity,
    initial_state,
    Network,
    Neuron,
    Nudge,
    predict,
    report,
    run_phase,
    work,
)
from eventjax.equilibrium._intervals import begin
from eventjax.equilibrium._one_by_one import spikes_one_by_one
from eventjax.equilibrium._side_by_side import spikes_side_by_side


SIZES = (5, 8, 6, 3)
BATCH, DURATION, BETA = 3, 40.0, 0.4


def make(neuron: Neuron = Neuron(), sizes=SIZES, seed: int = 0) -> Network:
    gain = 12 * neuron.v_threshold
    return Network(sizes, neuron=neuron, gain=gain, key=jr.key(seed))


def examples(network: Network, batch: int = BATCH, seed: int = 0):
    rng = np.random.default_rng(seed)
    outputs = network.layer_sizes[-1]
    return (
        jnp.asarray(rng.uniform(0, 1, (batch, network.in_size)), network.dtype),
        jnp.asarray(rng.uniform(0.1, 0.6, (batch, outputs)), network.dtype),
    )


@eqx.filter_jit
def one_phase(network, inputs, nudge, state, solver):
    how = dict(nudge=nudge, state=state, solver=solver)
    return run_phase(network, inputs, DURATION, record=True, **how)


def both_phases(network, inputs, targets, beta, solver=ej.ClosedForm()):
    """A free and a nudged one, by one compiled program."""
    state, phases = initial_state(network, len(inputs)), []
    for strength in (0.0, beta):
        nudge = Nudge(targets, jnp.asarray(strength, network.dtype))
        phases.append(one_phase(network, inputs, nudge, state, solver))
        state = phases[-1].state
    return phases


def spike_list(phases, neuron: Neuron, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted times and neurons, counted through all layers, of phases one after another."""
    times, neurons, start = [], [], 0.0
    for phase in phases:
        first = 0
        for spikes in phase.recording.times(neuron):
            one = np.asarray(spikes[:, sample])
            there = np.nonzero(np.isfinite(one))
            times.append(start + one[there])
            neurons.append(first + there[1])
            first += one.shape[1]
        start += DURATION
    times, neurons = np.concatenate(times), np.concatenate(neurons)
    order = np.argsort(times)
    return times[order], neurons[order]


def as_one_population(network: Network, beta: float) -> ej.Network:
    """All neurons in one layer of the library, with a block matrix and a delay."""
    sizes, neuron = network.layer_sizes, network.neuron
    ends = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    block = np.zeros((ends[-1], ends[-1]))
    for k, weight in enumerate(network.weights[1:]):
        below, above = slice(*ends[k : k + 2]), slice(*ends[k + 1 : k + 3])
        block[below, above], block[above, below] = weight.T, weight
    outputs = np.arange(ends[-2], ends[-1])
    block[outputs, outputs] = -beta
    dense = ej.Dense(ends[-1], ends[-1], key=jr.key(0))
    weight = jnp.asarray(block / neuron.tau_syn)
    dense = eqx.tree_at(lambda d: d.weight, dense, weight)
    lif = ej.LIF(
        ends[-1],
        tau_mem=neuron.tau_mem,
        tau_syn=neuron.tau_syn,
        v_threshold=neuron.v_threshold,
    )
    layer = ej.Layer(
        ej.Dense(1, ends[-1], key=jr.key(0)),
        ej.Refractory(lif, neuron.refractory),
        ej.AxonalDelay(dense, neuron.refractory),
        capacity=700,
    )
    return ej.Network([layer])


def by_the_library(network, t0, t1, drive, state):
    nothing = ej.Spikes(jnp.full((BATCH, 1), jnp.inf), jnp.zeros((BATCH, 1), jnp.int32))
    run = dict(t0=t0, drive=[drive], state=state)
    return ej.simulate(network, nothing, t1, **run)


compiled = eqx.filter_jit(by_the_library)


OTHER = Neuron(tau_mem=12.0, tau_syn=6.0, refractory=2.0)


def at_rest(network, drive):
    """As `None`, but of the shapes of a later state, to compile once."""
    state = eqx.filter_eval_shape(
        by_the_library, network, 0.0, DURATION, drive, None
    ).final_state
    nothing = lambda x: jnp.full(x.shape, jnp.inf if x.shape[-1] > 99 else 0.0, x.dtype)
    empty = lambda x: nothing(x) if x.dtype == float else jnp.zeros(x.shape, x.dtype)
    return jax.tree.map(empty, state)


@pytest.mark.parametrize(
    "neuron", [Neuron(), pytest.param(OTHER, marks=pytest.mark.slow)]
)
def test_spikes_are_those_of_simulate(neuron):
    network = make(neuron)
    inputs, targets = examples(network)
    targets = targets / neuron.refractory
    phases = both_phases(network, inputs, targets, BETA)

    drives = [inputs @ network.weights[0].T + network.biases[0][None]]
    drives += [jnp.broadcast_to(b[None], (BATCH, len(b))) for b in network.biases[1:]]
    drive = jnp.concatenate(drives, axis=1)
    block = as_one_population(network, 0.0)
    rest = at_rest(block, drive)
    t0, t1, t2 = (jnp.asarray(k * DURATION) for k in range(3))
    free = compiled(block, t0, t1, drive, rest)
    # The nudge's synapses hear of the spikes that have arrived before they were there.
    outputs = network.layer_sizes[-1]
    state = free.final_state
    arrived = phases[0].state[-1].arrived
    state = eqx.tree_at(
        lambda s: s[0].neuron.inner.i,
        state,
        state[0].neuron.inner.i.at[:, -outputs:].add(-BETA * arrived),
    )
    drive = drive.at[:, -outputs:].add(BETA * targets)
    block = as_one_population(network, BETA)
    nudged = compiled(block, t1, t2, drive, state)

    total = 0
    for sample in range(BATCH):
        times, neurons = spike_list(phases, neuron, sample)
        lists = [sol.spikes[0].to_ragged()[sample] for sol in (free, nudged)]
        want = [np.concatenate(x) for x in zip(*lists)]
        assert len(times) == len(want[0])
        np.testing.assert_allclose(times, want[0], atol=1e-9)
        np.testing.assert_array_equal(neurons, want[1])
        total += len(times)
    assert total == sum(int(c.sum()) for p in phases for c in p.counts)
    assert total > 300


@pytest.mark.parametrize("neuron", [Neuron(), OTHER])
def test_one_by_one_and_side_by_side_agree(neuron):
    """Two ways to the same spikes; the second is that of accelerators."""
    rng = np.random.default_rng(1)
    shape, sources = (40, 9), 7
    window = neuron.refractory

    def some_spikes(shape, share):
        times = rng.uniform(0, window, shape)
        return jnp.asarray(np.where(rng.random(shape) < share, times, np.inf))

    before, arrivals = some_spikes(shape, 0.4), some_spikes((40, sources), 0.7)
    # Some arrive together, and some just as a refractory time ends.
    arrivals = arrivals.at[:, 1].set(arrivals[:, 0]).at[:10, 2].set(before[:10, 3])
    held = np.isfinite(np.asarray(before))
    v = jnp.asarray(np.where(held, 0.0, rng.uniform(-0.1, 0.099, shape)))
    current = jnp.asarray(rng.normal(0.5, 0.6, shape))
    drive = jnp.asarray(rng.normal(0.1, 0.2, shape))
    own = jnp.asarray(rng.normal(0, 0.3, (40, 1)))
    weight = jnp.asarray(rng.normal(0, 2, (sources, 9)))

    @jax.jit
    def both(*args):
        layer = begin(neuron, *args)
        run = lambda f: f(neuron, layer, arrivals, weight)
        return run(spikes_one_by_one), run(spikes_side_by_side)

    one, two = both(v, current, drive, own, before)
    np.testing.assert_allclose(one[0], two[0], atol=1e-12)
    np.testing.assert_allclose(one[1], two[1], atol=1e-12)
    spiked = np.isfinite(np.asarray(one[0]))
    assert 60 < spiked.sum() < 250 and (spiked & held).sum() > 5
    assert np.all(np.asarray(one[0])[spiked & held] > np.asarray(before)[spiked & held])


@pytest.fixture(scope="module")
def ran():
    network = make()
    inputs, targets = examples(network)
    return network, inputs, targets, both_phases(network, inputs, targets, BETA)


def test_order_in_the_batch_makes_no_difference(ran):
    network, inputs, targets, phases = ran
    order = jnp.array([2, 0, 1])
    got = both_phases(network, inputs[order], targets[order], BETA)
    want = jax.tree.map(lambda x: x[order], phases[1].state)
    for one, two in zip(jax.tree.leaves(got[1].state), jax.tree.leaves(want)):
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_phases_chained_are_one_phase(ran):
    """On a grid, to save time: exact ones are compared with `simulate`."""
    network, inputs, targets, _ = ran
    grid = ej.Clocked(0.25)
    parts = both_phases(network, inputs, targets, 0.0, grid)
    whole = eqx.filter_jit(run_phase)(network, inputs, 2 * DURATION, solver=grid)
    for one, two in zip(jax.tree.leaves(parts[1].state), jax.tree.leaves(whole.state)):
        np.testing.assert_allclose(one, two, atol=1e-12)
    for a, b, c in zip(parts[0].counts, parts[1].counts, whole.counts):
        np.testing.assert_array_equal(a + b, c)


def test_single_precision_and_grids_come_close(ran):
    network, inputs, targets, phases = ran
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    given = single(network), single(inputs), single(targets)
    rough = both_phases(*given, jnp.float32(BETA))
    grid = [
        both_phases(network, inputs, targets, BETA, solver=ej.Clocked(dt))
        for dt in (0.25, 0.01)
    ]
    assert rough[0].state[0].v.dtype == jnp.float32

    def error(other):
        pairs = zip(other[0].state, phases[0].state)
        return max(np.max(np.abs(np.asarray(a.r) - np.asarray(b.r))) for a, b in pairs)

    assert error(rough) < 1e-4
    assert error(grid[1]) < 0.01 < error(grid[0])
    for one, two in zip(rough[0].counts, phases[0].counts):
        np.testing.assert_allclose(one, two, atol=1)


def test_traces_follow_their_spikes(ran):
    """x and r of the last state, from the list of all spikes."""
    network, _, _, phases = ran
    neuron, end = network.neuron, 2 * DURATION
    syn, late = neuron.tau_syn, neuron.tau_filter
    times, neurons = spike_list(phases, neuron, 1)
    since = end - times
    x_parts = np.exp(-since / syn) / syn
    r_parts = (np.exp(-since / syn) - np.exp(-since / late)) / (syn - late)
    total = sum(network.layer_sizes)
    for parts, name in ((x_parts, "x"), (r_parts, "r")):
        got = np.concatenate([getattr(a, name)[1] for a in phases[1].state])
        want = np.bincount(neurons, parts, total)
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_report_and_work(ran):
    network, inputs, targets, phases = ran
    silent = eqx.tree_at(lambda n: n.biases[2], network, jnp.array([-9.0, 9.0, 0.1]))
    counts = both_phases(silent, inputs, targets, 0.0)[0].counts
    last = report(network.neuron, counts, DURATION)[2]
    assert last.dead == pytest.approx(1 / 3) and last.saturated == pytest.approx(1 / 3)
    outcome = eqx.filter_jit(predict)(silent, inputs, 20.0, solver=ej.Clocked(0.5))
    assert np.all(outcome.prediction == 1) and outcome.losses is None
    first = report(network.neuron, phases[0].counts, DURATION)[0]
    total = float(phases[0].counts[0].sum())
    assert first.spikes == total / BATCH and first.rate == total / BATCH / 8 / DURATION

    did = work(network, phases[0].counts, learns=True)
    each = [np.asarray(c.sum(axis=1)) for c in phases[0].counts]
    np.testing.assert_array_equal(did.spikes, sum(each))
    synaptic = each[0] * 6 + each[1] * 11 + each[2] * 6
    np.testing.assert_array_equal(did.synaptic, synaptic)
    np.testing.assert_array_equal(did.updates, synaptic)
    energy = did.energy(2.0, 1.0, 3.0)
    np.testing.assert_allclose(energy, 2 * sum(each) + 4 * synaptic)


def test_a_coupled_pair_is_tied():
    """The same matrix works in both directions, whatever changes it."""
    network = make(sizes=(2, 4, 3))
    assert [w.shape for w in network.weights] == [(4, 2), (3, 4)]
    assert len(jax.tree.leaves(network)) == 4
    assert network.layer_sizes == (4, 3) and network.in_size == 2


def test_bad_input():
    network = make()
    inputs, targets = examples(network)
    state = initial_state(network, BATCH)
    assert isinstance(state[0], Activity)
    nan = inputs.at[1, 2].set(jnp.nan)
    for match, args in [
        (r"`duration` must be a positive.*-1", (network, inputs, -1.0)),
        ("whole number of refractory times of 1.0 ms, got 2.5", (network, inputs, 2.5)),
        (r"`inputs` must have shape \[batch, 5\]", (network, inputs[:, :4], 2.0)),
        (r"`inputs` must be finite, got nan at \[1, 2\]", (network, nan, 2.0)),
    ]:
        with pytest.raises(ValueError, match=match):
            run_phase(*args)
    with pytest.raises(ValueError, match="whole number of steps `dt`, got 0.3"):
        run_phase(network, inputs, 2.0, solver=ej.Clocked(0.3))
    with pytest.raises(ValueError, match="`solver` must be.*DiffraxEvent"):
        run_phase(network, inputs, 2.0, solver=ej.DiffraxEvent())
    with pytest.raises(ValueError, match="`state` must hold an `Activity`"):
        run_phase(network, inputs[:2], 2.0, state=state)
    with pytest.raises(ValueError, match="`nudge` must be for 3 samples"):
        run_phase(network, inputs, 2.0, nudge=Nudge(targets[:2], 0.1))


@pytest.mark.parametrize(
    "match, values",
    [
        ("`tau_mem` must be a positive", dict(tau_mem=-1.0)),
        ("must be twice the other.*10.0 and 10.0", dict(tau_mem=10.0)),
        ("must not be shorter than `refractory`", dict(refractory=6.0)),
        ("must be equal or differ by", dict(tau_filter=10.01)),
    ],
)
def test_bad_neurons(match, values):
    with pytest.raises(ValueError, match=match):
        Neuron(**values)


def test_bad_sizes():
    for sizes in ((4,), (4, 0)):
        with pytest.raises(ValueError, match="`sizes` must hold"):
            Network(sizes, key=jr.key(0))
