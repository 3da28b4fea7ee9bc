"""The scripts run from end to end, in a handful of steps."""

import dataclasses
import json

import numpy as np
import pytest

import eventjax as ej


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

from experiments import latency_mnist, yin_yang  # noqa: E402


FILES = {
    "arrays.npz",
    "checkpoints",
    "config.json",
    "learning_curve.png",
    "metrics.jsonl",
    "raster.png",
    "results.json",
    "voltage.png",
}


def _check(folder, files, results, settings):
    assert {path.name for path in folder.iterdir()} == files
    stored = json.loads((folder / "results.json").read_text())
    assert stored["test"] == results["test"]
    assert 0 <= stored["test"]["accuracy"] <= 1
    assert stored["seed"] == settings.seed
    assert stored["config"]["hidden"] == settings.hidden
    assert len(stored["history"]) == settings.epochs
    assert 1 <= stored["selection"]["epoch"] <= settings.epochs
    rows = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["event"] == "epoch"]
    assert (
        epochs[-1]["validation_accuracy"]
        == stored["history"][-1]["validation_accuracy"]
    )


def test_yin_yang(tmp_path):
    settings = yin_yang.Settings(
        hidden=30, epochs=1, batch=32, train_size=96, seed=3, output=tmp_path
    )
    results = yin_yang.run(settings, progress=False)
    _check(tmp_path / "seed3", FILES | {"spike_time_map.png"}, results, settings)


def _break_in_epoch_2(batches, number):
    yield from _EPOCH(batches, 0)
    if number == 1:
        raise KeyboardInterrupt


_EPOCH = ej.data.Batches.epoch


def test_latency_mnist_interrupted_and_resumed(tmp_path, monkeypatch):
    def load(name, split, data_dir):
        assert name == "mnist"
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
        image[rng.uniform(size=image.shape) < 0.8] = 0
        return {"image": image, "label": rng.integers(0, 10, 40)}

    monkeypatch.setattr(ej.data, "load", load)
    settings = latency_mnist.Settings(
        hidden=20, epochs=2, batch=8, output=tmp_path, data_dir=tmp_path
    )
    monkeypatch.setattr(ej.data.Batches, "epoch", _break_in_epoch_2)
    with pytest.raises(KeyboardInterrupt):
        latency_mnist.run(settings, progress=False)
    folder = tmp_path / "seed0"
    before = json.loads((folder / "metrics.jsonl").read_text())
    assert before.pop("event") == "epoch"

    monkeypatch.setattr(ej.data.Batches, "epoch", _EPOCH)
    other = dataclasses.replace(settings, dropout=0.3)
    with pytest.raises(ValueError, match="dropout was 0.2, now 0.3"):
        latency_mnist.run(other, resume=True, progress=False)
    results = latency_mnist.run(settings, resume=True, progress=False)
    assert results["resumed"]
    assert results["history"][0] == before
    _check(folder, FILES, results, settings)

    # Without `resume` nothing of it is left at the start.
    monkeypatch.setattr(ej.train, "fit", lambda *args, **rest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        latency_mnist.run(settings, progress=False)
    assert not (folder / "checkpoints").exists()
    assert not (folder / "results.json").exists()
    assert (folder / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("script", [yin_yang, latency_mnist])
def test_settings_come_from_the_command_line(script, monkeypatch):
    read = script.from_command_line
    monkeypatch.setattr("sys.argv", ["script"])
    assert read(script.Settings(), script.PAPER, "") == (script.Settings(), False)
    monkeypatch.setattr("sys.argv", ["script", "--seed", "5", "--paper", "--resume"])
    expected = dataclasses.replace(script.PAPER, seed=5)
    assert read(script.Settings(), script.PAPER, "") == (expected, True)
