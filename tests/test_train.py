import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import eventjax as ej


BATCH, T1 = 4, 40.0
SPIKES = ("times", "sources")
RATE = optax.exponential_decay(0.05, 3, 0.9, staircase=True)
OPTIMISER = optax.adam(RATE)


def _toy(network, spikes):
    """A made-up simulation that compiles fast: a neuron whose input is above 1 fires
    once, and the more input the earlier. What is tested here is the loop around it."""
    times = spikes.first(network.in_size).times
    out, states, fits = [], [], jnp.ones(spikes.batch_shape, bool)
    for layer in network.layers:
        fired = jnp.isfinite(times)
        drive = jnp.where(fired, jnp.exp(-jnp.where(fired, times, 0.0) / 20), 0.0)
        v = drive @ layer.connection.weight
        times = jnp.where(v > 1, 20 - 10 * jnp.log(jnp.where(v > 1, v, 1.0)), jnp.inf)
        out.append(ej.Spikes.from_dense(times))
        states.append(ej.LayerState(ej.LIFState(v, v)))
        fits = fits & (out[-1].count() <= layer.capacity)
    full = ej.RESULTS.capacity_exceeded
    codes = jnp.where(fits, ej.RESULTS.successful._value, full._value)
    counts = tuple(spikes.count() for spikes in out)
    return ej.Solution(
        spikes=tuple(out),
        num_spikes=counts,
        num_clipped=counts,
        final_state=tuple(states),
        voltages=None,
        max_voltages=None,
        result=eqx.tree_at(lambda result: result._value, full, codes),
        t0=jnp.asarray(0.0),
        t1=jnp.asarray(T1),
    )


def _network(capacity: int = 64, seed: int = 1) -> ej.Network:
    keys = jr.split(jr.key(seed), 2)
    one = ej.Dense(5, 6, mean=2.5, std=0.5, key=keys[0])
    two = ej.Dense(6, 3, mean=1.5, std=0.3, key=keys[1])
    return ej.Network(
        [
            ej.Layer(one, ej.LIF(6), capacity=capacity),
            ej.Layer(two, ej.LIF(3), capacity=capacity),
        ]
    )


