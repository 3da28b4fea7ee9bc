"""Event cameras: what is read from files of the published layouts, and what is said about
wrong ones."""

import os
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")

import eventjax.data as data
from eventjax.data._camera_builder import EventjaxCifar10Dvs, EventjaxNmnist
from eventjax.data._cifar_file import CLASSES


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


def nmnist(*events):
    """A file of events `(x, y, polarity, microseconds)`, packed bit by bit."""
    words = [x << 32 | y << 24 | p << 23 | t for x, y, p, t in events]
    return b"".join(word.to_bytes(5, "big") for word in words)


def aedat(*events, header=b"#!AER-DAT2.0\r\n# a line\r\n"):
    words = [(x << 8 | y << 1 | p, t) for x, y, p, t in events]
    return header + b"".join(struct.pack(">II", *word) for word in words)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lists(events):
    return [x.tolist() for x in (events.x, events.y, events.polarity, events.times)]


def test_nmnist_file(tmp_path):
    events = [(0, 33, 1, 0), (33, 0, 0, 654), (7, 5, 1, 654), (2, 3, 0, (1 << 23) - 1)]
    read = data.read_nmnist(write(tmp_path / "a.bin", nmnist(*events)))
    assert (read.height, read.width) == (34, 34)
    x, y, polarity, times = lists(read)
    assert list(zip(x, y, polarity)) == [e[:3] for e in events]
    assert times == [0.0, 0.654, 0.654, 8388.607]
    assert read.times.dtype == np.float64
    assert read.units.dtype == np.uint16
    expected = [(34 + 33) * 34, 33, (34 + 5) * 34 + 7, 3 * 34 + 2]
    assert read.units.tolist() == expected


def test_overflow_of_nmnist_times(tmp_path):
    overflow = (0, 240, 0, 0)
    events = [
        (1, 1, 0, 8000),
        overflow,
        (2, 2, 1, 10),
        overflow,
        overflow,
        (3, 3, 1, 0),
    ]
    read = data.read_nmnist(write(tmp_path / "a.bin", nmnist(*events)))
    assert read.x.tolist() == [1, 2, 3]
    assert read.times.tolist() == [8.0, 8.202, 24.576]


def test_aedat2_file(tmp_path):
    start = (1 << 32) - 2000
    events = [(127, 0, 1, start), (0, 127, 0, start + 1), (35, 64, 1, start + 1999)]
    read = data.read_aedat2(write(tmp_path / "a.aedat", aedat(*events)))
    assert (read.height, read.width) == (128, 128)
    x, y, polarity, times = lists(read)
    assert list(zip(x, y, polarity)) == [e[:3] for e in events]
    assert times == [0.0, 0.001, 1.999]
    expected = [128 * 128 + 127, 127 * 128, (128 + 64) * 128 + 35]
    assert read.units.tolist() == expected
    assert read.units.dtype == np.uint16
    corner = data.read_aedat2(write(tmp_path / "b.aedat", aedat((127, 127, 1, 9))))
    assert corner.units.tolist() == [32767]


WRONG_FILES = {
    "nmnist cut": (nmnist((1, 2, 0, 3))[:-1], "5 bytes per event, but 4 of its 4"),
    "nmnist empty": (b"", "holds no event"),
    "nmnist overflow alone": (nmnist((0, 240, 0, 0)), "holds no event"),
    "nmnist x": (nmnist((1, 2, 0, 3), (34, 2, 0, 3)), "`x` .* 33, but event 1 has 34"),
    "nmnist y": (nmnist((1, 34, 0, 3)), "`y` must be from 0 to 33, but event 0 has 34"),
    "nmnist back": (
        nmnist((1, 2, 0, 3000), (1, 2, 0, 3000), (1, 2, 0, 2999), (1, 2, 0, 1)),
        r"event 2 is at 2.999 ms, after one at 3.0 ms \(times go back 2 times\)",
    ),
    "aedat cut": (aedat((1, 2, 0, 3))[:-3], "8 bytes per event .* but 5 of 5 bytes"),
    "aedat empty": (aedat(), "holds no event"),
    "aedat cut header": (b"#!AER-DAT2.0\r\n# a", "ends inside its header"),
    "aedat 4": (
        aedat((1, 2, 0, 3), header=b"#!AER-DAT4.0\r\n"),
        "found b'#!AER-DAT4.0'",
    ),
    "aedat no header": (aedat((1, 2, 0, 3), header=b""), "not of version 2.0"),
    "aedat address": (
        aedat((1, 2, 0, 3), (128, 2, 0, 3)),
        "addresses must have 15 bits, .* but event 1 has 0x8004",
    ),
    "aedat back": (
        aedat((1, 2, 0, 5000), (1, 2, 0, 4000)),
        "event 1 is at -1.0 ms, after one at 0.0 ms",
    ),
}


