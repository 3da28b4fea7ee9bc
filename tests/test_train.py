import json

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
    OPTIMISER,
    rows_of,
    simulate_toy,
    SPIKES,
    validation,
)

import eventjax as ej


def test_grow_doubles_until_enough():
    network = make_network(capacity=4)
    grown = ej.train.grow({"net": network, "other": jnp.ones(2)}, (17, None))
    assert [layer.capacity for layer in grown["net"].layers] == [32, 4]
    assert_same(grown["net"], network)
    same = ej.train.grow(network, (4, 3))
    assert [layer.capacity for layer in same.layers] == [4, 4]
    with pytest.raises(ValueError, match="each of the model's 2 layers, got 1"):
        ej.train.grow(network, (4,))


def test_fit_learns_and_leaves_the_model_alone(tmp_path):
    network, arrays = make_network(), make_arrays()
    before = np.asarray(network.layers[0].connection.weight)
    with ej.train.MetricsLog(tmp_path / "new" / "metrics.jsonl") as log:
        fitted = fit(network, arrays, log=log, epochs=8, validation=validation)
    np.testing.assert_array_equal(network.layers[0].connection.weight, before)
    history = fitted.history
    assert history[-1]["train_loss"] < 0.95 * history[0]["train_loss"]
    assert (fitted.epoch, fitted.selection) == (8, "last epoch")

    # The log holds what the history holds.
    rows = rows_of(log.path)
    assert [row.pop("event") for row in rows] == ["epoch"] * 8
    assert rows == json.loads(json.dumps(history))
    assert [row["step"] for row in rows] == [3 * k for k in range(1, 9)]
    assert all(row["skipped"] == 0 and row["seconds"] > 0 for row in rows)
    rates = [0.05 * 0.9**k for k in range(8)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rates)

    # Training has a key, evaluation has none.
    assert rows[-1]["train_has_key"] == 1
    assert rows[-1]["validation_has_key"] == 0

    means = ej.train.evaluate(fitted.model, loss_fn, validation())
    assert means["accuracy"] == history[-1]["validation_accuracy"]
    assert means["loss"] == history[-1]["validation_loss"]


def test_evaluation_counts_each_sample_once():
    network, arrays = make_network(), make_arrays(6, 1)
    padded = ej.train.evaluate(network, loss_fn, validation())
    whole = ej.train.evaluate(network, loss_fn, [(arrays, np.ones(6, bool))])
    np.testing.assert_allclose(padded["loss"], whole["loss"], rtol=1e-12)
    assert padded["accuracy"] == whole["accuracy"]


def test_a_full_buffer_is_enlarged_and_the_step_repeated(tmp_path):
    arrays = make_arrays()
    wide = fit(make_network(), arrays, validation=validation)
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        narrow = fit(make_network(capacity=2), arrays, log=log, validation=validation)
    assert_same(narrow.model, wide.model)
    for one, two in zip(narrow.history, wide.history):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}

    events = [row for row in rows_of(log.path) if row["event"] == "capacity_doubled"]
    assert events[0]["step"] == 1
    assert events[0]["before"] == [2, 2]
    for event in events:
        for needed, old, new in zip(event["needed"], event["before"], event["after"]):
            assert new >= needed
            assert new == old or new < 2 * needed
    assert [layer.capacity for layer in narrow.model.layers] == events[-1]["after"]


def test_evaluation_enlarges_too():
    arrays = make_arrays(6, 1)
    batches = [(arrays, np.ones(6, bool))]
    small, large = make_network(capacity=1), make_network()
    one, two = (ej.train.evaluate(net, loss_fn, batches) for net in (small, large))
    assert one == two
    assert small.layers[0].capacity == 1


def _square_root(network, batch, key):
    # Finite, but with an infinite derivative where the factor is 0.
    losses, sol, metrics = loss_fn(network, batch, key)
    weight = network.layers[0].connection.weight
    return losses + jnp.sqrt(batch["factor"] * jnp.sum(weight)), sol, metrics


@pytest.mark.parametrize("loss, value", [(loss_fn, np.nan), (_square_root, 0.0)])
def test_a_step_that_is_not_finite_is_skipped(tmp_path, loss, value):
    arrays = make_arrays()
    arrays["factor"][5] = value
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        fitted = fit(make_network(), arrays, log=log, loss=loss)
    assert [row["skipped"] for row in fitted.history] == [1, 1]
    assert np.isfinite([row["train_loss"] for row in fitted.history]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(fitted.model))
    events = [row["event"] for row in rows_of(log.path)]
    assert sorted(events) == ["epoch", "epoch", "skipped", "skipped"]


