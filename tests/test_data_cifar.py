"""CIFAR: what is made of good archives of pictures, and what is said about bad ones."""

import gzip
import hashlib
import io
import lzma
import os
import sys
import tarfile
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")
pytest.importorskip("PIL", reason="needs the extra eventjax[data]")

from PIL import Image

import eventjax.data as data
from eventjax.data._cifar_builder import EventjaxCifar10, EventjaxCifar100
from eventjax.data._cifar_file import CLASSES
from eventjax.data._cifar_jpeg_builder import EventjaxCifar10Jpeg
from eventjax.data._load import read_arrays
from eventjax.data._prepare import prepare


ARCHIVES = {
    EventjaxCifar10: "cifar-10-binary.tar.gz",
    EventjaxCifar100: "cifar-100-binary.tar.gz",
    EventjaxCifar10Jpeg: "cifar10_jpeg.tar.xz",
}


def _real_root():
    root = os.environ.get("EVENTJAX_DATA_DIR")
    return Path(root) if root and (Path(root) / "cifar10_jpeg").is_dir() else None


REAL_ROOT = _real_root()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def files_in(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def archive(kind, files):
    content = io.BytesIO()
    mode: Any = f"w:{kind}"
    with tarfile.open(fileobj=content, mode=mode) as tar:
        for name, part in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(part)
            tar.addfile(member, io.BytesIO(part))
    return content.getvalue()


def pictures(size, num_classes, seed):
    """Images drawn at random, and labels that count up."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)
    columns = [np.arange(size) % n for n in num_classes]
    return images, np.column_stack(columns).astype(np.uint8)


def binary(images, labels):
    records = np.column_stack([labels, images.reshape(len(images), -1)])
    return records.astype(np.uint8).tobytes()


BATCHES = [f"data_batch_{k}.bin" for k in range(1, 6)]
TEN = {
    name: pictures(3 + k, [10], k)
    for k, name in enumerate([*BATCHES, "test_batch.bin"])
}
HUNDRED = {
    "train.bin": pictures(120, [20, 100], 7),
    "test.bin": pictures(30, [20, 100], 8),
}
FINE = [f"thing{k}" for k in range(100)]
COARSE = [f"group{k}" for k in range(20)]


def names_file(names):
    # The original of CIFAR-10 has an empty line at its end.
    return "\n".join([*names, "", ""]).encode()


def ten_files(**changed):
    files = {f"cifar-10-batches-bin/{name}": binary(*x) for name, x in TEN.items()}
    files["cifar-10-batches-bin/batches.meta.txt"] = names_file(CLASSES)
    files["cifar-10-batches-bin/readme.html"] = b"<html>"
    return {**files, **{f"cifar-10-batches-bin/{k}": x for k, x in changed.items()}}


def hundred_files(**changed):
    files = {f"cifar-100-binary/{name}": binary(*x) for name, x in HUNDRED.items()}
    files["cifar-100-binary/fine_label_names.txt"] = names_file(FINE)
    files["cifar-100-binary/coarse_label_names.txt"] = names_file(COARSE)
    return {**files, **{f"cifar-100-binary/{k}": x for k, x in changed.items()}}


def jpeg(image, quality=75, size=(32, 32), mode="RGB", kind="JPEG"):
    out = io.BytesIO()
    picture = Image.fromarray(image).convert(mode).resize(size)
    picture.save(out, kind, quality=quality)
    return out.getvalue()


def smooth(split, k, number):
    """A picture that JPEG leaves nearly as it is: rows, columns and channels differ."""
    y, x = np.mgrid[:32, :32]
    red = 4 * y + k * 10
    green = 3 * x + 40 * number
    blue = np.full((32, 32), 200 if split == "train" else 90)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


JPEG_NAMES = [
    f"{split}/{name}/{number:04}.jpg"
    for split, count in (("train", 3), ("test", 1))
    for name in CLASSES
    for number in range(count)
]


def jpeg_files(changed=None, absent=()):
    files = {}
    for name in JPEG_NAMES:
        split, folder, file = name.split("/")
        if name not in absent:
            image = smooth(split, CLASSES.index(folder), int(file[:4]))
            files[f"cifar10_jpeg/{name}"] = jpeg(image)
    return {**files, **(changed or {})}


def write(root, base, content):
    """Write an archive to a data folder; return a builder that takes it for right."""
    name = ARCHIVES[base]
    folder = root / base.SUBFOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)

    checksums = {name: hashlib.sha256(content).hexdigest()}
    options = {"skip_registration": True}
    return types.new_class(
        "Small", (base,), options, lambda x: x.update(SHA256=checksums)
    )


def prepared(tmp_path, base, content):
    return prepare(
        write(tmp_path / "raw", base, content), tmp_path / "prepared", tmp_path / "raw"
    )


def test_small_cifar10(tmp_path, capsys):
    builder = prepared(tmp_path, EventjaxCifar10, archive("gz", ten_files()))
    splits = {"train": BATCHES, "test": ["test_batch.bin"]}
    for split, names in splits.items():
        arrays = read_arrays(builder, split)
        assert set(arrays) == {"image", "label"}
        assert (arrays["image"].dtype, arrays["label"].dtype) == (np.uint8, np.int64)
        images, labels = (
            np.concatenate(x) for x in zip(*(TEN[name] for name in names))
        )
        np.testing.assert_array_equal(arrays["image"], images)
        np.testing.assert_array_equal(arrays["label"], labels[:, 0])
    assert builder.info.metadata["label_names"] == list(CLASSES)
    assert not builder.info.metadata["made_up"]
    assert capsys.readouterr().out == ""


def test_small_cifar100(tmp_path):
    builder = prepared(tmp_path, EventjaxCifar100, archive("gz", hundred_files()))
    for split in ("train", "test"):
        arrays = read_arrays(builder, split)
        images, labels = HUNDRED[f"{split}.bin"]
        np.testing.assert_array_equal(arrays["image"], images)
        # The group comes first in a record.
        np.testing.assert_array_equal(arrays["coarse_label"], labels[:, 0])
        np.testing.assert_array_equal(arrays["label"], labels[:, 1])
    assert builder.info.metadata["label_names"] == FINE
    assert builder.info.metadata["coarse_label_names"] == COARSE


def test_small_cifar10_jpeg(tmp_path):
    builder = prepared(tmp_path, EventjaxCifar10Jpeg, archive("xz", jpeg_files()))
    assert builder.info.features["label"].names == list(CLASSES)
    for split in ("train", "test"):
        arrays = read_arrays(builder, split)
        names = [name for name in JPEG_NAMES if name.startswith(split)]
        names.sort(key=lambda x: hashlib.sha256(x.encode()).hexdigest())
        parts = [name.split("/") for name in names]
        assert arrays["label"].tolist() == [CLASSES.index(x[1]) for x in parts]
        originals = [smooth(x[0], CLASSES.index(x[1]), int(x[2][:4])) for x in parts]
        expected = np.moveaxis(np.array(originals, int), -1, 1)
        assert arrays["image"].shape == expected.shape
        # JPEG changes pixels by a little, and a swapped axis or channel by much.
        assert np.abs(arrays["image"].astype(int) - expected).max() < 16
    first = read_arrays(builder, "train[:10]")
    np.testing.assert_array_equal(
        first["image"], read_arrays(builder, "train")["image"][:10]
    )
    assert len(set(first["label"])) > 3  # not sorted by class


def test_a_second_time_from_what_was_written(tmp_path):
    small = write(tmp_path / "raw", EventjaxCifar100, archive("gz", hundred_files()))
    before = files_in(tmp_path / "raw")
    prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert files_in(tmp_path / "raw") == before
    again = prepare(small, tmp_path / "prepared", None)
    np.testing.assert_array_equal(
        read_arrays(again, "test")["image"], HUNDRED["test.bin"][0]
    )


PICTURE = smooth("train", 0, 0)
GOOD = "cifar10_jpeg/train/airplane/0000.jpg"
IMAGES, LABELS = HUNDRED["train.bin"]
WRONG_ARCHIVES = {
    "cut record": (
        EventjaxCifar10,
        ten_files(**{"data_batch_3.bin": binary(*TEN["data_batch_3.bin"])[:-1]}),
        "data_batch_3.bin.*records of 3073 bytes, found 15364 bytes",
    ),
    "no record": (
        EventjaxCifar10,
        ten_files(**{"test_batch.bin": b""}),
        "test_batch.bin.*records of 3073 bytes, found 0 bytes",
    ),
    "label": (
        EventjaxCifar10,
        ten_files(**{"data_batch_1.bin": binary(IMAGES[:2], np.array([[9], [10]]))}),
        "data_batch_1.bin.*from 0 to 9 in byte 0 of its records, found 10 in record 1",
    ),
    "records of CIFAR-10": (
        EventjaxCifar100,
        hundred_files(**{"test.bin": binary(IMAGES[:4], LABELS[:4, :1])}),
        "test.bin.*records of 3074 bytes, found 12292 bytes",
    ),
    "group": (
        EventjaxCifar100,
        hundred_files(**{"train.bin": binary(IMAGES, LABELS[:, ::-1])}),
        "train.bin.*from 0 to 19 in byte 0 of its records, found 20 in record 20",
    ),
    "fine label": (
        EventjaxCifar100,
        hundred_files(**{"train.bin": binary(IMAGES, LABELS + [[0, 1]])}),
        "from 0 to 99 in byte 1 of its records, found 100 in record 99",
    ),
    "names": (
        EventjaxCifar100,
        hundred_files(**{"fine_label_names.txt": names_file(FINE[:99])}),
        "fine_label_names.txt.*100 different names, found 99: thing0, thing1",
    ),
    "absent": (
        EventjaxCifar10,
        {k: x for k, x in ten_files().items() if "batch_2" not in k},
        "one file `data_batch_2.bin` in .*, found 0",
    ),
    "two": (
        EventjaxCifar100,
        {**hundred_files(), "other/test.bin": b""},
        "one file `test.bin` in .*, found 2",
    ),
    "not JPEG": (
        EventjaxCifar10Jpeg,
        jpeg_files({GOOD: jpeg(PICTURE, kind="PNG")}),
        "train/airplane/0000.jpg.*is not a complete JPEG file",
    ),
    "cut JPEG": (
        EventjaxCifar10Jpeg,
        jpeg_files({GOOD: jpeg(PICTURE)[:-80]}),
        "train/airplane/0000.jpg.*is not a complete JPEG file",
    ),
    "large": (
        EventjaxCifar10Jpeg,
        jpeg_files({GOOD: jpeg(PICTURE, size=(32, 33))}),
        "32 x 32 pixels, found RGB and 32 x 33",
    ),
    "grey": (
        EventjaxCifar10Jpeg,
        jpeg_files({GOOD: jpeg(PICTURE, mode="L")}),
        "mode RGB and 32 x 32 pixels, found L and 32 x 32",
    ),
    "class": (
        EventjaxCifar10Jpeg,
        jpeg_files({"cifar10_jpeg/train/car/0000.jpg": jpeg(PICTURE)}),
        "train/car/0000.jpg` in .* must lie in one of the folders train, test",
    ),
    "split": (
        EventjaxCifar10Jpeg,
        jpeg_files({"cifar10_jpeg/valid/cat/0000.jpg": jpeg(PICTURE)}),
        "valid/cat/0000.jpg` in .* must lie in",
    ),
    "alone": (
        EventjaxCifar10Jpeg,
        jpeg_files({"0000.jpg": jpeg(PICTURE)}),
        "`0000.jpg` in .* must lie in",
    ),
    "same": (
        EventjaxCifar10Jpeg,
        jpeg_files({"again/train/airplane/0000.jpg": jpeg(PICTURE)}),
        "`again/train/airplane/0000.jpg` in .* the only one of its name",
    ),
    "no ship": (
        EventjaxCifar10Jpeg,
        jpeg_files(absent=["test/ship/0000.jpg"]),
        "pictures of all classes, but one has none of ship",
    ),
}


@pytest.mark.parametrize(
    "base, files, message", WRONG_ARCHIVES.values(), ids=WRONG_ARCHIVES
)
def test_wrong_archives(tmp_path, base, files, message):
    kind = "xz" if base is EventjaxCifar10Jpeg else "gz"
    with pytest.raises(ValueError, match=message) as caught:
        prepared(tmp_path, base, archive(kind, files))
    assert ARCHIVES[base] in str(caught.value)
    assert files_in(tmp_path / "prepared") == []


def test_a_file_that_is_twice_in_an_archive(tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("cifar-100-binary/test.bin"), io.BytesIO())
    with pytest.raises(ValueError, match="test.bin` is in .* for the second time"):
        prepared(tmp_path, EventjaxCifar100, content.getvalue())


DAMAGE = {
    "cut gzip": (EventjaxCifar100, lambda: archive("gz", hundred_files())[:-5000]),
    "cut xz": (EventjaxCifar10Jpeg, lambda: archive("xz", jpeg_files())[:-5000]),
    "plain": (EventjaxCifar10, lambda: b"<html>not found</html>"),
    "gzip of something": (EventjaxCifar10, lambda: gzip.compress(b"something" * 99)),
    "xz of something": (EventjaxCifar10Jpeg, lambda: lzma.compress(b"some" * 999)),
}


@pytest.mark.parametrize("base, content", DAMAGE.values(), ids=DAMAGE)
def test_damaged_archives(tmp_path, base, content):
    with pytest.raises(ValueError, match=f"{ARCHIVES[base]}` is not a complete tar"):
        prepared(tmp_path, base, content())
    assert files_in(tmp_path / "prepared") == []


@pytest.mark.parametrize("base", ARCHIVES)
def test_other_checksum(tmp_path, base):
    kind = "xz" if base is EventjaxCifar10Jpeg else "gz"
    # A note that is not in front does not make an archive made up.
    content = archive(kind, {"a.txt": b"", "MADE_UP.txt": b""})
    for content in (content, content[:-60], b"plain"):
        write(tmp_path / "raw", base, content)
        sha256 = base.SHA256[ARCHIVES[base]]
        with pytest.raises(ValueError, match=f"expected sha256 {sha256}, found"):
            data.load(base.SUBFOLDER, data_dir=tmp_path / "raw")
    assert files_in(tmp_path / "cache") == []


@pytest.mark.parametrize("base", ARCHIVES)
def test_absent_archive(tmp_path, base):
    with pytest.raises(FileNotFoundError) as caught:
        data.load(base.SUBFOLDER, data_dir=tmp_path / "raw")
    (sha256,) = base.SHA256.values()
    assert f"{ARCHIVES[base]}  sha256 {sha256}" in str(caught.value)
    assert "https://" in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interruption_leaves_nothing_behind(tmp_path, error):
    small = write(tmp_path / "raw", EventjaxCifar10Jpeg, archive("xz", jpeg_files()))

    class Interrupted(EventjaxCifar10Jpeg, skip_registration=True):
        name = small.name
        SHA256 = small.SHA256

        def _generate_examples(self, images, labels):
            yield from list(super()._generate_examples(images, labels))[:3]
            if len(images) == 10:
                raise error("halfway")

    folder = tmp_path / "prepared"
    with pytest.raises(error):
        prepare(Interrupted, folder, tmp_path / "raw")
    assert files_in(folder) == []
    builder = prepare(small, folder, tmp_path / "raw")
    assert len(read_arrays(builder, "train")["label"]) == 30


@pytest.mark.parametrize(
    "name, classes", [("cifar10", 10), ("cifar10_jpeg", 10), ("cifar100", 100)]
)
def test_made_up_archives_go_the_whole_way(tmp_path, name, classes):
    folders = dict(data_dir=tmp_path / "raw", prepared_dir=tmp_path / "prepared")
    (path,) = data.write_example_cifar(tmp_path / "raw", name, seed=3)
    train, test = (data.load(name, split, **folders) for split in ("train", "test"))
    labels = {"label", "coarse_label"} if name == "cifar100" else {"label"}
    for arrays in (train, test):
        assert set(arrays) == {"image", *labels}
        assert arrays["image"].shape == (2 * classes, 3, 32, 32)
        assert np.bincount(arrays["label"]).tolist() == [2] * classes
    if name == "cifar100":
        np.testing.assert_array_equal(train["coarse_label"], train["label"] // 5)
    # The classes can be learned.
    x, y = (a["image"].reshape(2 * classes, -1) / 255 for a in (train, test))
    nearest = np.argmin((x**2).sum(axis=1)[None] - 2 * y @ x.T, axis=1)
    assert np.mean(train["label"][nearest] == test["label"]) > 0.95
    metadata = data.builder(name, **folders).info.metadata
    assert metadata["made_up"]
    assert len(metadata["label_names"]) == classes
    # Never over what is there, nor mixed up with another archive.
    with pytest.raises(FileExistsError, match=f"{path.name}` is there already"):
        data.write_example_cifar(tmp_path / "raw", name)
    path.unlink()
    data.write_example_cifar(tmp_path / "raw", name, examples_per_class=3)
    with pytest.raises(ValueError, match=f"made from another file than .*{path.name}"):
        data.load(name, **folders)


def test_wrong_wishes_for_made_up_archives(tmp_path):
    with pytest.raises(ValueError, match="one of cifar10, .*, got 'mnist'"):
        data.write_example_cifar(tmp_path, "mnist")
    with pytest.raises(ValueError, match="`examples_per_class` must be positive"):
        data.write_example_cifar(tmp_path, examples_per_class=0)
    assert files_in(tmp_path) == []


def test_missing_pillow(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "eventjax.data._cifar_jpeg_builder")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pillow.*pip install 'eventjax\[data\]'"):
        data.load("cifar10_jpeg", data_dir=tmp_path / "raw")


def test_names():
    assert [x.name for x in ARCHIVES] == [
        "eventjax_cifar10",
        "eventjax_cifar100",
        "eventjax_cifar10_jpeg",
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    REAL_ROOT is None, reason="EVENTJAX_DATA_DIR has no folder cifar10_jpeg"
)
def test_real_cifar10_jpeg(tmp_path):
    folders = dict(data_dir=REAL_ROOT, prepared_dir=tmp_path)
    for split, per_class in (("train", 5000), ("test", 1000)):
        arrays = data.load("cifar10_jpeg", split, **folders)
        assert arrays["image"].shape == (10 * per_class, 3, 32, 32)
        assert np.bincount(arrays["label"]).tolist() == [per_class] * 10
    subset = data.load("cifar10_jpeg", "train[:10000]", **folders)
    assert 850 < np.bincount(subset["label"]).min()
    # The means of the lossless pictures, as they are widely quoted, are near.
    mean = subset["image"].mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.01)
