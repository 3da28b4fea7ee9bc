"""Rules beside the gradient: silent neurons, floors, and when to learn how fast."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from toy_training import (
    assert_same,
    BATCH,
    fit,
    loss_fn,
    make_arrays,
    make_batches,
    make_network,
    rows_of,
    validation,
)

import eventjax as ej


STEPS = 3  # in an epoch of the toy data
WEIGHT = lambda n: n.layers[0].connection.weight
SILENT = [1, 4]


def _half_silent(capacity=64):
    network = make_network(capacity)
    weight = WEIGHT(network).at[:, jnp.array(SILENT)].set(0.0)
    return eqx.tree_at(WEIGHT, network, weight)


def _lift(**settings):
    settings = {"steps_per_epoch": STEPS, "amount": 0.01} | settings
    return optax.chain(optax.sgd(0.0), ej.train.lift_silent(WEIGHT, 0, **settings))


@pytest.mark.parametrize("everyone", [False, True])
def test_silent_neurons_are_lifted_once_per_epoch(everyone):
    network = _half_silent()
    optimiser = _lift(everyone=everyone)
    fitted = fit(network, make_arrays(), epochs=2, optimiser=optimiser)
    change = np.asarray(WEIGHT(fitted.model) - WEIGHT(network))
    expected = np.zeros_like(change)
    expected[:, slice(None) if everyone else SILENT] = 0.02
    np.testing.assert_allclose(change, expected, atol=1e-12)


def test_one_spike_in_the_epoch_is_enough():
    optimiser = ej.train.lift_silent(lambda p: p["w"], 1, steps_per_epoch=3, amount=1.0)
    params = {"w": jnp.zeros((2, 3))}
    state, total = optimiser.init(params), jnp.zeros((2, 3))
    for counts in ([0, 0, 0], [0, 2, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]):
        updates, state = optimiser.update(
            jax.tree.map(jnp.zeros_like, params), state, params,
            spike_counts=(None, jnp.array(counts, jnp.int32)),
        )  # fmt: skip
        total = total + updates["w"]
    # Neuron 0 was silent in the first epoch, 2 too; 1 in the second.
    np.testing.assert_array_equal(total, np.ones((2, 3)))
    np.testing.assert_array_equal(state.counts, 0)


def test_steps_that_are_skipped_or_repeated_count_no_spikes():
    arrays = make_arrays()
    optimiser = _lift(steps_per_epoch=100)
    step = ej.train.make_step(loss_fn, optimiser)

    def after(network, steps):
        state = jax.tree.map(
            jnp.copy, optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        )
        network, reports = jax.tree.map(jnp.copy, network), []
        for batch in steps:
            report, network, state = step((batch, jr.key(0)), network, state)
            reports.append(report)
        return reports, state[1]

    good = {name: array[:BATCH] for name, array in arrays.items()}
    bad = {**good, "factor": np.full(BATCH, np.nan)}
    reports, state = after(make_network(), [good, bad, good])
    assert [bool(r.finite) for r in reports] == [True, False, True]
    counts = np.asarray(reports[0].spike_counts[0])
    assert counts.sum() > 0
    np.testing.assert_array_equal(state.counts, 2 * counts)
    assert int(state.steps) == 2
    # A full buffer: the step is not applied, `fit` repeats it with more capacity.
    reports, state = after(make_network(capacity=1), [good])
    assert bool(reports[0].overfull)
    assert int(state.steps) == 0 and int(state.counts.sum()) == 0
    narrow, wide = (
        fit(_half_silent(capacity), arrays, epochs=3, optimiser=_lift())
        for capacity in (1, 64)
    )
    assert_same(narrow.model, wide.model)


def test_spikes_on_a_grid_are_counted():
    network = ej.Network([ej.Layer(ej.Dense(2, 3, mean=4.0, key=jr.key(0)), ej.LIF(3))])
    spikes = ej.Spikes.from_dense(jnp.array([[1.0, 2.0], [3.0, 4.0]]))

    def loss(network, batch, key):
        sol = ej.simulate(
            network, spikes, 20.0, solver=ej.Clocked(1.0), adjoint=ej.Surrogate(),
            throw=False,
        )  # fmt: skip
        return jnp.sum(sol.frames[0].counts, axis=(1, 2)), sol, {}

    optimiser = _lift()
    state = optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    sol = ej.simulate(
        network, spikes, 20.0, solver=ej.Clocked(1.0), adjoint=ej.Surrogate()
    )
    expected = np.asarray(sol.frames[0].counts).sum(axis=(0, 1))
    step = ej.train.make_step(loss, optimiser)
    report, _, state = step((None, jr.key(0)), network, state)
    assert expected.sum() > 0
    np.testing.assert_array_equal(report.spike_counts[0], expected)
    np.testing.assert_array_equal(state[1].counts, expected)


def test_a_floor_holds_to_the_last_bit():
    optimiser = ej.train.keep_above(lambda p: p["tau"], 0.7)
    tau = jr.uniform(jr.key(0), (1000,), jnp.float32, 0.7, 30.0)
    params = {"tau": tau, "other": tau}
    updates = jax.tree.map(
        lambda x: -x * jr.uniform(jr.key(1), x.shape, x.dtype), params
    )
    new, _ = jax.jit(optimiser.update)(updates, optimiser.init(params), params)
    moved: Any = optax.apply_updates(params, new)
    free = tau + updates["tau"]
    floor = np.float32(0.7)
    assert 50 < int(jnp.sum(free < floor)) < 950
    assert float(moved["tau"].min()) >= floor
    np.testing.assert_allclose(
        moved["tau"], np.maximum(free, floor), rtol=1e-6, atol=2e-6
    )
    np.testing.assert_array_equal(new["other"], updates["other"])
    kept = np.asarray(free >= floor)
    np.testing.assert_array_equal(new["tau"][kept], updates["tau"][kept])


def test_time_constants_stop_at_their_floor():
    network = make_network()
    tau = lambda n: n.layers[0].neuron.tau_mem
    network = eqx.tree_at(tau, network, jnp.full(6, 3.05))

    def faster(network, batch, key):
        losses, sol, metrics = loss_fn(network, batch, key)
        return losses + jnp.sum(tau(network)[:3]), sol, metrics

    optimiser = optax.chain(optax.sgd(0.04), ej.train.keep_above(tau, 3.0))
    fitted = fit(network, make_arrays(), loss=faster, epochs=1, optimiser=optimiser)
    np.testing.assert_array_equal(tau(fitted.model), [3.0] * 3 + [3.05] * 3)


def test_ease_in():
    rate = ej.train.ease_in(2e-3)
    steps = np.arange(200)
    expected = np.minimum(2e-3, 2e-6 * 1.05**steps)
    np.testing.assert_allclose([rate(k) for k in steps], expected, rtol=1e-12)
    assert rate(141) < 2e-3 == rate(142)
    assert float(rate(10**6)) == 2e-3  # the power overflows, the rate does not
    scheduled = ej.train.ease_in(lambda k: 0.5**k, start=0.1, factor=2.0)
    np.testing.assert_allclose([scheduled(k) for k in range(5)],
                               [0.1, 0.1, 0.1, 0.1, 0.0625])  # fmt: skip
    # Under optax, which counts the steps itself.
    optimiser = optax.sgd(rate)
    state = optimiser.init(jnp.zeros(()))
    updates, _ = optimiser.update(jnp.ones(()), state)
    assert float(jnp.asarray(updates)) == pytest.approx(-2e-6)


def _plain_plateau(values, patience, factor, decays):
    """The rule of the paper's code, epoch by epoch."""
    fast = slow = 0.0
    scale, last, scales = 1.0, 0, []
    for epoch, value in enumerate(values, 1):
        fast = decays[0] * fast + (1 - decays[0]) * value
        slow = decays[1] * slow + (1 - decays[1]) * value
        if epoch - last > patience and fast <= slow:
            scale, last = scale * factor, epoch
        scales.append(scale)
    return scales


