import json

import jax.numpy as jnp
import numpy as np
import pytest

import eventjax as ej


def test_metrics_are_on_disk_at_once(tmp_path):
    log = ej.train.MetricsLog(tmp_path / "metrics.jsonl")
    log.write("epoch", loss=jnp.float32(0.5), counts=np.arange(2), bad=float("nan"))
    expected = {"event": "epoch", "loss": 0.5, "counts": [0, 1], "bad": None}
    assert json.loads(log.path.read_text()) == expected
    log.close()


def test_json_holds_what_it_was_given(tmp_path):
    path = tmp_path / "new" / "results.json"
    values = {"a": [1, 2.5, None], "b": {"c": np.float32(0.5)}, "path": tmp_path}
    ej.train.save_json(path, {**values, **ej.train.environment()})
    stored = json.loads(path.read_text())
    assert stored["a"] == [1, 2.5, None]
    assert stored["b"] == {"c": 0.5}
    assert stored["path"] == str(tmp_path)
    assert {"python", "jax", "numpy"} <= set(stored["versions"])
    assert stored["machine"]["cores"] >= 1
    assert "commit" in stored


def test_arrays_hold_what_they_were_given(tmp_path):
    ej.train.save_arrays(tmp_path / "a.npz", x=np.arange(3), y=jnp.ones(2))
    with np.load(tmp_path / "a.npz") as stored:
        np.testing.assert_array_equal(stored["x"], np.arange(3))
        np.testing.assert_array_equal(stored["y"], np.ones(2))


class _Stubborn:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array")


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "results.json"
    ej.train.save_json(path, {"run": 1})
    with pytest.raises(TypeError):
        ej.train.save_json(path, {"run": 2, "what": object()})
    with pytest.raises(RuntimeError, match="no array"):
        ej.train.save_arrays(tmp_path / "a.npz", x=np.zeros(3), y=_Stubborn())
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(path.read_text()) == {"run": 1}


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="no space"):
        ej.train.save_arrays(tmp_path / "a.npz", x=np.zeros(3))
    assert list(tmp_path.iterdir()) == []
