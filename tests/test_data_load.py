"""The front door to data sets: names, splits, folders, and what it needs installed."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")

import eventjax.data as data
from eventjax.data._folder import prepared_root
from eventjax.data._load import _BUILDERS, _import_builder
from eventjax.data._mnist_builder import EventjaxMnist
from eventjax.data._yin_yang_builder import EventjaxYinYang


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture(scope="module")
def yin_yang_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    data.builder("yin_yang", prepared_dir=folder)
    return folder


@pytest.mark.parametrize(
    "split, size, seed", [("train", 5000, 42), ("validation", 1000, 41)]
)
def test_yin_yang_passes_through_unchanged(yin_yang_dir, split, size, seed):
    loaded = data.load("yin_yang", split, prepared_dir=yin_yang_dir)
    expected = data.yin_yang(size, seed)
    assert set(loaded) == set(expected)
    for name in expected:
        assert loaded[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(loaded[name], expected[name])


def test_split_algebra(yin_yang_dir):
    def label(split):
        return data.load("yin_yang", split, prepared_dir=yin_yang_dir)["label"]

    test, validation = label("test"), label("validation")
    np.testing.assert_array_equal(label("test[:7]"), test[:7])
    np.testing.assert_array_equal(label("test[90%:]"), test[900:])
    both = np.concatenate([validation, test])
    np.testing.assert_array_equal(label("validation+test"), both)


def test_folders_from_the_environment(tmp_path, monkeypatch):
    assert prepared_root(None, None) == tmp_path / "cache"
    assert prepared_root(tmp_path / "other", None) == tmp_path / "other"

    monkeypatch.setenv("EVENTJAX_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        data.load("mnist")
    # The option goes before the environment.
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.load("mnist", data_dir=tmp_path / "nowhere")


def test_default_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("EVENTJAX_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared_root(None, None) == tmp_path / ".cache" / "eventjax"


@pytest.mark.parametrize("name", ["mnist", "yin_yang"])
def test_known_names_import(name):
    # Names are strings until they are asked for: none may point nowhere.
    assert _import_builder(*_BUILDERS[name]).VERSION == "1.0.0"


def test_unknown_name():
    with pytest.raises(ValueError, match="'minst'.*'mnist', 'yin_yang'"):
        data.load("minst")


@pytest.mark.parametrize("split", ["trian", "test[", "test[:0]"])
def test_unknown_or_empty_split(yin_yang_dir, split):
    with pytest.raises(ValueError, match="trian|test"):
        data.load("yin_yang", split, prepared_dir=yin_yang_dir)


def test_never_into_the_data_folder(tmp_path, monkeypatch):
    for inside in (tmp_path, tmp_path / "mnist" / "prepared"):
        with pytest.raises(ValueError, match="inside the folder of raw data"):
            data.load("mnist", data_dir=tmp_path, prepared_dir=inside)
    monkeypatch.setenv("EVENTJAX_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="EVENTJAX_CACHE_DIR"):
        data.load("yin_yang")


@pytest.mark.parametrize(
    "package", ["tensorflow_datasets", "array_record", "importlib_resources"]
)
def test_missing_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'eventjax\[data\]'"):
        data.load("yin_yang")


def test_registered_names_do_not_clash_with_others():
    # tensorflow-datasets has a set called "mnist" of its own.
    assert EventjaxMnist.name == "eventjax_mnist"
    assert EventjaxYinYang.name == "eventjax_yin_yang"


SCRIPT = """
import json, sys
import eventjax.data as data
imported = ["tensorflow_datasets" in sys.modules]
size = len(data.load("yin_yang", "test")["label"])
imported += ["tensorflow_datasets" in sys.modules, "tensorflow" in sys.modules]
print(json.dumps([imported, size]))
"""


def test_no_tensorflow_in_a_fresh_process(tmp_path):
    environment = {**os.environ, "EVENTJAX_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(data.__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == [[False, True, False], 1000]