def test_plateau_follows_its_rule():
    rng = np.random.default_rng(0)
    values = 0.6 + 0.2 * np.sin(np.arange(60) / 4) + 0.02 * rng.normal(size=60)
    optimiser = ej.train.plateau("train_accuracy", patience=5)
    state, scales = optimiser.init(None), []
    for value in values:
        state, event = state.after_epoch(float(value))
        before = scales[-1] if scales else 1.0
        scales.append(state.rate_scale)
        assert (event is not None) == (scales[-1] != before)
    expected = _plain_plateau(values, 5, 0.5, (0.8, 0.85))
    assert len(set(expected)) > 3
    np.testing.assert_allclose(scales, expected)
    updates, _ = optimiser.update({"w": jnp.ones(2)}, state)
    np.testing.assert_allclose(updates["w"], expected[-1])
    with pytest.raises(ValueError, match="`train_accuracy` is nan"):
        state.after_epoch(float("nan"))


def test_fit_drives_the_plateau_and_logs_it(tmp_path):
    def falling(network, batch, key):
        losses, sol, metrics = loss_fn(network, batch, key)
        return losses, sol, {"score": -losses}

    optimiser = optax.chain(
        optax.sgd(1e-3), ej.train.plateau("train_score", patience=1)
    )
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        fitted = ej.train.fit(
            make_network(), falling, make_batches(make_arrays()), optimiser, epochs=6,
            learning_rate=lambda step: 1e-3, log=log, progress=False, key=jr.key(2),
        )  # fmt: skip
    values = [row["train_score"] for row in fitted.history]
    expected = _plain_plateau(values, 1, 0.5, (0.8, 0.85))
    assert expected[-1] < 1
    # An epoch's row has the rate it was trained with.
    rates = [row["learning_rate"] for row in fitted.history]
    np.testing.assert_allclose(rates, 1e-3 * np.array([1.0, *expected[:-1]]))
    events = [row for row in rows_of(log.path) if row["event"] == "learning_rate"]
    changes = [k for k in range(1, 6) if expected[k] != expected[k - 1]]
    assert [row["epoch"] for row in events] == [k + 1 for k in changes]
    assert [row["scale"] for row in events] == [expected[k] for k in changes]


