"""A run that is interrupted and resumed is the run without the interruption."""

import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
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


ocp = pytest.importorskip("orbax.checkpoint")

# Its state has a random key beside the usual moments.
OPTIMISER = optax.chain(optax.add_noise(0.01, 0.5, jr.key(5)), optax.adam(RATE))
BEST = dict(validation=validation, select_best="loss", optimiser=OPTIMISER)


class _Interrupted(Exception):
    pass


def _interrupt():
    raise _Interrupted


@dataclasses.dataclass(frozen=True)
class _Watched:
    """Batches before one of which something happens; epochs are counted from 1, too."""

    batches: ej.data.Batches
    epoch_: int
    batch: int
    happens: Callable

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        for k, batch in enumerate(self.batches.epoch(number), 1):
            if (number + 1, k) == (self.epoch_, self.batch):
                self.happens()
            yield batch


def _fit(
    folder,
    *,
    breaks_in=0,
    before=2,
    happens=_interrupt,
    model=None,
    arrays=None,
    **settings,
):
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
        _Watched(make_batches(arrays), breaks_in, before, happens),
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


@pytest.mark.parametrize(
    "settings, before, resumed",
    [
        ({}, 2, [(1, 3), (3, 9)]),
        # The best model comes from an epoch whose checkpoint is gone.
        (BEST | {"keep": 1}, 2, [(1, 3), (3, 9)]),
        # Within epochs, after the first of their steps and after the second.
        ({"checkpoint_every": 1}, 3, [(0, 1), (1, 4), (3, 10)]),
        ({"checkpoint_every": 2}, 3, [(0, 0), (1, 3), (3, 9)]),
    ],
)
def test_a_resumed_run_equals_one_without_interruption(
    tmp_path, settings, before, resumed
):
    folder, arrays, model = tmp_path / "new" / "states", _poor(), make_network(2)
    plain = {k: x for k, x in settings.items() if k in BEST}
    whole = fit(model, arrays, epochs=4, **{"optimiser": OPTIMISER, **plain})
    for breaks_in in (1, 2, 4):
        with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
            with pytest.raises(_Interrupted):
                _fit(folder, breaks_in=breaks_in, before=before, model=model,
                     arrays=arrays, log=log, **settings)  # fmt: skip
    with ej.train.MetricsLog(tmp_path / "metrics.jsonl") as log:
        again = _fit(folder, model=model, arrays=arrays, log=log, **settings)
    assert_same(again.model, whole.model)
    assert eqx.tree_equal(again.model, whole.model)  # capacities, too
    assert (again.epoch, again.selection) == (whole.epoch, whole.selection)
    assert again.epoch < 4 or "select_best" not in settings
    assert _without_seconds(again.history) == _without_seconds(whole.history)
    assert all(row["seconds"] > 0 for row in again.history)

    # In the log each epoch is there once, and so is what happened in it.
    rows = rows_of(log.path)
    epochs = [{**row} for row in rows if row["event"] == "epoch"]
    assert [row.pop("event") for row in epochs] == ["epoch"] * 4
    assert epochs == json.loads(json.dumps(again.history))
    assert sum(row["event"] == "skipped" for row in rows) == 4
    found = [row for row in rows if row["event"] == "resumed"]
    assert [(row["epoch"], row["step"]) for row in found] == [
        where for where in resumed if where != (0, 0)
    ]


def _names(folder):
    return sorted((path.name for path in folder.iterdir()), key=int)


def test_the_last_checkpoints_are_kept(tmp_path):
    two, three = tmp_path / "two", tmp_path / "three"
    whole = _fit(two, epochs=4)
    assert _names(two) == ["9", "12"]
    _fit(three, epochs=4, keep=3, checkpoint_every=2)
    assert _names(three) == ["9", "11", "12"]
    # An older one is as good, and so is another number of steps between them.
    shutil.rmtree(three / "12")
    again = _fit(three, epochs=4, keep=1, breaks_in=3)
    assert_same(again.model, whole.model)
    assert _names(three) == ["12"]


def test_a_checkpoint_is_written_while_training_goes_on(tmp_path, monkeypatch):
    further, was_further = threading.Event(), []
    write = ocp.JsonCheckpointHandler._save_fn

    async def wait_for_training(*args):
        was_further.append(further.wait(30))
        await write(*args)

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", wait_for_training)
    # Two steps of epoch 2 are given the memory of what is still to be written.
    _fit(tmp_path, epochs=2, keep=3, breaks_in=2, before=3, happens=further.set)
    assert was_further == [True, True]
    shutil.rmtree(tmp_path / "6")
    again = _fit(tmp_path, epochs=2, breaks_in=1)
    assert_same(again.model, fit(make_network(), make_arrays(), optimiser=OPTIMISER)[0])


