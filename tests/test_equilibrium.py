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
    Phase,
    predict,
    report,
    run_phase,
)
from eventjax.equilibrium._intervals import begin
from eventjax.equilibrium._one_by_one import spikes_one_by_one
from eventjax.equilibrium._side_by_side import spikes_side_by_side


SIZES = (5, 8, 6, 3)
BATCH, FREE, NUDGED, BETA = 3, 50.0, 30.0, 0.4


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
def both_phases(network, inputs, targets, beta, solver=ej.ClosedForm()):
    free = run_phase(network, inputs, FREE, record=True, solver=solver)
    nudge = Nudge(targets, beta)
    args = network, inputs, NUDGED
    return free, run_phase(
        *args, state=free.state, nudge=nudge, record=True, solver=solver
    )


def spike_list(phases, neuron: Neuron, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted times and neurons, counted through all layers, of phases one after another."""
    times, neurons, start = [], [], 0.0
    for phase, duration in zip(phases, (FREE, NUDGED)):
        first = 0
        for spikes in phase.recording.times(neuron):
            one = np.asarray(spikes[:, sample])
            there = np.nonzero(np.isfinite(one))
            times.append(start + one[there])
            neurons.append(first + there[1])
            first += one.shape[1]
        start += duration
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


@eqx.filter_jit
def by_the_library(network, t0, t1, drive, state):
    nothing = ej.Spikes(jnp.full((BATCH, 1), jnp.inf), jnp.zeros((BATCH, 1), jnp.int32))
    run = dict(t0=t0, drive=[drive], state=state)
    return ej.simulate(network, nothing, t1, **run)


@pytest.mark.parametrize(
    "neuron", [Neuron(), Neuron(tau_mem=12.0, tau_syn=6.0, refractory=2.0)]
)
def test_spikes_are_those_of_simulate(neuron):
    network = make(neuron)
    inputs, targets = examples(network)
    targets = targets / neuron.refractory
    phases = both_phases(network, inputs, targets, BETA)

    drives = [inputs @ network.weights[0].T + network.biases[0][None]]
    drives += [jnp.broadcast_to(b[None], (BATCH, len(b))) for b in network.biases[1:]]
    drive = jnp.concatenate(drives, axis=1)
    free = by_the_library(as_one_population(network, 0.0), 0.0, FREE, drive, None)
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
    nudged = by_the_library(block, FREE, FREE + NUDGED, drive, state)

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