def test_rules_survive_an_interruption(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    optimiser = optax.chain(
        optax.adam(0.05),
        # Epochs of its own length, so that a checkpoint finds it in the middle of one.
        ej.train.lift_silent(WEIGHT, 0, steps_per_epoch=5, amount=0.1),
        ej.train.plateau("train_accuracy", patience=1),
    )
    settings = dict(optimiser=optimiser)
    network, arrays = _half_silent(), make_arrays()
    whole = fit(network, arrays, epochs=5, **settings)
    folder = tmp_path / "states"
    fit(network, arrays, epochs=2, checkpoints=folder, **settings)
    again = fit(network, arrays, epochs=5, checkpoints=folder, **settings)
    assert_same(again.model, whole.model)
    rows = [[{**row, "seconds": 0} for row in x.history] for x in (again, whole)]
    assert rows[0] == rows[1]
    assert len({row["learning_rate"] / 0.9**k for k, row in enumerate(rows[0])}) > 1
    other = optax.chain(
        optax.adam(0.05),
        ej.train.lift_silent(WEIGHT, 0, steps_per_epoch=5, amount=0.1),
        ej.train.plateau("train_accuracy", patience=2),
    )
    with pytest.raises(ValueError, match="(?s)optimiser.*patience': 1.*patience': 2"):
        fit(network, arrays, epochs=5, checkpoints=folder, optimiser=other)


def test_what_is_trained_is_known_after_a_larger_capacity():
    network, arrays = make_network(capacity=1), make_arrays()
    mask = jax.tree.map(eqx.is_inexact_array, network)
    layers = lambda n: [n.layers[0], n.layers[1].connection.weight]
    prefix = eqx.tree_at(layers, mask, [False, eqx.is_inexact_array])
    fitted = fit(network, arrays, epochs=1, trainable=prefix)
    assert [layer.capacity for layer in fitted.model.layers] > [1, 1]
    before, after = (
        [layer.connection.weight for layer in n.layers] for n in (network, fitted.model)
    )
    np.testing.assert_array_equal(before[0], after[0])
    assert np.any(before[1] != after[1])


def test_the_best_training_epoch_can_be_selected():
    fitted = fit(
        make_network(), make_arrays(), epochs=4, select_best="loss", select_on="train"
    )
    values = [row["train_loss"] for row in fitted.history]
    assert fitted.epoch == 1 + int(np.argmax(values)) < 4
    assert fitted.selection == "highest train loss, earliest epoch if several"
    with pytest.raises(ValueError, match="`select_best` needs `validation`"):
        fit(make_network(), make_arrays(), select_best="loss")


def test_wrong_settings_are_an_error():
    t = ej.train
    for call, text in [
        (lambda: t.ease_in(1.0, start=0.0), r"`start` must lie in \(0, 1\], got 0.0"),
        (lambda: t.ease_in(1.0, factor=1.0), "`factor` must be above 1, got 1.0"),
        (lambda: t.plateau("x", factor=1.0), "`factor` must lie between 0 and 1"),
        (lambda: t.plateau("x", patience=-1), "`patience` must not be negative"),
        (
            lambda: t.plateau("x", decays=(0.9, 0.8)),
            "`decays` must be that of the fast",
        ),
        (lambda: _lift(steps_per_epoch=0), "`steps_per_epoch` must be at least 1"),
        (lambda: _lift(amount=-1.0), "`amount` must not be negative, got -1.0"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    tau = t.keep_above(lambda n: n.layers[0].neuron.tau_mem, 3.0)
    with pytest.raises(ValueError, match="selects is float"):
        tau.init(make_network())
    with pytest.raises(ValueError, match="selects is not trained"):
        tau.init(eqx.filter(make_network(), eqx.is_inexact_array))
    bias = t.lift_silent(lambda p: p, 0, steps_per_epoch=1)
    with pytest.raises(
        ValueError, match=r"shape \[sources, neurons\], got shape \(3,\)"
    ):
        bias.init(jnp.ones(3))
    with pytest.raises(ValueError, match=r"one that spikes, \[0, 1\].* got 2"):
        fit(make_network(), make_arrays(), optimiser=t.lift_silent(
            WEIGHT, 2, steps_per_epoch=3))  # fmt: skip
    with pytest.raises(ValueError, match="layer 1, which has 3 neurons, but .* 6"):
        fit(make_network(), make_arrays(), optimiser=t.lift_silent(
            WEIGHT, 1, steps_per_epoch=3))  # fmt: skip
    plateau = optax.chain(optax.sgd(0.1), t.plateau("validation_accuracy"))
    with pytest.raises(ValueError, match="`validation_accuracy`.*needs `validation`"):
        fit(make_network(), make_arrays(), optimiser=plateau)
    plateau = optax.chain(optax.sgd(0.1), t.plateau("validation_f1"))
    with pytest.raises(ValueError, match="`validation_f1`.*only `epoch`"):
        fit(make_network(), make_arrays(), optimiser=plateau, validation=validation)