@pytest.mark.parametrize("content, message", WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_files(tmp_path, request, content, message):
    path = write(tmp_path / "name 7.data", content)
    layout = request.node.callspec.id.split()[0]
    read = {"nmnist": data.read_nmnist, "aedat": data.read_aedat2}[layout]
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"`{path}` ")


def test_absent_files(tmp_path):
    for read in (data.read_nmnist, data.read_aedat2):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read(tmp_path / "nowhere")


DIGITS = {
    # Digit, number, and events.
    "Train": [
        (d, 2 * k + d % 2, [(d, k, d % 2, 10 * k + j) for j in range(1 + d)])
        for d in range(10)
        for k in range(1, 4)
    ],
    "Test": [(d, 10 - d, [(d, 33, 1, 1000 * d)]) for d in range(10)],
}


def write_digits(root):
    for folder, recordings in DIGITS.items():
        for digit, number, events in recordings:
            write(root / folder / str(digit) / f"{number:05}.bin", nmnist(*events))


def pack(folder, inside=True):
    """A zip archive in place of a folder, with or without the folder in it."""
    path = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files_in(folder):
            name = file.relative_to(folder.parent if inside else folder)
            archive.write(file, name.as_posix())
    for file in files_in(folder):
        file.unlink()
    for place in sorted(folder.rglob("*"), reverse=True):
        place.rmdir()
    folder.rmdir()
    return path


def load(root, name="nmnist", split="train", prepared="prepared"):
    return data.load_events(
        name, split, data_dir=root / "raw", prepared_dir=root / prepared
    )


def assert_digits(root):
    for split, folder in (("train", "Train"), ("test", "Test")):
        events = load(root, split=split)
        ordered = sorted(DIGITS[folder], key=lambda r: (r[1], r[0]))
        assert events.label.tolist() == [digit for digit, _, _ in ordered]
        assert events.speaker.tolist() == [-1] * len(ordered)
        assert events.label_names == tuple("0123456789")
        assert (events.num_units, events.num_classes) == (2312, 10)
        for (times, units), (_, _, expected) in zip(events, ordered, strict=True):
            ms = np.array([t for *_, t in expected]) / 1000
            np.testing.assert_array_equal(times, ms.astype(np.float32))
            assert units.tolist() == [(p * 34 + y) * 34 + x for x, y, p, _ in expected]


@pytest.mark.parametrize("subfolder", ["nmnist", "."])
@pytest.mark.parametrize("packed", ["Train", "Train and Test", ""])
def test_from_files_to_digits(tmp_path, packed, subfolder):
    folder = tmp_path / "raw" / subfolder
    write_digits(folder)
    # What an operating system leaves, and notes, are not recordings.
    write(folder / "Train" / "__MACOSX" / "0" / "._00002.bin", b"x")
    write(folder / "Train" / "readme.txt", b"x")
    for name in packed.split(" and ") if packed else ():
        pack(folder / name)
    before = files_in(tmp_path / "raw")
    assert_digits(tmp_path)
    assert_digits(tmp_path)
    assert files_in(tmp_path / "raw") == before


def test_an_archive_without_its_folder(tmp_path):
    write_digits(tmp_path / "raw" / "nmnist")
    pack(tmp_path / "raw" / "nmnist" / "Train", inside=False)
    assert_digits(tmp_path)


def assert_nothing_is_prepared(root):
    assert files_in(root / "prepared") == []
    write_digits(root / "raw" / "nmnist")
    assert_digits(root)


def test_absent_digits(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path)
    for text in ("  Train\n  Test\n", "subfolder `nmnist`", "Train.zip"):
        assert text in str(caught.value)


def _remove(path):
    return lambda root: (root / path).unlink()


def _add(path, content=nmnist((1, 1, 1, 1))):
    return lambda root: write(root / path, content)


def _empty_train(root):
    for file in files_in(root / "Train"):
        file.rename(file.with_suffix(".aedat4"))