def test_a_skipped_step_changes_nothing():
    arrays = {k: v[:BATCH] for k, v in make_arrays().items()}
    arrays["factor"][0] = np.nan
    network = make_network()
    state = OPTIMISER.init(eqx.filter(network, eqx.is_inexact_array))
    copies = jax.tree.map(jnp.copy, (network, state))
    step = ej.train.make_step(loss_fn, OPTIMISER)
    report, network, state = step((arrays, jr.key(0)), network, state)
    assert report.simulated and not report.finite
    assert_same((network, state), copies)


def test_too_many_skipped_steps_are_an_error(tmp_path):
    arrays = make_arrays()
    arrays["factor"][:] = np.nan
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(ej.train.Failure, match="Step 3: .* in 3 steps in a row"):
            fit(make_network(), arrays, log=log, max_skipped=2)
    assert [row["event"] for row in rows_of(log.path)] == ["skipped"] * 3


def _fails(network, batch, key):
    losses, sol, metrics = loss_fn(network, batch, key)
    wrong = ej.RESULTS.where(jnp.array(True), OTHER, ej.RESULTS.successful)
    value = sol.result._value.at[2].set(wrong._value)
    return losses, eqx.tree_at(lambda s: s.result._value, sol, value), metrics


OTHER = next(
    item
    for name, item in ej.RESULTS._name_to_item.items()
    if name not in ("successful", "capacity_exceeded")
)


def test_other_faults_are_errors_with_their_message():
    text = ej.RESULTS[OTHER][:20]
    with pytest.raises(ej.train.Failure, match=f"(?s)Step 1: {text}.*1 of 4 samples"):
        fit(make_network(), make_arrays(), loss=_fails)
    with pytest.raises(ej.train.Failure, match=f"(?s)batch 0: {text}"):
        ej.train.evaluate(make_network(), _fails, validation())


def test_the_best_epoch_is_selected():
    fitted = fit(
        make_network(),
        make_arrays(),
        epochs=6,
        validation=validation,
        select_best="loss",
    )
    values = [row["validation_loss"] for row in fitted.history]
    assert fitted.epoch == 1 + int(np.argmax(values)) < 6
    assert "validation loss" in fitted.selection
    means = ej.train.evaluate(fitted.model, loss_fn, validation())
    assert means["loss"] == max(values)


def test_what_is_not_trained_stays():
    network = make_network()
    trainable = jax.tree.map(lambda _: False, network)
    trainable = eqx.tree_at(
        lambda n: n.layers[1].connection.weight, trainable, replace=True
    )
    fitted = fit(network, make_arrays(), trainable=trainable, epochs=1)
    weights = [layer.connection.weight for layer in network.layers]
    after = [layer.connection.weight for layer in fitted.model.layers]
    np.testing.assert_array_equal(weights[0], after[0])
    assert np.any(weights[1] != after[1])


def test_activity_is_counted():
    network, arrays = make_network(), make_arrays()
    where = lambda n: n.layers[0].connection.weight
    network = eqx.tree_at(where, network, where(network).at[:, :2].set(0.0))
    row = fit(
        network, arrays, epochs=1, saturation=0.9, optimiser=optax.sgd(0.0)
    ).history[0]
    sol = simulate_toy(network, ej.Spikes(*(jnp.asarray(arrays[x]) for x in SPIKES)))
    for k, size in enumerate((6, 3)):
        counts = np.asarray(sol.spikes[k].counts_per_source(size)).mean(axis=0)
        np.testing.assert_allclose(row["spikes_per_sample"][k], counts.sum())
        assert row["dead_fraction"][k] == np.mean(counts == 0)
        assert row["saturated_fraction"][k] == np.mean(counts > 0.9) > 0
    assert row["dead_fraction"] == [2 / 6, 0.0]


def test_progress_is_shown(capsys):
    fitted = ej.train.fit(
        make_network(capacity=2), loss_fn, make_batches(make_arrays()), OPTIMISER, epochs=2,
        validation=validation, key=jr.key(0),
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert "capacity_doubled" in shown
    assert "epoch 2/2" in shown
    assert (
        f"validation accuracy {100 * fitted.history[1]['validation_accuracy']:.1f}"
        in shown
    )


def test_wrong_settings_are_an_error():
    with pytest.raises(ValueError, match="`epochs` must be at least 1"):
        fit(make_network(), make_arrays(), epochs=0)
    with pytest.raises(ValueError, match="`select_best` needs `validation`"):
        fit(make_network(), make_arrays(), select_best="accuracy")

    def mean_already(network, batch, key):
        losses, sol, metrics = loss_fn(network, batch, key)
        return losses, sol, {"accuracy": jnp.mean(metrics["accuracy"])}

    with pytest.raises(ValueError, match="one value per sample.*`accuracy`"):
        fit(make_network(), make_arrays(), loss=mean_already)
