"""What the rows of this paper reckon beside training."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from paper_repro._panels import draw_panels  # noqa: E402
from paper_repro._row import Where  # noqa: E402
from paper_repro.improved_recurrence import _decode  # noqa: E402
from paper_repro.improved_recurrence._config import Settings  # noqa: E402
from paper_repro.improved_recurrence._network import make_network  # noqa: E402
from paper_repro.improved_recurrence._train import make_optimiser, METRIC  # noqa: E402
from paper_repro.improved_recurrence.rows import (  # noqa: E402
    librispeech,
    operations,
)


def test_operations_at_the_papers_size():
    """The band of activity that the specification derives: about 16 % by the published
    count give the abstract's factor, about 13 % by the corrected one."""
    dense = operations._gru(40, 550, 2, 1936)
    assert dense == 3_866_500
    for share, count in ((0.16, "published"), (0.13, "corrected")):
        made = operations.at_size("v2", [share] * 3, operations.PAPER)
        assert dense / made[count] == pytest.approx(10.13, rel=0.05)
    one, two = (
        operations.at_size(x, [0.2] * 3, operations.PAPER) for x in ("v1", "v2")
    )
    assert one["published"] == two["published"] and one["corrected"] < two["corrected"]
    by_hand = 0.2 * 40 * 550 + 110 * 550 + 2 * 6 * 550 + 110 * 1936
    made = operations.at_size("conventional", [0.2] * 3, operations.PAPER)
    assert made["published"] == made["corrected"] == pytest.approx(by_hand)


def test_operations_read_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(operations, "RESULTS", tmp_path)
    with pytest.raises(
        FileNotFoundError, match="run improved_recurrence/timit/v2` first"
    ):
        operations.train(operations.Compared("v2"), Where(tmp_path))
    for kind, accuracy in (("v2", 60.0), ("lstm", 61.5)):
        made = operations._made_up(kind) | {
            "metrics": {METRIC: accuracy},
            "commit": kind,
        }
        path = tmp_path / "timit" / kind / "seed0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(made))
    job = next(x for x in operations.jobs(1) if x.group == "v2")
    assert job.config.commits == ("v2", "lstm")
    metrics = operations.train(job.config, Where(tmp_path))["metrics"]
    assert metrics[operations.GAP] == 1.5
    # Three inputs, two layers of four, two outputs
    dense = 3 * 4 * (3 + 4) + 2 * (3 * 16 + 12 * 4) + 8
    assert metrics[operations.FEWER] == dense / 50
    assert metrics[f"{operations.FEWER}, corrected"] == dense / 40


def test_decays_are_kept_where_asked_to():
    """At the edge they stay, and come back when the gradient turns."""
    for limit, most in ((True, 1.0), (False, 1.5)):
        config = Settings(kind="conventional", units=2, learning_rate=0.5, dropout=0.0)
        config = dataclasses.replace(config, limit_decay=limit, clip=10.0)
        optimiser = make_optimiser(config)
        network = make_network(config, 3, 2, jax.random.key(0))
        params = eqx.filter(network, eqx.is_inexact_array)
        state = optimiser.init(params)
        grads = jax.tree.map(jnp.ones_like, params)
        up = eqx.tree_at(lambda g: g.layers[0].tau, grads, -jnp.ones(2))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(up, state, params)
        new = eqx.apply_updates(params, updates)
        np.testing.assert_allclose(new.layers[0].tau, most, rtol=1e-6)
        np.testing.assert_allclose(new.layers[1].tau, 0.5, rtol=1e-6)
        # Of ranges a tenth of the gradient, whatever the learning rate
        reach = new.encoder.quantiser.range.value
        np.testing.assert_allclose(reach, 0.9, rtol=1e-6)


def test_phone_errors_of_a_network_that_knows(monkeypatch):
    """Of outputs that say the labels nothing is wrong, and of silence everything but
    silence; what is chosen on validation data is used on test data."""
    pytest.importorskip("jiwer")
    label = np.array([[27, 27, 0, 0, 42, 27, -1, -1], [27, 1, 1, 1, 2, 2, 48, 27]])
    part = {"label": label, "valid": label >= 0}
    parts = dict.fromkeys(("train", "validation", "test"), part)

    def respond(network, part, config):
        del config
        outputs = network * np.eye(61)[part["label"]] + np.eye(61)[27]
        yield part, np.array([True, True]), outputs, None

    monkeypatch.setattr(_decode, "respond_to", respond)
    config = Settings()
    found = _decode.decode(20.0, parts, config)
    assert found["phone_error_rate"] == found["decoding"]["validation"] == 0
    # h# aa p h# and h# ae ah q h# but for q, which does not count, are 8 phones
    deaf = _decode.decode(0.0, parts, config)
    assert deaf["phone_error_rate"] > 40
    assert deaf["decoding"]["acoustic_weight"] in _decode.ACOUSTIC_WEIGHTS


def test_panels_leave_a_place_for_what_has_not_run(tmp_path):
    panels = {"accuracy": ("accuracy", ["one", "two"]), "b": ("cost.b", ["one"])}
    draw_panels(tmp_path, panels, "picture.png")
    assert not (tmp_path / "picture.png").exists()
    (tmp_path / "one").mkdir()
    record = {"test": {"accuracy": 0.5, "cost": {"b": 2}}}
    (tmp_path / "one" / "seed0.json").write_text(json.dumps(record))
    draw_panels(tmp_path, panels, "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_stages_on_librispeech():
    """24 epochs, as the code's schedule comes out; one epoch late, as it begins."""
    config = librispeech.BASE
    assert sum(epochs for epochs, _ in config.stages) == config.epochs == 24
    limits = np.repeat(*np.array(config.stages).T[::-1])
    written = np.repeat([100, 200, 400, 800, 1000], [4, 4, 4, 4, 8])
    np.testing.assert_array_equal(limits[1:], written[:-1])
    assert {job.group for job in librispeech.ROW.jobs(1)} == set(librispeech.KINDS)


def test_librispeech_is_refused_where_it_is_absent(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    where = Where(
        tmp_path / "run",
        data_dir=tmp_path / "data",
        prepared_dir=tmp_path / "prepared",
        progress=False,
    )
    with pytest.raises(FileNotFoundError, match="(?s)train-clean-100\n.*alignments"):
        librispeech.ROW.train(librispeech.ROW.jobs(1)[0].config, where)
    assert not (tmp_path / "run").exists()