WRONG_SETS = {
    "no class": (_add("Train/ten/00001.bin"), "`ten`, which is not one of the classes"),
    "no folder": (_add("Train/00001.bin"), "in the folder `Train`, which is not one"),
    "same number": (_add("Test/3/7.bin"), "have the same number"),
    "no number": (
        _add("Test/3/seven.bin"),
        "seven.bin`.* must have a number at the end",
    ),
    "no recording of a class": (_remove("Test/4/00006.bin"), "no recording of 4 in"),
    "none at all": (
        _empty_train,
        r"no file `\*.bin` in `.*Train`. There are others, such as `.*.aedat4`",
    ),
    "damaged": (
        _add("Test/9/00001.bin", b"1234"),
        "00001.bin`.* is damaged or incomplete",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change, message", WRONG_SETS.values(), ids=WRONG_SETS)
def test_wrong_sets_of_digits(tmp_path, change, message, packed):
    folder = tmp_path / "raw" / "nmnist"
    write_digits(folder)
    change(folder)
    if packed:
        message = message.replace("Train`.", "Train.zip`.")
        for name in DIGITS:
            pack(folder / name)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    assert files_in(tmp_path / "prepared") == []


def test_a_fault_in_the_last_recording_leaves_nothing_of_the_first(tmp_path):
    folder = tmp_path / "raw" / "nmnist"
    write_digits(folder)
    path = folder / "Test" / "0" / "00010.bin"  # the highest number of the second split
    path.write_bytes(nmnist((0, 0, 0, 2), (0, 0, 0, 1)))
    with pytest.raises(ValueError, match="00010.bin` is not .* times must not go back"):
        load(tmp_path)
    assert_nothing_is_prepared(tmp_path)


DAMAGE = {
    "cut": lambda x: x[:-200],
    "empty": lambda x: b"",
    "other file": lambda x: b"<html>not found</html>",
    # In the content of the first recording, after a header of 30 bytes and its name.
    "spoilt": lambda x: x[:48] + bytes([x[48] ^ 255, x[49] ^ 255]) + x[50:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_archives(tmp_path, damage):
    folder = tmp_path / "raw" / "nmnist"
    write_digits(folder)
    path = pack(folder / "Train")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="Train.zip` is damaged or incomplete"):
        load(tmp_path)
    path.unlink()
    assert_nothing_is_prepared(tmp_path)


def test_prepared_from_other_files(tmp_path):
    folder = tmp_path / "raw" / "nmnist"
    write_digits(folder)
    load(tmp_path)
    # The same files, packed, and no files.
    pack(folder / "Train")
    assert_digits(tmp_path)
    pack(folder / "Test").unlink()
    assert_digits(tmp_path)
    # Other ones.
    write(folder / "Test" / "0" / "1.bin", nmnist((1, 1, 1, 1)))
    with pytest.raises(ValueError, match="made from another file than `.*Test`"):
        load(tmp_path)


def test_prepared_from_another_archive(tmp_path):
    folder = tmp_path / "raw" / "nmnist"
    write_digits(folder)
    for name in DIGITS:
        pack(folder / name)
    load(tmp_path)
    write_digits(folder)
    write(folder / "Train" / "0" / "77.bin", nmnist(*[(1, 1, 1, 1)] * 9))
    pack(folder / "Train")
    with pytest.raises(ValueError, match="made from another file than .*Train.zip`"):
        load(tmp_path)


def moving(k, number, size):
    return [(k, number, j % 2, 500 + 1000 * j) for j in range(size)]


def write_dvs(root, count=11):
    for k, name in enumerate(CLASSES):
        for number in range(count):
            path = root / name / f"cifar10_{name}_{number}.aedat"
            write(path, aedat(*moving(k, number, 1 + k)))


@pytest.mark.parametrize("packed", [False, True])
def test_from_files_to_moving_pictures(tmp_path, packed):
    folder = tmp_path / "raw" / "cifar10_dvs"
    write_dvs(folder)
    if packed:
        for name in CLASSES:
            pack(folder / name)
    # A tenth of 11, rounded up: the two highest as numbers, not as names.
    for split, numbers in (("train", range(9)), ("test", (9, 10))):
        events = load(tmp_path, "cifar10_dvs", split)
        assert events.label_names == CLASSES
        assert (events.num_units, events.num_classes) == (32768, 10)
        assert events.label.tolist() == list(range(10)) * len(numbers)
        order = [(k, number) for number in numbers for k in range(10)]
        for (times, units), (k, number) in zip(events, order, strict=True):
            assert times.tolist() == list(range(1 + k))
            expected = [(j % 2 * 128 + number) * 128 + k for j in range(1 + k)]
            assert units.tolist() == expected


def test_too_few_moving_pictures(tmp_path):
    write_dvs(tmp_path / "raw" / "cifar10_dvs", count=1)
    with pytest.raises(ValueError, match="but airplane has only .*cifar10_airplane_0"):
        load(tmp_path, "cifar10_dvs")
    assert files_in(tmp_path / "prepared") == []


def test_moving_pictures_of_another_format(tmp_path):
    write_dvs(tmp_path / "raw" / "cifar10_dvs", count=2)
    path = tmp_path / "raw" / "cifar10_dvs" / "dog" / "cifar10_dog_1.aedat"
    path.write_bytes(aedat((1, 1, 1, 1), header=b"#!AER-DAT4.0\r\n"))
    with pytest.raises(ValueError, match="cifar10_dog_1.aedat` must begin with"):
        load(tmp_path, "cifar10_dvs")
    assert files_in(tmp_path / "prepared") == []


def test_absent_moving_pictures(tmp_path):
    write_dvs(tmp_path / "raw" / "cifar10_dvs", count=2)
    pack(tmp_path / "raw" / "cifar10_dvs" / "truck").unlink()
    with pytest.raises(FileNotFoundError, match="truck\n") as caught:
        load(tmp_path, "cifar10_dvs")
    assert "  ship" not in str(caught.value)
    assert "CIFAR10DVS.zip" in str(caught.value)


def _counts(events, boxes=8):
    """Events in coarse boxes of space, of each polarity, by example of length 1."""
    side = round((events.num_units / 2) ** 0.5)
    out = np.zeros((len(events), 2, boxes, boxes))
    for row, (_, units) in zip(out, events):
        polarity, y, x = np.unravel_index(units, (2, side, side))
        np.add.at(row, (polarity, y * boxes // side, x * boxes // side), 1)
    out = out.reshape(len(events), -1)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["nmnist", "cifar10_dvs"])
def test_made_up_files_go_the_whole_way(tmp_path, name):
    make = dict(
        nmnist=data.write_example_nmnist, cifar10_dvs=data.write_example_cifar10_dvs
    )[name]
    paths = make(tmp_path / "raw", examples_per_class=4, seed=1)
    assert files_in(tmp_path / "raw") == sorted(paths)
    train, test = load(tmp_path, name), load(tmp_path, name, "test")
    assert train.class_counts.tolist() == [4 if name == "nmnist" else 3] * 10
    assert len(set(test.class_counts.tolist())) == 1
    assert 150 < train.counts.mean() < 250
    assert 150 < train.durations.mean() < 330
    nearest = np.argmax(_counts(test) @ _counts(train).T, axis=1)
    assert np.mean(train.label[nearest] == test.label) > 0.9
    # The same again, and never over what is there.
    again = make(tmp_path / "again", examples_per_class=4, seed=1)
    assert [x.read_bytes() for x in again] == [x.read_bytes() for x in paths]
    with pytest.raises(FileExistsError, match="is there already, and is left"):
        make(tmp_path / "raw")
    batches = data.EventBatches(train, 5, t1=300.0, seed=0, drop_last=True)
    assert next(batches.epoch(0))["times"].shape[0] == 5


def test_wrong_wishes_for_made_up_files(tmp_path):
    for make in (data.write_example_nmnist, data.write_example_cifar10_dvs):
        with pytest.raises(ValueError, match="`events` must be positive, got 0"):
            make(tmp_path, events=0)
        with pytest.raises(ValueError, match="`duration` must be up to 4000.0 ms"):
            make(tmp_path, duration=1e6)
    with pytest.raises(ValueError, match="must be at least 2, .* got 1"):
        data.write_example_cifar10_dvs(tmp_path, examples_per_class=1)
    assert files_in(tmp_path) == []


def test_names():
    names = (EventjaxNmnist.name, EventjaxCifar10Dvs.name)
    assert names == ("eventjax_nmnist", "eventjax_cifar10_dvs")


SAMPLE = Path(
    os.environ.get("EVENTJAX_DATA_DIR", "."), "nmnist_sample/sample_nmnist.bin"
)


@pytest.mark.skipif(
    not SAMPLE.is_file(), reason="EVENTJAX_DATA_DIR has no nmnist_sample"
)
def test_genuine_recording():
    events = data.read_nmnist(SAMPLE)
    assert len(events.times) == 4325
    for pixels in (events.x, events.y):
        assert (pixels.min(), pixels.max()) == (0, 33)
    assert (events.times[0], events.times[-1]) == (0.654, 311.175)
    assert set(events.polarity.tolist()) == {0, 1}
    assert events.units.max() < 2312
