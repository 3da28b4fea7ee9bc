"""Gradients of exact spike times against automatic differentiation and differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej


# 200 networks at many parameters: running takes longer than compiling.
OPTIMISED = True


BATCH, INPUTS, NEURONS, EVENTS, CAPACITY = 1, 4, 6, 14, 60
T1 = 60.0
NETWORKS = 200


class Leaves(eqx.Module):
    """All that gradients reach, of one layer."""

    weight: Array
    recurrent: Array
    times: Array
    delay: Array  # of the input
    recurrent_delay: Array
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array
    v_reset: Array
    bias: Array
    v: Array
    i: Array


class Loss(eqx.Module):
    """Coefficients of a smooth function of spike times and final state. A spike counts
    by its source, so that two that change places do not matter."""

    amplitude: Array
    phase: Array
    v: Array
    i: Array

    @classmethod
    def draw(cls, rng, size: int = NEURONS) -> "Loss":
        return cls(*(jnp.asarray(rng.normal(size=size)) for _ in range(4)))

    def __call__(self, sol: ej.Solution) -> Array:
        spikes, end = sol.spikes[-1], sol.final_state[-1]
        there = jnp.isfinite(spikes.times)
        angle = jnp.where(there, spikes.times, 0.0) / 5 + self.phase[spikes.sources]
        by_time = jnp.where(there, self.amplitude[spikes.sources] * jnp.sin(angle), 0.0)
        by_state = jnp.tanh(end.v) @ self.v + end.i**2 @ self.i
        return jnp.sum(by_time) + jnp.sum(by_state)


def simulate(leaves: Leaves, sources: Array, adjoint) -> ej.Solution:
    neuron = {name: getattr(leaves, name) for name in
              ("tau_mem", "tau_syn", "v_threshold", "v_reset", "bias")}  # fmt: skip
    layer = ej.Layer(
        dense(leaves.weight, leaves.delay),
        ej.LIF(NEURONS, **neuron),
        dense(leaves.recurrent, leaves.recurrent_delay),
        capacity=CAPACITY,
    )
    spikes = ej.Spikes(leaves.times, sources)
    state = (ej.LayerState(ej.LIFState(leaves.v, leaves.i)),)
    return ej.simulate(
        ej.Network([layer]), spikes, T1, state=state, adjoint=adjoint, throw=False
    )


@eqx.filter_jit
def gradient(leaves: Leaves, sources: Array, loss: Loss, adjoint):
    """Gradient, number of spikes of each neuron, and whether all went well."""

    def value(leaves):
        sol = simulate(leaves, sources, adjoint)
        counts = sol.spikes[0].counts_per_source(NEURONS)
        return loss(sol), (counts, sol.okay)

    return eqx.filter_grad(value, has_aux=True)(leaves)


def draw(rng: np.random.Generator) -> tuple[Leaves, Array]:
    """A network with its input; one in four has no delay in its recurrence at all."""
    lif = random_lif(rng, NEURONS, rng.choice(["mixed", "mixed", "near", "swapped"]))
    delay = rng.uniform(0.5, 6, NEURONS)
    delay *= rng.choice([0, 1], NEURONS) if rng.random() < 0.5 else 1
    delay *= rng.random() < 0.75
    spikes = random_spikes(rng, BATCH, EVENTS, INPUTS, 0.8 * T1)
    leaves = Leaves(
        weight=random_weight(rng, lif, INPUTS, 1.2, 1.0),
        recurrent=random_weight(rng, lif, NEURONS, -0.3, 0.8),
        times=spikes.times,
        delay=jnp.asarray(rng.uniform(0, 4, INPUTS)),
        recurrent_delay=jnp.asarray(delay),
        **lif,
        v=jnp.asarray(rng.uniform(-0.5, 0.5, (BATCH, NEURONS))),
        i=jnp.asarray(rng.uniform(-1, 2, (BATCH, NEURONS))),
    )
    return leaves, spikes.sources


def norm(x: Array) -> float:
    return float(jnp.linalg.norm(x))


def is_rich(leaves, sources, loss, slopes, counts, okay) -> bool:
    """Many spikes, several of one neuron, and a recurrence that matters."""
    if not okay or counts.sum() < 20 or counts.max() < 3:
        return False
    alone = eqx.tree_at(lambda x: x.recurrent, leaves, 0 * leaves.recurrent)
    without, _ = gradient(alone, sources, loss, ej.Eventprop())
    return norm(without.weight - slopes.weight) > 0.1 * norm(slopes.weight)


@pytest.fixture(scope="module")
def networks():
    """`NETWORKS` networks, each with its loss and gradient."""
    rng = np.random.default_rng(0)
    drawn = []
    while len(drawn) < NETWORKS:
        leaves, sources = draw(rng)
        loss = Loss.draw(rng)
        slopes, (counts, okay) = gradient(leaves, sources, loss, ej.Eventprop())
        if is_rich(leaves, sources, loss, slopes, counts, okay):
            drawn.append((leaves, sources, loss, slopes))
    return drawn


def test_eventprop_equals_direct(networks):
    worst = 0.0
    for leaves, sources, loss, slopes in networks:
        want, _ = gradient(leaves, sources, loss, ej.Direct())
        for name in leaves.__dict__:
            one, two = getattr(slopes, name), getattr(want, name)
            error = norm(one - two) / norm(two)
            worst = max(worst, error)
            assert error < 1e-10, name
    print(f"worst relative difference {worst:.1e}")


# Differences of fourth order with two steps, which must agree with each other.
STEPS = np.array([4e-6, 1e-6])
OFFSETS = np.array([-2, -1, 1, 2])


@eqx.filter_jit
def differences(leaves: Leaves, sources: Array, loss: Loss, direction: Leaves):
    """For each leaf (rows) and step the slope along `direction`, and the number of
    spikes of each neuron at all places (last axis) it is computed from."""
    tree, structure = jax.tree.flatten(direction)
    steps = (STEPS[:, None] * OFFSETS).ravel()

    def at(which, step):
        moved = [x * jnp.where(which == k, step, 0.0) for k, x in enumerate(tree)]
        moved = eqx.apply_updates(leaves, jax.tree.unflatten(structure, moved))
        sol = simulate(moved, sources, ej.Eventprop())
        counts = sol.spikes[0].counts_per_source(NEURONS)[0]
        return loss(sol), jnp.where(sol.okay, counts, -1)

    over_steps = jax.vmap(at, in_axes=(None, 0))
    over_leaves = jax.vmap(over_steps, in_axes=(0, None))
    values, counts = over_leaves(jnp.arange(len(tree)), jnp.asarray(steps))
    values = values.reshape(len(tree), len(STEPS), 4)
    weights = np.array([1, -8, 8, -1]) / (12 * STEPS[:, None])
    return jnp.sum(values * weights[None], axis=-1), counts


def random_direction(rng, leaves: Leaves) -> Leaves:
    def one(x):
        return jnp.asarray(np.where(np.isfinite(x), rng.normal(size=x.shape), 0.0))

    direction = jax.tree.map(one, leaves)
    # A delay of zero cannot be made smaller.
    some = jnp.where(leaves.recurrent_delay > 0, direction.recurrent_delay, 0.0)
    return eqx.tree_at(lambda x: x.recurrent_delay, direction, some)


def test_eventprop_against_differences(networks):
    rng = np.random.default_rng(1)
    not_smooth = 0
    worst = dict.fromkeys(networks[0][0].__dict__, 0.0)
    for leaves, sources, loss, slopes in networks:
        direction = random_direction(rng, leaves)
        numeric, counts = differences(leaves, sources, loss, direction)
        sizes = np.array([norm(x) for x in jax.tree.leaves(slopes)])
        large_step, small_step = np.asarray(numeric).T
        apart = np.abs(large_step - small_step)
        # A step made or lost a spike, or took one past an arrival at its neuron, where
        # the slope jumps: then differences do not agree with each other.
        counts_change = np.any(np.asarray(counts) != np.asarray(counts)[0, 0])
        if counts_change or np.any(apart > 1e-6 * sizes):
            not_smooth += 1
            continue
        for k, name in enumerate(worst):
            slope = jnp.sum(getattr(slopes, name) * getattr(direction, name))
            error = abs(float(slope) - large_step[k]) / sizes[k]
            worst[name] = max(worst[name], error)
    print(f"{NETWORKS} networks, {not_smooth} of them not smooth; worst errors")
    print("  ".join(f"{name} {error:.1e}" for name, error in worst.items()))
    assert not_smooth <= 0.1 * NETWORKS
    assert max(worst.values()) < 1e-6


def three_layers(rng) -> ej.Network:
    """Recurrence without delays, delays between layers, and a layer that only
    integrates; some parameters are constants, some for one neuron, some for all."""
    lif = random_lif(rng, NEURONS)
    hidden = ej.Layer(
        dense(random_weight(rng, lif, INPUTS, 0.8, 0.6)),
        ej.LIF(NEURONS, **lif),
        dense(random_weight(rng, lif, NEURONS, -0.2, 0.5)),
        capacity=CAPACITY,
    )
    middle = ej.Layer(
        dense(rng.normal(1, 1, (NEURONS, 4)), jnp.asarray(rng.uniform(0, 3, NEURONS))),
        ej.LIF(4, tau_mem=12.0, tau_syn=jnp.array(6.0), bias=rng.normal(0, 0.2, 4)),
        capacity=CAPACITY,
    )
    out = ej.Layer(
        dense(rng.normal(size=(4, 2))),
        ej.LeakyIntegrator(2, tau_mem=rng.uniform(5, 20, 2), tau_syn=3.0),
    )
    return ej.Network([hidden, middle, out])


def network_loss(network_and_times, sources, weights, adjoint):
    network, times = network_and_times
    sol = ej.simulate(network, ej.Spikes(times, sources), T1, adjoint=adjoint)
    spikes = sol.spikes[1].times
    by_time = jnp.sum(jnp.where(jnp.isfinite(spikes), jnp.sin(spikes / 5), 0.0))
    by_state = jnp.sum(weights * sol.final_state[-1].v)
    return by_time + by_state, sol.num_spikes[:2]


gradient_of_network = eqx.filter_jit(eqx.filter_grad(network_loss, has_aux=True))


def draw_three_layers():
    rng = np.random.default_rng(2)
    spikes = random_spikes(rng, 3, EVENTS, INPUTS, 0.8 * T1)
    weights = jnp.asarray(rng.normal(size=(3, 2)))
    return (three_layers(rng), spikes.times), spikes.sources, weights


def test_layers_in_a_batch():
    args = draw_three_layers()
    got, counts = gradient_of_network(*args, ej.Eventprop())
    want, _ = gradient_of_network(*args, ej.Direct())
    assert np.all(np.asarray(counts) > 0)
    got, want = (jax.tree.leaves_with_path(x) for x in (got, want))
    assert len(got) == len(want) == 14
    for (path, one), (_, two) in zip(got, want):
        assert norm(two) > 0, path
        assert norm(one - two) < 1e-10 * norm(two), path


def jvp(args, adjoint):
    """Gradient times a direction in forward mode, and the direction."""
    diff, static = eqx.partition(args[0], eqx.is_inexact_array)
    direction = jax.tree.map(
        lambda x: jnp.where(jnp.isfinite(x), jnp.cos(x), 0.0), diff
    )

    def value(diff):
        return network_loss(eqx.combine(diff, static), *args[1:], adjoint)[0]  # pyright: ignore

    return jax.jvp(value, (diff,), (direction,))[1], direction


def test_forward_mode():
    args = draw_three_layers()
    got, direction = eqx.filter_jit(jvp)(args, ej.Direct())
    slopes, _ = gradient_of_network(*args, ej.Eventprop())
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), slopes, direction)
    np.testing.assert_allclose(got, sum(jax.tree.leaves(products)), rtol=1e-10)
    with pytest.raises(TypeError, match="forward-mode autodiff"):
        jvp(args, ej.Eventprop())
