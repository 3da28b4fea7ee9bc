"""Delays of single synapses and delay lines, in the exact solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import reference
from jaxtyping import Array
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej


BATCH, INPUTS, NEURONS, EVENTS, CAPACITY = 2, 4, 6, 14, 96
T1 = 60.0
LAGS = (0.0, 5.0, 2.5)


class Leaves(eqx.Module):
    """All that gradients reach, of one layer."""

    weight: Array  # [copies * inputs, neurons]
    delay: Array  # [inputs, neurons]
    recurrent: Array  # [copies * neurons, neurons]
    recurrent_delay: Array
    times: Array
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array
    v_reset: Array
    bias: Array
    v: Array
    i: Array

    @property
    def lif(self) -> dict:
        names = "tau_mem tau_syn v_threshold v_reset bias"
        return {name: getattr(self, name) for name in names.split()}


KINDS = ["synaptic", "synaptic and recurrent", "line", "line and recurrent line"]


def make_network(leaves: Leaves, kind: str) -> ej.Network:
    """Of one layer; each kind uses some of the leaves."""
    weight, recurrent = leaves.weight, None
    if kind.startswith("line"):
        connection = ej.DelayLine(dense(0.5 * weight), LAGS)
    else:
        connection = ej.SynapticDelay(dense(weight[:INPUTS]), leaves.delay)
    if kind.endswith("recurrent"):
        recurrent = dense(leaves.recurrent[:NEURONS], leaves.recurrent_delay)
    elif kind.endswith("recurrent line"):
        line = ej.DelayLine(dense(leaves.recurrent), LAGS)
        recurrent = ej.AxonalDelay(line, leaves.recurrent_delay)
    neuron = ej.LIF(NEURONS, **leaves.lif)
    return ej.Network([ej.Layer(connection, neuron, recurrent, capacity=CAPACITY)])


@eqx.filter_jit
def run(leaves, sources, kind, adjoint=ej.Eventprop(), state=None, t0=0.0, t1=T1):
    if state is None:
        state = (ej.LayerState(ej.LIFState(leaves.v, leaves.i)),)
    return ej.simulate(
        make_network(leaves, kind),
        ej.Spikes(leaves.times, sources),
        t1,
        t0=t0,
        state=state,
        adjoint=adjoint,
        throw=False,
    )


def draw(rng: np.random.Generator) -> tuple[Leaves, Array]:
    lif = random_lif(rng, NEURONS, rng.choice(["mixed", "mixed", "near", "swapped"]))
    spikes = random_spikes(rng, BATCH, EVENTS, INPUTS, 0.8 * T1)
    copies = len(LAGS)
    shape = BATCH, NEURONS
    leaves = Leaves(
        weight=random_weight(rng, lif, copies * INPUTS, 0.8, 0.8),
        delay=jnp.asarray(rng.uniform(0, 8, (INPUTS, NEURONS))),
        recurrent=random_weight(rng, lif, copies * NEURONS, -0.15, 0.5),
        recurrent_delay=jnp.asarray(rng.uniform(0.5, 4, NEURONS)),
        times=spikes.times,
        **lif,
        v=jnp.asarray(rng.uniform(-0.5, 0.5, shape)),
        i=jnp.asarray(rng.uniform(-1, 2, shape)),
    )
    return leaves, spikes.sources


def expanded(leaves: Leaves, sources, sample: int, kind: str):
    """Every arrival at every neuron as an event with one weight: rows, times, index."""
    rows, times = [], []
    for t, k in zip(np.asarray(leaves.times[sample]), np.asarray(sources[sample])):
        for n in range(NEURONS if np.isfinite(t) else 0):
            row = np.eye(NEURONS)[n]
            if not kind.startswith("line"):
                rows.append(row * float(leaves.weight[k, n]))
                times.append(t + float(leaves.delay[k, n]))
                continue
            for copy, lag in enumerate(LAGS):
                rows.append(0.5 * row * float(leaves.weight[copy * INPUTS + k, n]))
                times.append(t + lag)
    return np.array(rows), np.array(times), np.arange(len(rows))


def reference_run(leaves: Leaves, sources, sample: int, kind: str) -> reference.Run:
    back = {}
    if kind.endswith("recurrent"):
        back = dict(recurrent=leaves.recurrent[:NEURONS])
        back["recurrent_delay"] = leaves.recurrent_delay
    elif kind.endswith("recurrent line"):
        back = dict(recurrent=leaves.recurrent.reshape(len(LAGS), NEURONS, NEURONS))
        lags = np.array(LAGS)[:, None]
        back["recurrent_delay"] = lags + np.asarray(leaves.recurrent_delay)
    start = dict(v=leaves.v[sample], i=leaves.i[sample])
    given = expanded(leaves, sources, sample, kind)
    return reference.simulate(*given, T1, **leaves.lif, **start, **back)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adjoint", [ej.Eventprop(), ej.Direct()])
def test_against_the_reference(kind, adjoint):
    rng = np.random.default_rng(0)
    spikes = 0
    for _ in range(6):
        leaves, sources = draw(rng)
        sol = run(leaves, sources, kind, adjoint)
        for sample in range(BATCH):
            want = reference_run(leaves, sources, sample, kind)
            count = len(want.times)
            spikes += count
            assert sol.num_spikes[0][sample] == count <= CAPACITY
            got, end = sol.spikes[0], sol.final_state[0]
            np.testing.assert_allclose(got.times[sample, :count], want.times, rtol=1e-9)
            np.testing.assert_array_equal(got.sources[sample, :count], want.sources)
            assert np.all(np.isinf(got.times[sample, count:]))
            np.testing.assert_allclose(end.v[sample], want.v, atol=1e-9)
            np.testing.assert_allclose(end.i[sample], want.i, atol=1e-9)
    assert spikes > 200


class Loss(eqx.Module):
    """Coefficients of a smooth function of spike times and final state. A spike counts
    by its source, so that two that change places do not matter."""

    amplitude: Array
    phase: Array
    v: Array
    i: Array

    @classmethod
    def draw(cls, rng) -> "Loss":
        return cls(*(jnp.asarray(rng.normal(size=NEURONS)) for _ in range(4)))

    def __call__(self, sol: ej.Solution) -> Array:
        spikes, end = sol.spikes[0], sol.final_state[0]
        there = jnp.isfinite(spikes.times)
        angle = jnp.where(there, spikes.times, 0.0) / 5 + self.phase[spikes.sources]
        by_time = jnp.where(there, self.amplitude[spikes.sources] * jnp.sin(angle), 0.0)
        by_state = jnp.tanh(end.v) @ self.v + end.i**2 @ self.i
        return jnp.sum(by_time) + jnp.sum(by_state)


@eqx.filter_jit
def gradient(leaves: Leaves, sources: Array, loss: Loss, kind: str, adjoint):
    def value(leaves):
        sol = run(leaves, sources, kind, adjoint)
        return loss(sol), (sol.num_spikes[0], sol.okay)

    return eqx.filter_grad(value, has_aux=True)(leaves)


# Differences of fourth order with two steps, which must agree with each other.
STEPS = np.array([4e-6, 1e-6])
OFFSETS = np.array([-2, -1, 1, 2])


@eqx.filter_jit
def differences(leaves, sources, loss, direction, kind):
    """For each leaf (rows) and step the slope along `direction`, and the number of
    spikes of each neuron at all places (last axis) it is computed from."""
    tree, structure = jax.tree.flatten(direction)
    steps = (STEPS[:, None] * OFFSETS).ravel()

    def at(which, step):
        moved = [x * jnp.where(which == k, step, 0.0) for k, x in enumerate(tree)]
        moved = eqx.apply_updates(leaves, jax.tree.unflatten(structure, moved))
        sol = run(moved, sources, kind)
        counts = sol.spikes[0].counts_per_source(NEURONS)
        return loss(sol), jnp.where(sol.okay, counts, -1)

    over_steps = jax.vmap(at, in_axes=(None, 0))
    over_leaves = jax.vmap(over_steps, in_axes=(0, None))
    values, counts = over_leaves(jnp.arange(len(tree)), jnp.asarray(steps))
    values = values.reshape(len(tree), len(STEPS), 4)
    weights = np.array([1, -8, 8, -1]) / (12 * STEPS[:, None])
    return jnp.sum(values * weights[None], axis=-1), counts


def draw_direction(rng, leaves: Leaves) -> Leaves:
    def one(x):
        return jnp.asarray(np.where(np.isfinite(x), rng.normal(size=x.shape), 0.0))

    return jax.tree.map(one, leaves)


def norm(x: Array) -> float:
    return float(jnp.linalg.norm(x))


UNUSED = {
    "synaptic": ["recurrent", "recurrent_delay"],
    "synaptic and recurrent": [],
    "line": ["delay", "recurrent", "recurrent_delay"],
    "line and recurrent line": ["delay"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    """Those of `Eventprop` are those of `Direct`, and of differences."""
    rng = np.random.default_rng(1)
    not_smooth, spikes, worst = 0, 0, {}
    for _ in range(20):
        (leaves, sources), loss = draw(rng), Loss.draw(rng)
        slopes, (counts, okay) = gradient(leaves, sources, loss, kind, ej.Eventprop())
        want, _ = gradient(leaves, sources, loss, kind, ej.Direct())
        assert okay
        spikes += int(counts.sum())
        direction = draw_direction(rng, leaves)
        numeric, counts = differences(leaves, sources, loss, direction, kind)
        sizes = np.array([norm(x) for x in jax.tree.leaves(slopes)])
        large, small = np.asarray(numeric).T
        # A step made or lost a spike, or took one past an arrival at its neuron, where
        # the slope jumps.
        smooth = np.all(np.asarray(counts) == np.asarray(counts)[0, 0])
        smooth &= np.all(np.abs(large - small) <= 1e-6 * sizes)
        not_smooth += not smooth
        for k, name in enumerate(leaves.__dict__):
            one, two = getattr(slopes, name), getattr(want, name)
            assert (norm(two) > 0) == (name not in UNUSED[kind]), name
            assert norm(one - two) <= 1e-10 * norm(two), name
            if smooth and norm(two) > 0:
                slope = jnp.sum(one * getattr(direction, name))
                error = abs(float(slope) - large[k]) / sizes[k]
                worst[name] = max(worst.get(name, 0.0), error)
    print(f"{kind}: {spikes} spikes, {not_smooth} of 20 not smooth; worst {worst}")
    assert spikes > 400
    assert not_smooth <= 4
    assert max(worst.values()) < 1e-6
