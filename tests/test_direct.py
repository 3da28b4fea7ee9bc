"""The autodiff oracle against a plain simulator and against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jaxtyping import Array

from eventjax._adjoint._direct import direct_run
from eventjax._solver._problem import LayerProblem


BATCH, NEURONS, ROWS, EVENTS, CAPACITY = 3, 6, 4, 12, 80
T0, T1 = 2.0, 50.0

run = eqx.filter_jit(direct_run)


def draw(rng, delay: str | None, taus: str, dtype=np.float64) -> LayerProblem:
    """A random problem of fixed shapes that spikes tens of times per sample."""
    per_neuron = lambda low, high: rng.uniform(low, high, (1, NEURONS))
    tau_mem, tau_syn = per_neuron(5, 25), per_neuron(2, 10)
    if taus == "equal":
        tau_syn = tau_mem
    elif taus == "near":
        tau_syn = tau_mem * (1 + 10 ** rng.uniform(-16, -2, (1, NEURONS)))
    elif taus == "swapped":
        tau_mem, tau_syn = tau_syn, tau_mem
    times = np.sort(rng.uniform(T0, T1 * 1.1, (BATCH, EVENTS)), axis=1)
    times[:, rng.integers(EVENTS - 4, EVENTS) :] = np.inf
    scale = 0.6 * tau_mem / tau_syn  # so that taus do not change the number of spikes
    recurrent = rng.normal(-0.2, 0.5, (1, NEURONS, NEURONS)) * scale if delay else None
    delays = None
    if delay:
        delays = np.zeros((1, NEURONS))
        if delay != "zero":
            delays = rng.uniform(0.5, 6, NEURONS) * rng.integers(0, 2, NEURONS)
            delays = delays[None]
    arrays = dict(
        rows=rng.normal(1.5, 1.5, (ROWS, NEURONS)) * scale,
        recurrent=recurrent,
        recurrent_delay=delays,
        tau_mem=tau_mem,
        tau_syn=tau_syn,
        v_threshold=per_neuron(0.8, 1.2),
        v_reset=per_neuron(-0.5, 0.1),
        bias=per_neuron(-0.3, 0.6),
        v=rng.uniform(-0.5, 0.5, (BATCH, NEURONS)),
        i=rng.uniform(-1, 2, (BATCH, NEURONS)),
        t0=np.array(T0),
        t1=np.array(T1),
        times=times.T[:, :, None],
        index=rng.integers(0, ROWS, (BATCH, EVENTS), dtype=np.int32).T[:, :, None],
    )
    cast = lambda x: jnp.asarray(x, dtype if x.dtype == float else x.dtype)
    return LayerProblem(**jax.tree.map(cast, arrays))


def reference_runs(problem: LayerProblem) -> list[reference.Run]:
    spread = lambda x: np.broadcast_to(np.asarray(x), problem.v.shape)
    names = ("tau_mem", "tau_syn", "v_threshold", "v_reset", "bias", "v", "i")
    runs, back = [], {}
    if problem.recurrent is not None:
        back = dict(recurrent=problem.recurrent[0])
        back["recurrent_delay"] = problem.recurrent_delay[0]
    for sample in range(problem.v.shape[0]):
        times = np.asarray(problem.times[:, sample, 0])
        there = np.isfinite(times)
        runs.append(
            reference.simulate(
                problem.rows,
                times[there],
                np.asarray(problem.index[:, sample, 0])[there],
                float(problem.t1),
                t0=float(problem.t0),
                **back,
                **{name: spread(getattr(problem, name))[sample] for name in names},
            )
        )
    return runs


@pytest.mark.parametrize("delay", [None, "zero", "mixed"])
def test_against_the_reference(delay):
    rng = np.random.default_rng(0)
    spikes = 0
    for taus in 10 * ["mixed", "equal", "near", "swapped"]:
        problem = draw(rng, delay, taus)
        out = run(problem, CAPACITY)
        for sample, want in enumerate(reference_runs(problem)):
            count = len(want.times)
            spikes += count
            assert out.num_spikes[sample] == count <= CAPACITY, taus
            times, sources = out.times[sample], out.sources[sample]
            np.testing.assert_allclose(times[:count], want.times, rtol=1e-11)
            np.testing.assert_array_equal(sources[:count], want.sources)
            assert np.all(np.isinf(times[count:]))
            np.testing.assert_allclose(out.v[sample], want.v, atol=1e-9)
            np.testing.assert_allclose(out.i[sample], want.i, atol=1e-9)
    assert spikes > 1000


def test_too_many_spikes_are_reported():
    problem = draw(np.random.default_rng(1), "zero", "mixed")
    needed = run(problem, CAPACITY).num_spikes
    few = run(problem, 3)
    assert np.all(np.asarray(needed) > 3)
    assert np.all(np.asarray(few.num_spikes) > 3)


def test_float32_stays_close():
    rng = np.random.default_rng(2)
    for _ in range(5):
        problem = draw(rng, "mixed", "near", np.float32)
        exact = jax.tree.map(
            lambda x: x.astype(float) if x.dtype == jnp.float32 else x, problem
        )
        got, want = run(problem, CAPACITY), run(exact, CAPACITY)
        assert got.times.dtype == got.v.dtype == jnp.float32
        np.testing.assert_array_equal(got.num_spikes, want.num_spikes)
        np.testing.assert_allclose(got.times, want.times, rtol=1e-4)


def test_neurons_without_threshold_never_spike():
    problem = draw(np.random.default_rng(3), None, "mixed")
    silent = eqx.tree_at(lambda p: (p.v_threshold, p.v_reset), problem, (None, None))
    high = eqx.tree_at(lambda p: p.v_threshold, problem, jnp.full((1, 1), 1e6))
    got, want = run(silent, 2), run(high, 2)
    np.testing.assert_array_equal(got.num_spikes, 0)
    np.testing.assert_allclose(got.v, want.v, rtol=1e-13)


class Weights(eqx.Module):
    times: Array
    v: Array
    i: Array


def draw_weights(rng, dtype=np.float64) -> Weights:
    shapes = (BATCH, CAPACITY), (BATCH, NEURONS), (BATCH, NEURONS)
    return Weights(*(jnp.asarray(rng.normal(size=s), dtype) for s in shapes))


@eqx.filter_jit
def value(problem: LayerProblem, weights: Weights) -> tuple[Array, Array]:
    """A smooth function of everything a run gives, and its spike counts (as floats,
    so that their difference can be taken too)."""
    out = direct_run(problem, CAPACITY)
    times = jnp.where(jnp.isfinite(out.times), out.times, 0.0)
    total = jnp.sum(jnp.sin(times / 7 + weights.times) * weights.times)
    total = total + jnp.sum(weights.v * out.v**2) + jnp.sum(weights.i * out.i)
    return total, out.num_spikes.astype(total.dtype)


gradient = eqx.filter_jit(eqx.filter_grad(value, has_aux=True))


def draw_direction(rng, problem: LayerProblem, names: list[str]) -> LayerProblem:
    """Random numbers in the leaves named, zeros in the others, `None` for integers."""
    diff = eqx.filter(problem, eqx.is_inexact_array)
    tree = jax.tree.map(jnp.zeros_like, diff)
    for name in names:
        leaf = np.asarray(getattr(problem, name))
        random = np.where(np.isfinite(leaf), rng.normal(size=leaf.shape), 0.0)
        if name == "recurrent_delay":  # a spike cannot arrive before it was sent
            random = np.where(leaf > 0, random, 0.0)
        random = jnp.asarray(random, leaf.dtype)
        tree = eqx.tree_at(lambda t: getattr(t, name), tree, random)
    return tree


def fourth_order_difference(function, problem, direction, step):
    """Slope along `direction`, for functions with any tree of arrays as result."""
    at = lambda k: function(
        eqx.apply_updates(problem, jax.tree.map(lambda d: k * step * d, direction))
    )
    slope = lambda a, b, c, d: (8 * (b - c) - (a - d)) / (12 * step)
    return jax.tree.map(slope, at(2), at(1), at(-1), at(-2))


def inner(one, two) -> float:
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), one, two)
    return float(sum(jax.tree.leaves(products)))


LEAVES = (
    "rows recurrent recurrent_delay tau_mem tau_syn v_threshold v_reset bias "
    "v i t0 t1 times"
).split()


@pytest.mark.parametrize("delay", ["zero", "mixed"])
@pytest.mark.parametrize("taus", ["mixed", "equal", "near"])
def test_gradients_against_differences(delay, taus):
    rng = np.random.default_rng(4)
    problem, weights = draw(rng, delay, taus), draw_weights(rng)
    slopes, counts = gradient(problem, weights)
    for name in LEAVES:
        slope = getattr(slopes, name)
        assert np.all(np.isfinite(slope)), name
        direction = draw_direction(rng, problem, [name])
        numeric, changes = fourth_order_difference(
            lambda p: value(p, weights), problem, direction, 1e-5
        )
        np.testing.assert_array_equal(changes, 0)
        scale = max(1e-2, float(jnp.linalg.norm(slope)))
        assert abs(inner(slopes, direction) - float(numeric)) < 1e-7 * scale, name
        if not (delay == "zero" and name == "recurrent_delay"):
            assert np.any(np.asarray(slope) != 0), name


@eqx.filter_jit
def _forward(problem, direction, weights):
    diff, static = eqx.partition(problem, eqx.is_inexact_array)
    of_leaves = lambda diff: value(eqx.combine(diff, static), weights)[0]
    return jax.jvp(of_leaves, (diff,), (direction,))[1]


@eqx.filter_jit
def _hessian_times(problem, direction, weights):
    diff, static = eqx.partition(problem, eqx.is_inexact_array)
    of_leaves = lambda diff: gradient(eqx.combine(diff, static), weights)[0]
    return jax.jvp(of_leaves, (diff,), (direction,))[1]


@pytest.mark.parametrize("taus", ["mixed", "equal"])
def test_forward_mode_and_hessian(taus):
    rng = np.random.default_rng(5)
    problem, weights = draw(rng, "mixed", taus), draw_weights(rng)
    direction = draw_direction(rng, problem, LEAVES)
    slopes, _ = gradient(problem, weights)
    forward = float(_forward(problem, direction, weights))
    np.testing.assert_allclose(forward, inner(slopes, direction), rtol=1e-11)

    got = _hessian_times(problem, direction, weights)
    want, _ = fourth_order_difference(
        lambda p: gradient(p, weights), problem, direction, 2e-6
    )
    for name in LEAVES:
        one, two = getattr(got, name), getattr(want, name)
        assert np.all(np.isfinite(one)), name
        error = float(jnp.linalg.norm(one - two))
        assert error < 1e-6 * float(jnp.linalg.norm(two)), name


def test_gradients_in_float32():
    rng = np.random.default_rng(6)
    problem, weights = draw(rng, "mixed", "equal"), draw_weights(rng)
    single = lambda tree: jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, tree
    )
    got, counts = gradient(single(problem), single(weights))
    want, want_counts = gradient(problem, weights)
    np.testing.assert_array_equal(counts, want_counts)
    for name in LEAVES:
        one, two = getattr(got, name), getattr(want, name)
        assert one.dtype == jnp.float32
        error = float(jnp.linalg.norm(one.astype(float) - two))
        assert error < 1e-2 * float(jnp.linalg.norm(two)), name
