"""A run that is interrupted and resumed is the run without the interruption."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import optax
import pytest
from toy_training import (
    assert_same,
    fit,
    loss_fn,
    make_arrays,
    make_batches,
    make_network,
    RATE,
    rows_of,
    validation,
)

import eventjax as ej


pytest.importorskip("orbax.checkpoint")

# Its state has a random key beside the usual moments.
OPTIMISER = optax.chain(optax.add_noise(0.01, 0.5, jr.key(5)), optax.adam(RATE))
BEST = dict(validation=validation, select_best="loss", optimiser=OPTIMISER)


class _Interrupted(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class _Breaking:
    """Batches that come to an end in the middle of an epoch, counted from 1."""

    batches: ej.data.Batches
    epoch_: int

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        for k, batch in enumerate(self.batches.epoch(number)):
            if number + 1 == self.epoch_ and k == 1:
                raise _Interrupted
            yield batch


def _fit(folder, *, breaks_in=0, model=None, arrays=None, log=None, **settings):
    arrays = make_arrays() if arrays is None else arrays
    settings = {
        "epochs": 4,
        "optimiser": OPTIMISER,
        "learning_rate": RATE,
        "key": jr.key(2),
    } | settings
    return ej.train.fit(
        make_network() if model is None else model,
        loss_fn,
        _Breaking(make_batches(arrays), breaks_in),
        log=log,
        checkpoints=folder,
        progress=False,
        **settings,
    )


def _without_seconds(rows):
    return [{**row, "seconds": 0} for row in rows]


def _poor():
    """Data with a step that is skipped in each epoch."""
    arrays = make_arrays()
    arrays["factor"][5] = np.nan
    return arrays


@pytest.mark.parametrize("settings", [BEST, {}])
def test_a_resumed_run_equals_one_without_interruption(tmp_path, settings):
    folder, arrays, model = tmp_path / "new" / "states", _poor(), make_network(2)
    whole = fit(model, arrays, epochs=4, **{"optimiser": OPTIMISER, **settings})
    for breaks_in in (1, 2, 4):  # before there is a checkpoint, and twice after that
        with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
            with pytest.raises(_Interrupted):
                _fit(folder, breaks_in=breaks_in, model=model, arrays=arrays, log=log,
                     **settings)  # fmt: skip
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        again = _fit(folder, model=model, arrays=arrays, log=log, **settings)
    assert_same(again.model, whole.model)
    assert eqx.tree_equal(again.model, whole.model)  # capacities, too
    assert (again.epoch, again.selection) == (whole.epoch, whole.selection)
    assert _without_seconds(again.history) == _without_seconds(whole.history)
    assert [path.name for path in folder.iterdir()] == ["4"]

    # In the log each epoch is there once, and so is what happened in it.
    rows = rows_of(log.path)
    epochs = [{**row} for row in rows if row["event"] == "epoch"]
    assert [row.pop("event") for row in epochs] == ["epoch"] * 4
    assert epochs == json.loads(json.dumps(again.history))
    assert sum(row["event"] == "skipped" for row in rows) == 4
    resumed = [row for row in rows if row["event"] == "resumed"]
    assert [(row["epoch"], row["step"]) for row in resumed] == [(1, 3), (3, 9)]


def test_a_larger_capacity_survives(tmp_path):
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(_Interrupted):
            _fit(tmp_path / "states", breaks_in=2, model=make_network(2), log=log)
        grown = [row["after"] for row in rows_of(log.path) if "after" in row][-1]
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        fitted = _fit(tmp_path / "states", model=make_network(2), log=log, epochs=2)
    assert grown != [2, 2]
    assert [layer.capacity for layer in fitted.model.layers] == grown
    events = [row["event"] for row in rows_of(log.path)]
    assert events.index("capacity_doubled") < events.index("epoch")
    assert "capacity_doubled" not in events[events.index("epoch") :]


def test_a_finished_run_is_not_trained_further_but_can_be_extended(tmp_path):
    one = _fit(tmp_path, epochs=1)
    again = _fit(tmp_path, epochs=1, breaks_in=1)
    assert again.history == one.history
    assert_same(again.model, one.model)
    more = _fit(tmp_path, epochs=2, breaks_in=1)
    assert more.history[0] == one.history[0]
    assert_same(more.model, fit(make_network(), make_arrays(), optimiser=OPTIMISER)[0])
    with pytest.raises(ValueError, match="`epochs`: the checkpoint is of epoch 2"):
        _fit(tmp_path, epochs=1)


def test_what_is_not_the_same_run_is_refused(tmp_path):
    _fit(tmp_path, epochs=1)
    wide = ej.Dense(5, 7, mean=2.5, std=0.5, key=jr.key(0))
    other = ej.Network([ej.Layer(wide, ej.LIF(7))])
    weight = "layers.0.connection.weight"
    frozen = jax.tree.map(lambda _: False, make_network())
    for settings, text in [
        ({"model": make_network(seed=2)}, rf"`model`, first values, {weight}"),
        ({"model": other}, rf"model.{weight}: the checkpoint has .*5, 6.*5, 7"),
        ({"arrays": make_arrays(seed=3)}, "`batches`, first values, label"),
        ({"arrays": make_arrays(size=8)}, "`batches`, steps per epoch: .* 3, this"),
        ({"optimiser": optax.sgd(RATE)}, "opt_state.*: only the checkpoint has it"),
        ({"learning_rate": lambda step: 0.05}, "`learning_rate` at the start"),
        ({"key": jr.key(3)}, "`key`"),
        ({"trainable": frozen}, "`trainable`: the checkpoint has .*connection"),
        (BEST, "`select_best`: the checkpoint has None, this run loss"),
    ]:
        with pytest.raises(ValueError, match=f"(?s)`checkpoints`.*{text}"):
            _fit(tmp_path, **settings)


def _cut_short(content):
    return content[: len(content) // 2]


def _flip_a_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "file, damage, text",
    [
        ("notes/metadata", _cut_short, "its notes cannot be read"),
        ("arrays/_METADATA", _cut_short, "its arrays cannot be read"),
        ("arrays/*/d/*", _flip_a_bit, "`model.* does not have its checksum"),
    ],
)
def test_a_damaged_checkpoint_is_an_error(tmp_path, file, damage, text):
    # A leaf so large that it fills most of its file, and does not compress.
    reset, noise = lambda n: n.layers[1].neuron.v_reset, jr.uniform(jr.key(1), (3, 999))
    model = eqx.tree_at(reset, make_network(), noise)
    settings = dict(model=model, optimiser=optax.sgd(RATE))
    _fit(tmp_path, epochs=1, **settings)
    largest = max((tmp_path / "1").glob(file), key=lambda path: path.stat().st_size)
    largest.write_bytes(damage(largest.read_bytes()))
    with pytest.raises(ej.train.Failure, match=f"(?s)1 is damaged: {text}"):
        _fit(tmp_path, **settings)


def test_changed_notes_are_noticed(tmp_path):
    _fit(tmp_path, epochs=1)
    file = tmp_path / "1" / "notes" / "metadata"
    file.write_text(file.read_text().replace('"step": 3', '"step": 2'))
    with pytest.raises(ej.train.Failure, match="its notes do not have their checksum"):
        _fit(tmp_path)


def test_a_checkpoint_that_was_not_completed_is_not_one(tmp_path):
    fitted = _fit(tmp_path, epochs=1)
    partial = tmp_path / "2.orbax-checkpoint-tmp"
    (tmp_path / "1").rename(partial)
    (partial / "notes" / "metadata").unlink()
    again = _fit(tmp_path, epochs=1)
    assert_same(again.model, fitted.model)
    assert _without_seconds(again.history) == _without_seconds(fitted.history)