async def _fails(*args):
    raise PermissionError("not on this disk")


def test_a_write_that_fails_is_an_error(tmp_path, monkeypatch):
    def fail_from_now_on():
        monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", _fails)

    text = "/{} could not be written: not on this disk\n.*there is room in .*{}"
    settings = dict(happens=fail_from_now_on, before=1, keep=1)
    # When the next one is due, and at the end.
    for epoch, step in [(2, 6), (4, 12)]:
        with pytest.raises(ej.train.Failure, match=text.format(step, tmp_path.name)):
            _fit(tmp_path, breaks_in=epoch, **settings)
        monkeypatch.undo()
        assert str(step - 3) in [path.name for path in tmp_path.iterdir()]
    # What came first stays the error.
    fail_from_now_on()
    with pytest.raises(_Interrupted) as error:
        _fit(tmp_path, breaks_in=5, epochs=6)
    assert re.search(text.format(12, tmp_path.name), error.value.__notes__[0])
    monkeypatch.undo()
    again = _fit(tmp_path, keep=1)
    assert _names(tmp_path) == ["12"]
    whole = fit(make_network(), make_arrays(), epochs=4, optimiser=OPTIMISER)
    assert_same(again.model, whole.model)


def test_an_untrained_number_stays_as_ready_to_change_its_type(tmp_path):
    model = {
        "network": make_network(),
        "factor": jnp.asarray(1.5),  # of no type of its own
        "single": jnp.ones(2, jnp.float32),
        "half": jnp.ones(2, jnp.bfloat16),
        "nothing": jnp.zeros((0, 2)),
    }
    assert model["factor"].weak_type
    trainable = jax.tree.map(lambda x: False, model) | {"network": True}

    def loss(model, batch, key):
        losses, sol, metrics = loss_fn(model["network"], batch, key)
        product = model["single"] * model["factor"]
        metrics["bytes"] = jnp.full(losses.shape, product.dtype.itemsize)
        return losses, sol, metrics

    folder = dict(checkpoints=tmp_path)
    settings = dict(loss=loss, trainable=trainable, optimiser=optax.sgd(0.01))
    fit(model, make_arrays(), epochs=1, **settings, **folder)
    again = fit(model, make_arrays(), epochs=2, **settings, **folder)
    whole = fit(model, make_arrays(), epochs=2, **settings)
    assert [row["train_bytes"] for row in again.history] == [4.0, 4.0]
    assert eqx.tree_equal(again.model, whole.model, typematch=True)


def test_an_epoch_without_a_batch_is_an_error(tmp_path):
    class Exhausted:
        def __init__(self, batches):
            self.left = batches.epoch(0)
            next(self.left)

        def __len__(self):
            return 3

        def epoch(self, number):
            return self.left

    batches = Exhausted(make_batches(make_arrays()))
    with pytest.raises(ValueError, match="no batch in epoch 2. .*begin anew"):
        ej.train.fit(
            make_network(), loss_fn, batches, OPTIMISER, epochs=2, progress=False,
            key=jr.key(2),
        )  # fmt: skip


def test_wrong_settings_are_an_error(tmp_path):
    for settings, text in [
        ({"checkpoint_every": 0}, "`checkpoint_every` must be at least 1 step, got 0"),
        ({"keep": 0}, "`keep` must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=text):
            _fit(tmp_path / "new", **settings)
    with pytest.raises(ValueError, match="`checkpoint_every` needs `checkpoints`"):
        _fit(None, checkpoint_every=1)
    assert not (tmp_path / "new").exists()


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
    # Neither is an epoch that has begun left where it stands.
    with pytest.raises(_Interrupted):
        _fit(tmp_path, epochs=3, breaks_in=3, before=3, checkpoint_every=1)
    with pytest.raises(ValueError, match="`epochs`: the checkpoint is of epoch 3"):
        _fit(tmp_path, epochs=2)


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


def test_a_checkpoint_that_was_not_completed_is_not_one(tmp_path):
    fitted = _fit(tmp_path, epochs=1)
    partial = tmp_path / "2.orbax-checkpoint-tmp"
    (tmp_path / "3").rename(partial)
    (partial / "notes" / "metadata").unlink()
    again = _fit(tmp_path, epochs=1)
    assert_same(again.model, fitted.model)
    assert _without_seconds(again.history) == _without_seconds(fitted.history)
    assert _names(tmp_path) == ["3"]
