"""MPD-ED: its forms against each other and automatic differentiation, and what it costs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_list import event_list_backward
from jaxtyping import Array
from networks import dense
from ramp_networks import ramp_dense

import eventjax as ej


BATCH, STEPS, INPUTS, HIDDEN, OUTPUTS, TAU = 2, 9, 5, 7, 3, 3.0
BETA = np.exp(-1 / TAU)
GRID = ej.Clocked(1.0)
FALL = ej.ThresholdFall(1.0, 0.4, float(STEPS))
MASKS = {
    "spike": ej.masks.Spike(),
    "near_threshold": ej.masks.NearThreshold(0.4),
    "both": ej.masks.Both(0.4),
    "dense": ej.masks.Dense(),
}
SHAPE = ej.surrogates.SuperSpike(width=0.5)
FORMS = [
    *((name, ej.Recursion()) for name in MASKS),
    ("spike", ej.NextSpike()),
    ("both", ej.NextSpike()),
]
IDS = [f"{name}-{type(form).__name__}" for name, form in FORMS]


class Given(eqx.Module):
    first: Array
    second: Array
    v: Array  # of the hidden layer at the start


def draw(seed: int = 0) -> tuple[Given, ej.Spikes, Array, Array]:
    rng = np.random.default_rng(seed)
    given = Given(
        jnp.asarray(rng.normal(0.3, 0.5, (INPUTS, HIDDEN))),
        jnp.asarray(rng.normal(0.3, 0.5, (HIDDEN, OUTPUTS))),
        jnp.asarray(rng.uniform(0, 0.5, (BATCH, HIDDEN))),
    )
    raster = rng.random((BATCH, STEPS, INPUTS)) < 0.4
    frames = ej.Frames(jnp.asarray(raster.astype(float)), 1.0)
    weights = jnp.asarray(rng.normal(size=(BATCH, STEPS, OUTPUTS)))
    return given, frames.to_spikes(STEPS * INPUTS), frames.counts, weights


def network(given: Given, threshold=FALL) -> ej.Network:
    layer = lambda weight, size: ej.Layer(
        ramp_dense(weight), ej.AdaptiveLIF(size, threshold, tau_mem=TAU)
    )
    return ej.Network([layer(given.first, HIDDEN), layer(given.second, OUTPUTS)])


@eqx.filter_jit
def by_library(given, spikes, weights, adjoint, threshold=FALL):
    """A loss on rasters and final voltages; gradient and rasters."""

    def loss(given):
        start = [ej.LayerState(ej.VoltageState(given.v)), None]
        net = network(given, threshold)
        zero = jnp.zeros((BATCH, OUTPUTS))
        start[1] = ej.LayerState(ej.VoltageState(zero))
        sol = ej.simulate(
            net, spikes, float(STEPS), state=start, solver=GRID, adjoint=adjoint
        )
        hidden, out = (x.counts for x in sol.frames)
        ends = jnp.sum(jnp.sin(sol.final_state[0].v)) + jnp.sum(sol.final_state[1].v)
        total = jnp.sum(weights * out) + jnp.sum(jnp.cos(jnp.sum(hidden, 1))) + ends
        return total, (hidden, out)

    return eqx.filter_grad(loss, has_aux=True)(given)


def masked_spike(mask):
    @jax.custom_vjp
    def spike(distance):
        return (distance >= 0).astype(distance.dtype)

    def back(distance, bar):
        return (bar * SHAPE(distance) * mask(distance),)

    spike.defvjp(lambda distance: (spike(distance), distance), back)
    return spike


def by_hand(given, raster, weights, mask):
    """The masked graph, written out step by step and differentiated by JAX."""
    spike = masked_spike(mask)

    def loss(given):
        v, u = given.v, jnp.zeros((BATCH, OUTPUTS))
        count, total = 0.0, 0.0
        for k in range(STEPS):
            theta = 1.0 - 0.6 * (k + 1) / STEPS
            v = BETA * v + raster[:, k] @ given.first
            s = spike(v - theta)
            v = v * (1 - jax.lax.stop_gradient(s))
            u = BETA * u + s @ given.second
            z = spike(u - theta)
            u = u * (1 - jax.lax.stop_gradient(z))
            count += s
            total += jnp.sum(weights[:, k] * z)
        ends = jnp.sum(jnp.sin(v)) + jnp.sum(u)
        return total + jnp.sum(jnp.cos(count)) + ends, count

    return jax.jit(jax.grad(loss, has_aux=True))(given)


@pytest.mark.parametrize("name", MASKS)
def test_loop_is_the_masked_graph(name):
    given, spikes, raster, weights = draw()
    rule = ej.MPDED(MASKS[name], shape=SHAPE)
    got, (hidden, out) = by_library(given, spikes, weights, rule)
    want, count = by_hand(given, raster, weights, MASKS[name])
    np.testing.assert_array_equal(np.sum(hidden, 1), count)
    assert 0.1 < np.mean(hidden) < 0.6 and 0.1 < np.mean(out) < 0.8
    for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        assert jnp.linalg.norm(y) > 0.1
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name, form", FORMS, ids=IDS)
def test_forms_are_equal(name, form):
    given, spikes, _, weights = draw(1)
    want, before = by_library(
        given, spikes, weights, ej.MPDED(MASKS[name], shape=SHAPE)
    )
    rule = ej.MPDED(MASKS[name], shape=SHAPE, backward=form)
    got, after = by_library(given, spikes, weights, rule)
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        assert jnp.linalg.norm(y) > 0.1
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-13)


def test_masks_differ_and_dense_is_surrogate():
    given, spikes, _, weights = draw()
    found = {
        name: by_library(given, spikes, weights, ej.MPDED(mask, shape=SHAPE))[0].first
        for name, mask in MASKS.items()
    }
    plain = by_library(given, spikes, weights, ej.Surrogate(SHAPE))[0].first
    np.testing.assert_array_equal(found["dense"], plain)
    names = list(found)
    for k, one in enumerate(names):
        for two in names[k + 1 :]:
            assert jnp.linalg.norm(found[one] - found[two]) > 1e-3, (one, two)


def test_mask_of_ones_own():
    given, spikes, _, weights = draw()
    own = lambda x: jnp.where(jnp.abs(x) < 0.4, 1.0, 0.0)
    got, _ = by_library(given, spikes, weights, ej.MPDED(own, shape=SHAPE))
    rule = ej.MPDED(MASKS["near_threshold"], shape=SHAPE)
    want, _ = by_library(given, spikes, weights, rule)
    np.testing.assert_array_equal(got.first, want.first)


class Statistic(eqx.Module):
    """A threshold that follows the voltages, with a factor to be learnt."""

    factor: Array

    def __call__(self, t, v):
        return jnp.broadcast_to(self.factor * (0.5 + jnp.mean(jnp.abs(v))), v.shape)


def test_threshold_of_ones_own():
    given, spikes, _, weights = draw()

    def loss(factor):
        net = network(given, Statistic(factor))
        rule = ej.MPDED(shape=SHAPE)
        sol = ej.simulate(net, spikes, float(STEPS), solver=GRID, adjoint=rule)
        return jnp.sum(weights * sol.frames[1].counts), sol.frames[0].counts

    slope, hidden = jax.jit(jax.grad(loss, has_aux=True))(jnp.array(1.0))
    assert 0.05 < np.mean(hidden) < 0.6
    assert abs(slope) > 1e-3


@pytest.mark.parametrize("name", MASKS)
def test_operations_of_an_event_list(name):
    """The count is that of an implementation which holds lists of events and makes its
    gradients one operation at a time; and its gradients are the library's."""
    given, spikes, raster, weights = draw(3)
    given = eqx.tree_at(lambda g: g.v, given, jnp.zeros_like(given.v))
    rule = ej.MPDED(MASKS[name], shape=SHAPE)
    _, (hidden, out) = by_library(given, spikes, weights, rule)

    def loss(given):
        net = network(given)
        sol = ej.simulate(net, spikes, float(STEPS), solver=GRID, adjoint=rule)
        return jnp.sum(weights * sol.frames[1].counts)

    want = jax.jit(jax.grad(loss))(given)
    first, second = np.zeros((INPUTS, HIDDEN)), np.zeros((HIDDEN, OUTPUTS))
    is_on = lambda x: np.asarray(MASKS[name](jnp.asarray(x))) > 0
    for b in range(BATCH):
        theta = 1.0 - 0.6 * (np.arange(STEPS) + 1) / STEPS
        run = event_list_backward(
            np.asarray(raster[b]),
            (np.asarray(given.first), np.asarray(given.second)),
            theta,
            BETA,
            lambda x: float(SHAPE(jnp.asarray(x))),
            np.asarray(weights[b]),
            is_on,
        )
        on, on_out = (jnp.asarray(x) for x in run.masks)
        if name == "spike":
            np.testing.assert_array_equal(on, hidden[b] > 0)
        counted = [
            ej.count_operations(raster[b], hidden[b], on),
            ej.count_operations(hidden[b], out[b], on_out, on),
        ]
        first, second = first + run.slopes[0], second + run.slopes[1]
        for layer in range(2):
            for kind in ("forward", "error", "weight"):
                number = getattr(counted[layer], kind)
                assert number == run.operations[layer][kind], (layer, kind)
        assert counted[0].weight > 0 and counted[1].error > 0
    np.testing.assert_allclose(first, want.first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(second, want.second, rtol=1e-10, atol=1e-12)


def test_spikes_save_work():
    given, spikes, raster, weights = draw(3)
    _, (hidden, out) = by_library(given, spikes, weights, ej.MPDED(shape=SHAPE))
    every = lambda x: jnp.ones_like(x, bool)
    dense = ej.count_operations(hidden, out, every(out), every(hidden))
    events = ej.count_operations(hidden, out, out > 0, hidden > 0)
    np.testing.assert_array_equal(dense.error, [STEPS * HIDDEN * OUTPUTS] * BATCH)
    np.testing.assert_array_equal(dense.weight, np.sum(hidden, (1, 2)) * OUTPUTS)
    assert np.all(events.error < 0.5 * dense.error)
    np.testing.assert_array_equal(events.forward, dense.forward)
    np.testing.assert_array_equal(events.error, events.weight)


def test_batch_equals_vmap_and_one_trace():
    given, spikes, _, _ = draw()
    rule, traces = ej.MPDED(shape=SHAPE, backward=ej.NextSpike()), []

    @eqx.filter_jit
    def run(given, spikes):
        traces.append(0)

        def loss(given):
            net = network(given)
            sol = ej.simulate(net, spikes, float(STEPS), solver=GRID, adjoint=rule)
            return jnp.sum(jnp.sin(jnp.sum(sol.frames[1].counts, -2)))

        return eqx.filter_grad(loss)(given)

    slopes = run(given, spikes)
    run(given, spikes)
    assert len(traces) == 1
    each = eqx.filter_jit(eqx.filter_vmap(run, in_axes=(None, 0)))(given, spikes)
    assert jnp.linalg.norm(slopes.first) > 0.1
    np.testing.assert_allclose(
        np.sum(each.first, 0), slopes.first, rtol=1e-10, atol=1e-12
    )


def test_masks_that_are_refused():
    for kind in (ej.masks.NearThreshold, ej.masks.Both):
        for bad in (0.0, -1.0, np.nan):
            with pytest.raises(ValueError, match="the mask would be empty"):
                kind(bad)
    with pytest.raises(ValueError, match="`mask` must be a function.*got None"):
        ej.MPDED(None)
    with pytest.raises(ValueError, match="`NextSpike` needs a mask.*`Dense`"):
        ej.MPDED(ej.masks.Dense(), backward=ej.NextSpike())
    with pytest.raises(ValueError, match="`mask` must keep the shape"):
        ej.MPDED(lambda x: x[0]).slope(jnp.ones((2, 3)))
    nothing = jnp.zeros((0, 3))
    with pytest.raises(ValueError, match="`mask` is empty"):
        ej.count_operations(nothing, nothing, nothing > 0)
    with pytest.raises(ValueError, match="`given_mask` must have the shape"):
        x = jnp.ones((4, 3))
        ej.count_operations(x, x, x > 0, jnp.ones((4, 2)) > 0)


def run_with(layer, **more):
    rule = ej.MPDED(backward=ej.Recursion())
    spikes = ej.Spikes.from_dense(jnp.asarray([0.5, 1.5]))
    net = ej.Network([layer])
    return ej.simulate(net, spikes, 4.0, solver=GRID, adjoint=rule, **more)


@pytest.mark.parametrize(
    "layer, more, message",
    [
        (ej.Layer(dense(np.ones((2, 2))), ej.LIF(2)), {}, "neurons are `LIF`"),
        (
            ej.Layer(
                dense(np.ones((2, 2))),
                ej.AdaptiveLIF(2, tau_mem=jnp.asarray([1.0, 2.0])),
            ),
            {},
            "parameters that are arrays",
        ),
        (
            ej.Layer(dense(np.ones((2, 2))), ej.AdaptiveLIF(2), dense(np.ones((2, 2)))),
            {},
            "layer is recurrent",
        ),
        (
            ej.Layer(dense(np.ones((2, 2))), ej.AdaptiveLIF(2)),
            {"drive": [jnp.array(0.1)]},
            "layer has a `drive`",
        ),
    ],
)
def test_layers_without_a_written_out_backward(layer, more, message):
    with pytest.raises(ValueError, match=message + ".*without `backward`"):
        run_with(layer, **more)


def test_solvers_and_neurons_that_are_refused():
    layer = ej.Layer(dense(np.ones((2, 2))), ej.AdaptiveLIF(2))
    spikes = ej.Spikes.from_dense(jnp.asarray([0.5, 1.5]))
    with pytest.raises(ValueError, match="`MPDED` does not work with.*`ClosedForm`"):
        ej.simulate(ej.Network([layer]), spikes, 4.0, adjoint=ej.MPDED())
    with pytest.raises(ValueError, match="`ClosedForm` has no closed form for `Adapt"):
        ej.simulate(ej.Network([layer]), spikes, 4.0)
    with pytest.raises(ValueError, match="`duration` must be positive"):
        ej.ThresholdFall(1.0, 0.1, 0.0)
    with pytest.raises(ValueError, match="`threshold` must be a number or a function"):
        ej.AdaptiveLIF(2, threshold="low")