def _arrays(size: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    data = ej.data.yin_yang(size, seed)
    spikes = ej.encoders.latency(data["features"], 0.0, 20.0, bias=0.0)
    return {
        **{name: np.asarray(getattr(spikes, name)) for name in SPIKES},
        "label": data["label"],
        "factor": np.ones(size),
    }


def _loss(network, batch, key):
    sol = _toy(network, ej.Spikes(*(batch[name] for name in SPIKES)))
    times, label = sol.first_spike_times, batch["label"]
    losses = ej.losses.first_spike_cross_entropy(times, label, tau0=2.0)
    metrics = {
        "accuracy": ej.losses.first_spike_correct(times, label),
        "has_key": jnp.full(losses.shape, key is not None),
    }
    return losses * batch["factor"], sol, metrics


def _batches(arrays):
    return ej.data.Batches(arrays, BATCH, seed=0, drop_last=True)


def _fit(
    network, arrays, *, log=None, epochs=2, loss=_loss, optimiser=OPTIMISER, **settings
):
    return ej.train.fit(
        network,
        loss,
        _batches(arrays),
        optimiser,
        epochs=epochs,
        learning_rate=RATE,
        log=log,
        progress=False,
        key=jr.key(2),
        **settings,
    )


def _validation():
    return ej.data.padded_batches(_arrays(6, 1), BATCH)


def _rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _same(one, two):
    leaves = jax.tree.leaves(one), jax.tree.leaves(two)
    assert len(leaves[0]) == len(leaves[1])
    for x, y in zip(*leaves):
        np.testing.assert_array_equal(x, y)


def test_grow_doubles_until_enough():
    network = _network(capacity=4)
    grown = ej.train.grow({"net": network, "other": jnp.ones(2)}, (17, None))
    assert [layer.capacity for layer in grown["net"].layers] == [32, 4]
    _same(grown["net"], network)
    same = ej.train.grow(network, (4, 3))
    assert [layer.capacity for layer in same.layers] == [4, 4]
    with pytest.raises(ValueError, match="each of the model's 2 layers, got 1"):
        ej.train.grow(network, (4,))


def test_fit_learns_and_leaves_the_model_alone(tmp_path):
    network, arrays = _network(), _arrays()
    before = np.asarray(network.layers[0].connection.weight)
    with ej.train.MetricsLog(tmp_path / "new" / "metrics.jsonl") as log:
        fitted = _fit(network, arrays, log=log, epochs=8, validation=_validation)
    np.testing.assert_array_equal(network.layers[0].connection.weight, before)
    history = fitted.history
    assert history[-1]["train_loss"] < 0.95 * history[0]["train_loss"]
    assert (fitted.epoch, fitted.selection) == (8, "last epoch")

    # The log holds what the history holds.
    rows = _rows(log.path)
    assert [row.pop("event") for row in rows] == ["epoch"] * 8
    assert rows == json.loads(json.dumps(history))
    assert [row["step"] for row in rows] == [3 * k for k in range(1, 9)]
    assert all(row["skipped"] == 0 and row["seconds"] > 0 for row in rows)
    rates = [0.05 * 0.9**k for k in range(8)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rates)

    # Training has a key, evaluation has none.
    assert rows[-1]["train_has_key"] == 1
    assert rows[-1]["validation_has_key"] == 0

    means = ej.train.evaluate(fitted.model, _loss, _validation())
    assert means["accuracy"] == history[-1]["validation_accuracy"]
    assert means["loss"] == history[-1]["validation_loss"]


def test_evaluation_counts_each_sample_once():
    network, arrays = _network(), _arrays(6, 1)
    padded = ej.train.evaluate(network, _loss, _validation())
    whole = ej.train.evaluate(network, _loss, [(arrays, np.ones(6, bool))])
    np.testing.assert_allclose(padded["loss"], whole["loss"], rtol=1e-12)
    assert padded["accuracy"] == whole["accuracy"]


def test_a_full_buffer_is_enlarged_and_the_step_repeated(tmp_path):
    arrays = _arrays()
    wide = _fit(_network(), arrays, validation=_validation)
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        narrow = _fit(_network(capacity=2), arrays, log=log, validation=_validation)
    _same(narrow.model, wide.model)
    for one, two in zip(narrow.history, wide.history):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}

    events = [row for row in _rows(log.path) if row["event"] == "capacity_doubled"]
    assert events[0]["step"] == 1
    assert events[0]["before"] == [2, 2]
    for event in events:
        for needed, old, new in zip(event["needed"], event["before"], event["after"]):
            assert new >= needed
            assert new == old or new < 2 * needed
    assert [layer.capacity for layer in narrow.model.layers] == events[-1]["after"]


def test_evaluation_enlarges_too():
    arrays = _arrays(6, 1)
    batches = [(arrays, np.ones(6, bool))]
    small, large = _network(capacity=1), _network()
    one, two = (ej.train.evaluate(net, _loss, batches) for net in (small, large))
    assert one == two
    assert small.layers[0].capacity == 1


def _square_root(network, batch, key):
    # Finite, but with an infinite derivative where the factor is 0.
    losses, sol, metrics = _loss(network, batch, key)
    weight = network.layers[0].connection.weight
    return losses + jnp.sqrt(batch["factor"] * jnp.sum(weight)), sol, metrics


@pytest.mark.parametrize("loss, value", [(_loss, np.nan), (_square_root, 0.0)])
def test_a_step_that_is_not_finite_is_skipped(tmp_path, loss, value):
    arrays = _arrays()
    arrays["factor"][5] = value
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        fitted = _fit(_network(), arrays, log=log, loss=loss)
    assert [row["skipped"] for row in fitted.history] == [1, 1]
    assert np.isfinite([row["train_loss"] for row in fitted.history]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(fitted.model))
    events = [row["event"] for row in _rows(log.path)]
    assert sorted(events) == ["epoch", "epoch", "skipped", "skipped"]


