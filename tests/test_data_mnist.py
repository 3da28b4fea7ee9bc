"""MNIST: what is read from good files, and what is left behind by bad ones."""

import gzip
import hashlib
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")

import eventjax.data as data
from eventjax.data._load import read_arrays
from eventjax.data._mnist_builder import EventjaxMnist
from eventjax.data._prepare import prepare


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def _idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def _digits(size, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
    return images, rng.integers(0, 10, size, dtype=np.uint8)


SMALL = {"train": _digits(20, 0), "test": _digits(6, 1)}


def _write_small(root, **changed):
    """Write small files in MNIST's layout to `root`/mnist; return a builder for them.

    `changed` replaces what is in a file, as in `train_label=b"..."`, and its checksum.
    """
    folder = root / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    checksums = {}
    for split, (images, labels) in SMALL.items():
        for part, array in (("image", images), ("label", labels)):
            content = changed.get(f"{split}_{part}", _idx(array))
            name = EventjaxMnist.FILES[split][part]
            (folder / name).write_bytes(content)
            checksums[name] = hashlib.sha256(content).hexdigest()

    class SmallMnist(EventjaxMnist, skip_registration=True):
        SHA256 = checksums

    return SmallMnist


def _assert_small(builder):
    for split, (images, labels) in SMALL.items():
        arrays = read_arrays(builder, split)
        assert set(arrays) == {"image", "label"}
        assert arrays["image"].dtype == np.uint8
        assert arrays["label"].dtype == np.int64
        np.testing.assert_array_equal(arrays["image"], images)
        np.testing.assert_array_equal(arrays["label"], labels)


def _files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_small_mnist(tmp_path):
    small = _write_small(tmp_path / "raw")
    before = _files(tmp_path / "raw")
    _assert_small(prepare(small, tmp_path / "prepared", tmp_path / "raw"))
    # A second time it needs no raw files.
    _assert_small(prepare(small, tmp_path / "prepared", None))
    assert _files(tmp_path / "raw") == before


def test_standard_output_stays_clean(tmp_path, capsys):
    small = _write_small(tmp_path / "raw")
    prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert capsys.readouterr().out == ""


def _real_mnist_root():
    root = os.environ.get("EVENTJAX_DATA_DIR")
    return Path(root) if root and (Path(root) / "mnist").is_dir() else None


REAL_ROOT = _real_mnist_root()


needs_mnist = pytest.mark.skipif(
    REAL_ROOT is None, reason="EVENTJAX_DATA_DIR has no folder mnist"
)


@needs_mnist
def test_real_mnist(tmp_path):
    kwargs = dict(data_dir=REAL_ROOT, prepared_dir=tmp_path)
    test = data.load("mnist", "test", **kwargs)
    assert test["image"].shape == (10000, 28, 28)
    # Known facts of the original files.
    assert list(test["label"][:10]) == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(test["label"])[0] == 980
    train = data.load("mnist", "train[59990:]", **kwargs)
    assert train["image"].shape == (10, 28, 28)
    whole = data.builder("mnist", **kwargs).info.splits["train"]
    assert whole.num_examples == 60000


@pytest.mark.slow
@needs_mnist
def test_all_of_real_mnist_equals_the_files(tmp_path):
    train = data.load("mnist", data_dir=REAL_ROOT, prepared_dir=tmp_path)
    assert REAL_ROOT is not None
    folder = REAL_ROOT / "mnist"
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    assert train["image"].tobytes() == images[16:]
    assert train["label"].astype(np.uint8).tobytes() == labels[8:]
    assert abs(train["image"].mean() - 33.318) < 1e-3


def test_absent_files(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.load("mnist", data_dir=tmp_path / "raw")
    message = str(caught.value)
    assert str(tmp_path / "raw" / "mnist") in message
    assert "`data_dir`" in message
    assert "EVENTJAX_DATA_DIR" in message
    for name, sha256 in EventjaxMnist.SHA256.items():
        assert f"{name}  sha256 {sha256}" in message


def test_one_absent_file(tmp_path):
    small = _write_small(tmp_path / "raw")
    (tmp_path / "raw" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels") as caught:
        prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert "train-images" not in str(caught.value)


def test_no_data_folder_given():
    with pytest.raises(FileNotFoundError, match="no data folder was given"):
        data.load("mnist")


def test_public_checksums_are_the_original_ones(tmp_path):
    # The front door knows no other files than the original ones.
    _write_small(tmp_path / "raw")
    with pytest.raises(ValueError, match="expected sha256 440fcabf.*, found"):
        data.load("mnist", data_dir=tmp_path / "raw", prepared_dir=tmp_path / "p")
    assert _files(tmp_path / "p") == []


def test_truncated_file_leaves_nothing_behind(tmp_path):
    small = _write_small(tmp_path / "raw")
    path = tmp_path / "raw" / "mnist" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    prepared = tmp_path / "prepared"
    with pytest.raises(ValueError, match="damaged.*expected sha256 .*, found"):
        prepare(small, prepared, tmp_path / "raw")
    assert _files(prepared) == []

    path.write_bytes(whole)
    _assert_small(prepare(small, prepared, tmp_path / "raw"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_interruption_leaves_nothing_behind(tmp_path, error):
    small = _write_small(tmp_path / "raw")

    class Interrupted(small, skip_registration=True):
        name = small.name

        def _generate_examples(self, images, labels):
            yield from list(super()._generate_examples(images, labels))[:3]
            if len(images) == len(SMALL["test"][0]):
                raise error("halfway")

    prepared = tmp_path / "prepared"
    with pytest.raises(error):
        prepare(Interrupted, prepared, tmp_path / "raw")
    assert _files(prepared) == []
    _assert_small(prepare(small, prepared, tmp_path / "raw"))


def test_killed_process_leaves_nothing_that_is_read(tmp_path):
    # What a killed process leaves: a folder that was not renamed.
    small = _write_small(tmp_path / "raw")
    prepared = tmp_path / "prepared"
    left = prepared / "small_mnist" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    (left / "small_mnist-train.array_record-00000-of-00001").write_bytes(b"half")
    _assert_small(prepare(small, prepared, tmp_path / "raw"))


def test_two_prepare_at_once(tmp_path):
    small = _write_small(tmp_path / "raw")
    prepared = tmp_path / "prepared"

    class Slower(small, skip_registration=True):
        name = small.name

        def _generate_examples(self, images, labels):
            # Another process starts and finishes while this one writes.
            prepare(small, prepared, tmp_path / "raw")
            yield from super()._generate_examples(images, labels)

    _assert_small(prepare(Slower, prepared, tmp_path / "raw"))
    folders = [path.name for path in (prepared / "small_mnist").iterdir()]
    assert folders == ["1.0.0"]


IMAGES = SMALL["train"][0]


LABELS = SMALL["train"][1]


WRONG_FILES = {
    "not gzip": ({"train_label": b"plain"}, "not a complete gzip file"),
    "cut gzip": ({"train_label": _idx(LABELS)[:-9]}, "not a complete gzip file"),
    "cut header": (
        {"train_label": gzip.compress(b"\0\0\x08")},
        "inside its idx header",
    ),
    "other axes": ({"train_label": _idx(IMAGES)}, "00 00 08 01 .* found 00 00 08 03"),
    "other type": (
        {"train_label": gzip.compress(b"\0\0\x0d\1" + bytes(8))},
        "wrong idx header.*found 00 00 0d 01",
    ),
    "too short": (
        {"train_label": gzip.compress(b"\0\0\x08\1\0\0\0\x05abcd")},
        r"shape \(5,\), expected 5 values, found 4",
    ),
    "too long": (
        {"train_label": gzip.compress(b"\0\0\x08\1\0\0\0\x03abcd")},
        r"shape \(3,\), expected 3 values, found 4",
    ),
    "other size": ({"train_image": _idx(IMAGES[:, :27])}, r"28 x 28, found \(27, 28\)"),
    "fewer labels": ({"train_label": _idx(LABELS[1:])}, "20 images .* 19 labels"),
    "no digit": ({"train_label": _idx(LABELS + 10)}, "digits from 0 to 9, found 1"),
}


@pytest.mark.parametrize("changed, message", WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_files(tmp_path, changed, message):
    small = _write_small(tmp_path / "raw", **changed)
    with pytest.raises(ValueError, match=message) as caught:
        prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert "ubyte.gz" in str(caught.value)
    assert _files(tmp_path / "prepared") == []


def _damage_records(folder):
    (path,) = folder.glob("*train.array_record*")
    path.write_bytes(path.read_bytes()[:-1000])


def _remove_records(folder):
    (path,) = folder.glob("*train.array_record*")
    path.unlink()


def _remove_info(folder):
    (folder / "dataset_info.json").unlink()


@pytest.mark.parametrize("damage", [_damage_records, _remove_records, _remove_info])
def test_damaged_prepared_set(tmp_path, damage):
    small = _write_small(tmp_path / "raw")
    builder = prepare(small, tmp_path / "prepared", tmp_path / "raw")
    damage(Path(builder.data_path))
    with pytest.raises(RuntimeError, match="is damaged: .* Delete that folder"):
        read_arrays(prepare(small, tmp_path / "prepared", None), "train")
