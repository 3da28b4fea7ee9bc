"""The rows of the event-driven-learning paper: what they measure, and what is stored."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ramp_networks import ramp_dense

import eventjax as ej


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from paper_repro._registry import papers  # noqa: E402
from paper_repro._report import markdown  # noqa: E402
from paper_repro._row import Where  # noqa: E402
from paper_repro._targets import targets_of  # noqa: E402
from paper_repro.event_driven_learning import _spike_time  # noqa: E402
from paper_repro.event_driven_learning._depth import (  # noqa: E402
    kaiming_stack,
    layer_shares,
    run_layer,
    THRESHOLDS,
)
from paper_repro.event_driven_learning._slopes import (  # noqa: E402
    random_neurons,
    Slopes,
    slopes,
)
from paper_repro.event_driven_learning.rows import (  # noqa: E402
    gradient_reversal,
    over_sparsity,
)


PAPER = next(paper for paper in papers() if paper.name == "event_driven_learning")


def test_the_report_is_up_to_date():
    assert (PAPER.folder / "RESULTS.md").read_text(encoding="utf-8") == markdown(PAPER)


def test_no_figure_is_made_up():
    """Only two differences and a factor are known, and no row can test them."""
    for target in targets_of(PAPER):
        assert target.mean is None and "UNCONFIRMED" in target.note


# Over-sparsity


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_shares_of_a_layer_are_those_of_the_definition(threshold):
    """And the gain is the derivative by a shift of all inputs, over the sum of weights."""
    stack = kaiming_stack((20, 30), jr.key(0))
    times = jr.uniform(jr.key(1), (16, 20), float)
    fired = jr.bernoulli(jr.key(2), 0.8, (16, 20))
    spikes = ej.FirstSpikes(times, fired)
    run = run_layer(stack[0], spikes, threshold)
    shares = layer_shares(stack, spikes, threshold)[0]
    assert shares["fires"] == pytest.approx(shares["active"] + shares["saturated"])
    assert shares["fires"] + shares["silent"] == pytest.approx(1.0)
    assert shares["active"] > 0.1 and shares["silent"] > 0.1
    assert (shares["saturated"] > 0) == (threshold != "overlapping")

    # A spike moves by gain times the voltage that is added.
    active, cotangents = run.active, jr.normal(jr.key(3), run.active.shape)

    @jax.grad
    def by_all_weights(extra):
        moved = eqx.tree_at(lambda c: c.weight, stack[0], stack[0].weight + extra)
        out = run_layer(moved, spikes, threshold).spikes.times
        return jnp.sum(jnp.where(active, cotangents * out, 0.0))

    start = 0.0 if threshold == "overlapping" else 1.0
    ago = jnp.maximum(run.spikes.times[:, None, :] + start - times[:, :, None], 0.0)
    added = jnp.sum(jnp.where(fired[:, :, None], ago, 0.0), axis=1)
    want = jnp.sum(jnp.where(active, -cotangents * run.gain * added, 0.0), axis=0)
    got = by_all_weights(jnp.zeros((1, 30)))[0]
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert np.all(np.asarray(run.gain)[~np.asarray(active)] == 0)


def test_a_ramp_keeps_layers_alive_and_a_fixed_threshold_does_not():
    config = over_sparsity.Untrained(8, width=128, batch=8)
    record = over_sparsity.measure(config)
    shares = record["shares"]
    ramp = [x["fires"] for x in shares["ramp"]]
    fixed = [x["fires"] for x in shares["fixed"]]
    assert min(ramp) > 0.35 and abs(ramp[-1] - ramp[1]) < 0.2
    assert fixed[0] > 0.25 and fixed[-1] < 0.5 * fixed[0]
    half = shares["fixed_half"][-1]
    assert half["saturated"] > half["active"]
    free = shares["overlapping"]
    assert all(x["saturated"] == 0 for x in free)
    assert free[-1]["gain_99"] > 4 * shares["ramp"][-1]["gain_99"]
    text = over_sparsity.details({"8_layers_untrained": {"seed0": record}})
    assert f"| ramp 1 to 0 | {100 * ramp[0]:.1f} (" in text
    assert "MNIST after training" not in text


def test_a_layer_without_spikes_has_no_gain():
    stack = kaiming_stack((4, 4, 4), jr.key(0))
    nothing = ej.FirstSpikes(jnp.full((2, 4), jnp.inf), jnp.zeros((2, 4), bool))
    for threshold in THRESHOLDS:
        for layer in layer_shares(stack, nothing, threshold):
            assert layer["silent"] == 1 and layer["gain_99"] is None


def test_groups_of_over_sparsity():
    found = {job.path: job.config for job in over_sparsity.jobs(2)}
    assert len(found) == 22
    assert found["16_layers_untrained/seed1"].layers == 16
    trained = found["overlapping_10_layers/seed1"]
    assert (trained.threshold, trained.layers, trained.seed) == ("overlapping", 10, 1)


def test_figures_are_drawn_from_what_is_stored(tmp_path):
    """Also if hardly anything is."""
    for name, draw in (
        ("over_sparsity", over_sparsity.draw),
        ("gradient_reversal", gradient_reversal.draw),
    ):
        draw(tmp_path)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


# Gradient reversal


def test_the_example_of_a_reversed_gradient():
    """Weights of 1.5 and 3.0 in a kernel that is larger by 7 / 4 than that of `LIF`."""
    found = gradient_reversal.example("double_exponential")
    at = [found["first"].index(t) for t in (0.0, 1.0, 2.0)]
    out = [found["out"][k] for k in at]
    np.testing.assert_allclose(out, [21.541, 21.486, 21.426], atol=5e-4)
    assert np.all(np.array(found["slope"])[: at[2] + 1] < 0)
    numeric = np.gradient(found["out"], found["first"], edge_order=2)
    np.testing.assert_allclose(found["slope"], numeric, atol=1e-3)
    for kernel in ("ramp", "rel_psp"):
        out = np.array(gradient_reversal.example(kernel)["out"])
        assert np.isfinite(out).all() and np.all(np.diff(out) > 0)


SPREADS = {name: x.spread for name, x in gradient_reversal.SETTINGS.items()}


def _draw(kernel, neurons=30, inputs=40):
    spread = SPREADS[kernel] * (100 / inputs) ** 0.5
    return random_neurons(neurons, inputs, 20.0, spread, jr.key(3))


# Those of `double_exponential` take long to compile; see the example.
@pytest.mark.parametrize("kernel", ["ramp", "rel_psp", "surrogate"])
def test_derivatives_of_single_neurons(kernel):
    weights, times = _draw(kernel)
    found = slopes(kernel, weights, times, 20.0)
    spikes = np.asarray(found.spikes)
    assert 0.1 < spikes.mean() < 0.95
    assert np.all(np.asarray(found.by_time)[~spikes] == 0)
    metrics, counts = gradient_reversal.reversals(found, np.asarray(weights))
    assert metrics[gradient_reversal.BY_WEIGHT] == 0
    if kernel in ("ramp", "rel_psp"):
        assert metrics[gradient_reversal.BY_TIME] == 0
    else:
        assert 20 < metrics[gradient_reversal.BY_TIME] < 80
    assert counts["signs by input times"] > 100
    if kernel == "surrogate":
        return
    # Spikes move as their derivatives say.
    rng, h = np.random.default_rng(0), 1e-5
    move = [jnp.asarray(rng.normal(size=weights.shape)) for _ in range(2)]
    ends = [
        slopes(kernel, weights + x * move[0], times + x * move[1], 20.0)
        for x in (-h, h)
    ]
    same = spikes & np.asarray(ends[0].spikes) & np.asarray(ends[1].spikes)
    assert same.sum() > 0.9 * spikes.sum()
    slope = (found.by_weight * move[0] + found.by_time * move[1]).sum(axis=1)[same]
    numeric = (ends[1].time[same] - ends[0].time[same]) / (2 * h)
    np.testing.assert_allclose(numeric, slope, rtol=1e-4, atol=1e-6)


def _surrogate_by_hand(weights, times, spike, second):
    """Derivatives by weights and input times of a neuron that spikes in the steps `spike`
    and `second`, from the sum that is the definition."""
    dt, tau_mem, tau_syn = _spike_time.DT, _spike_time.TAU_MEM, _spike_time.TAU_SYN
    k = np.arange(spike + 1)[:, None]
    before = np.floor(times / dt)

    def psp(place):
        age = np.maximum(k - place, 0.0) * dt
        size = tau_syn / (tau_mem - tau_syn)
        return size * (np.exp(-age / tau_mem) - np.exp(-age / tau_syn))

    v = psp(before) @ weights
    assert np.all(v[:-1] < 1) and v[-1] >= 1
    # A spike more would have ended the sum there; without its own it goes on to the next.
    missing = -dt * (spike - np.arange(spike + 1.0))
    missing[-1] = -dt * (second - spike)
    weighed = missing / (1 + np.abs(v - 1) / 0.1) ** 2
    now, later = weighed @ psp(before), weighed @ psp(before + 1)
    return now, weights * (later - now) / dt


def test_surrogate_of_the_first_spike_time():
    weights, times = _draw("surrogate")
    found = slopes("surrogate", weights, times, 20.0)
    steps, checked = round(40.0 / _spike_time.DT), 0
    for j in np.flatnonzero(found.spikes):
        spike = round(float(found.time[j]) / _spike_time.DT)
        assert found.time[j] == pytest.approx(spike * _spike_time.DT)
        frames = _frames(weights[j], times[j])
        assert frames[spike] == 1 and frames[:spike].sum() == 0
        rest = np.flatnonzero(frames[spike + 1 :])
        second = spike + 1 + rest[0] if rest.size else steps
        given = np.asarray(weights[j]), np.asarray(times[j])
        want = _surrogate_by_hand(*given, spike, second)
        np.testing.assert_allclose(found.by_weight[j], want[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.by_time[j], want[1], rtol=1e-9, atol=1e-12)
        checked += 1
    assert checked > 5


@jax.jit
def _frames(weights, times):
    lif = ej.LIF(1, tau_mem=_spike_time.TAU_MEM, tau_syn=_spike_time.TAU_SYN)
    network = ej.Network([ej.Layer(ramp_dense(weights[:, None]), lif)])
    spikes = ej.Spikes.from_dense(times)
    sol = ej.simulate(
        network, spikes, 40.0, solver=ej.Clocked(_spike_time.DT), adjoint=ej.Surrogate(),
        throw=False,
    )  # fmt: skip
    return sol.frames[0].counts[:, 0]


def test_reversals_are_counted():
    weights = np.array([[1.0, -1.0, 2.0], [1.0, 1.0, 1.0]])
    by_time = jnp.asarray([[0.5, 0.5, 0.0], [-0.5, 1.0, 0.0]])
    by_weight = jnp.asarray([[-1.0, -1.0, 0.0], [-1.0, 2.0, 0.0]])
    found = Slopes(jnp.asarray([1.0, 1.0]), by_weight, by_time)
    metrics, counts = gradient_reversal.reversals(found, weights)
    assert metrics[gradient_reversal.BY_TIME] == 50.0
    assert metrics[gradient_reversal.BY_WEIGHT] == 25.0
    assert counts["signs by input times"] == 4
    assert gradient_reversal.unlike([1.0, -1.0, 0.0], [1.0, 1.0, 1.0]) == 50.0
    bad = Slopes(found.time, by_weight, by_time.at[0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="not finite"):
        gradient_reversal.reversals(bad, weights)
    nobody = Slopes(found.time, by_weight * 0, by_time * 0)
    with pytest.raises(ValueError, match="No neuron spikes"):
        gradient_reversal.reversals(nobody, weights)


def test_record_of_a_kernel(tmp_path):
    config = dataclasses.replace(gradient_reversal.SETTINGS["rel_psp"], neurons=20)
    record = gradient_reversal.train(config, Where(tmp_path))
    again = gradient_reversal.train(config, Where(tmp_path))
    assert record["metrics"] == again["metrics"]
    text = gradient_reversal.details({"rel_psp": {"seed0": record}})
    assert "| fixed threshold, ReL-PSP (STDBP) | 0.00 | 0.00 |" in text