def test_a_skipped_step_changes_nothing():
    arrays = {k: v[:BATCH] for k, v in _arrays().items()}
    arrays["factor"][0] = np.nan
    network = _network()
    state = OPTIMISER.init(eqx.filter(network, eqx.is_inexact_array))
    copies = jax.tree.map(jnp.copy, (network, state))
    step = ej.train.make_step(_loss, OPTIMISER)
    report, network, state = step((arrays, jr.key(0)), network, state)
    assert report.simulated and not report.finite
    _same((network, state), copies)


def test_too_many_skipped_steps_are_an_error(tmp_path):
    arrays = _arrays()
    arrays["factor"][:] = np.nan
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(ej.train.Failure, match="Step 3: .* in 3 steps in a row"):
            _fit(_network(), arrays, log=log, max_skipped=2)
    assert [row["event"] for row in _rows(log.path)] == ["skipped"] * 3


def _fails(network, batch, key):
    losses, sol, metrics = _loss(network, batch, key)
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
        _fit(_network(), _arrays(), loss=_fails)
    with pytest.raises(ej.train.Failure, match=f"(?s)batch 0: {text}"):
        ej.train.evaluate(_network(), _fails, _validation())


def test_the_best_epoch_is_selected():
    fitted = _fit(
        _network(), _arrays(), epochs=6, validation=_validation, select_best="loss"
    )
    values = [row["validation_loss"] for row in fitted.history]
    assert fitted.epoch == 1 + int(np.argmax(values)) < 6
    assert "validation loss" in fitted.selection
    means = ej.train.evaluate(fitted.model, _loss, _validation())
    assert means["loss"] == max(values)


def test_what_is_not_trained_stays():
    network = _network()
    trainable = jax.tree.map(lambda _: False, network)
    trainable = eqx.tree_at(
        lambda n: n.layers[1].connection.weight, trainable, replace=True
    )
    fitted = _fit(network, _arrays(), trainable=trainable, epochs=1)
    weights = [layer.connection.weight for layer in network.layers]
    after = [layer.connection.weight for layer in fitted.model.layers]
    np.testing.assert_array_equal(weights[0], after[0])
    assert np.any(weights[1] != after[1])


def test_activity_is_counted():
    network, arrays = _network(), _arrays()
    where = lambda n: n.layers[0].connection.weight
    network = eqx.tree_at(where, network, where(network).at[:, :2].set(0.0))
    row = _fit(
        network, arrays, epochs=1, saturation=0.9, optimiser=optax.sgd(0.0)
    ).history[0]
    sol = _toy(network, ej.Spikes(*(jnp.asarray(arrays[x]) for x in SPIKES)))
    for k, size in enumerate((6, 3)):
        counts = np.asarray(sol.spikes[k].counts_per_source(size)).mean(axis=0)
        np.testing.assert_allclose(row["spikes_per_sample"][k], counts.sum())
        assert row["dead_fraction"][k] == np.mean(counts == 0)
        assert row["saturated_fraction"][k] == np.mean(counts > 0.9) > 0
    assert row["dead_fraction"] == [2 / 6, 0.0]


def test_progress_is_shown(capsys):
    fitted = ej.train.fit(
        _network(capacity=2), _loss, _batches(_arrays()), OPTIMISER, epochs=2,
        validation=_validation, key=jr.key(0),
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
        _fit(_network(), _arrays(), epochs=0)
    with pytest.raises(ValueError, match="`select_best` needs `validation`"):
        _fit(_network(), _arrays(), select_best="accuracy")

    def mean_already(network, batch, key):
        losses, sol, metrics = _loss(network, batch, key)
        return losses, sol, {"accuracy": jnp.mean(metrics["accuracy"])}

    with pytest.raises(ValueError, match="one value per sample.*`accuracy`"):
        _fit(_network(), _arrays(), loss=mean_already)
