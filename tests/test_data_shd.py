"""SHD and SSC: what is read from files of the published layout, and what is left behind
by wrong ones."""

import gzip
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")
pytest.importorskip("h5py", reason="needs the extra eventjax[data]")

import h5py
import tensorflow_datasets as tfds

import eventjax.data as data
from eventjax.data._shd_builder import EventjaxShd, EventjaxSsc


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, and none leaves what it unpacked."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert [x for x in temporary.iterdir() if x.name.startswith("eventjax")] == []


WORDS = [f"word {k}" for k in range(20)]


def recording(size, seed):
    """Seconds and units, with ties and not sorted."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 300, size) / 1000, rng.integers(0, 700, size)


SIZES = {"train": (30, 0, 1, 50, 12, 300), "test": (20, 3)}
EXAMPLES = {
    split: [recording(n, [k, len(split)]) for k, n in enumerate(sizes)]
    for split, sizes in SIZES.items()
}
LABEL = {"train": [19, 0, 3, 3, 7, 1], "test": [4, 0]}
SPEAKER = {"train": [0, 11, 4, 4, 0, 2], "test": [5, 5]}


def contents(split, time_dtype=np.float16, unit_dtype=np.uint16):
    """Everything that is in a file, by name."""
    times, units = zip(*EXAMPLES[split])
    return {
        "spikes/times": [np.asarray(t, time_dtype) for t in times],
        "spikes/units": [np.asarray(u, unit_dtype) for u in units],
        "labels": np.array(LABEL[split], np.uint16),
        "extra/keys": np.array([word.encode() for word in WORDS]),
        "extra/speaker": np.array(SPEAKER[split], np.uint16),
    }


def write_file(path, parts):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in parts.items():
            if not isinstance(values, list):
                file[name] = values
                continue
            dtype = h5py.vlen_dtype(values[0].dtype)
            dataset = file.create_dataset(name, (len(values),), dtype)
            for i, value in enumerate(values):
                dataset[i] = value
    return path


def write_shd(folder, train=None, test=None):
    paths = []
    for split, parts in (("train", train), ("test", test)):
        path = folder / f"shd_{split}.h5"
        paths.append(write_file(path, contents(split) if parts is None else parts))
    return paths


def load(root, split="train", prepared="prepared", name="shd"):
    return data.load_events(
        name, split, data_dir=root / "raw", prepared_dir=root / prepared
    )


def assert_equal_to_files(events, split, time_dtype=np.float16):
    assert events.label.tolist() == LABEL[split]
    assert events.speaker.tolist() == SPEAKER[split]
    assert events.label_names == tuple(WORDS)
    assert (events.num_units, events.num_classes) == (700, 20)
    for (times, units), (seconds, u) in zip(events, EXAMPLES[split], strict=True):
        ms = (np.asarray(seconds, time_dtype).astype(float) * 1000).astype(np.float32)
        order = sorted(range(len(ms)), key=lambda i: ms[i])
        np.testing.assert_array_equal(times, ms[order])
        np.testing.assert_array_equal(units, u[order])
    assert events.times.dtype == np.float32
    assert events.units.dtype == np.uint16


def files_in(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("time_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("unit_dtype", [np.uint16, np.int64])
def test_from_files_to_events(tmp_path, time_dtype, unit_dtype):
    write_shd(
        tmp_path / "raw" / "shd",
        contents("train", time_dtype, unit_dtype),
        contents("test", time_dtype, unit_dtype),
    )
    before = files_in(tmp_path / "raw")
    for split in ("train", "test"):
        assert_equal_to_files(load(tmp_path, split), split, time_dtype)
    assert files_in(tmp_path / "raw") == before


def test_times_are_not_copied_from_disk(tmp_path):
    write_shd(tmp_path / "raw" / "shd")
    load(tmp_path)
    events = load(tmp_path)  # a second time from what was written
    base = events.times
    while not isinstance(base, np.memmap):
        base = base.base
        assert base is not None
    # It needs no raw files any more.
    shutil.rmtree(tmp_path / "raw")
    assert_equal_to_files(load(tmp_path), "train")


def test_prepared_by_tensorflow_datasets_too(tmp_path):
    write_shd(tmp_path / "raw" / "shd")
    folder = tmp_path / "prepared"
    builder = data.builder("shd", data_dir=tmp_path / "raw", prepared_dir=folder)
    assert builder.info.metadata["label_names"] == WORDS
    example = builder.as_data_source("train")[0]
    assert example["label"] == 19
    assert example["events"]["time"].dtype == np.float32
    assert example["events"]["unit"].dtype == np.uint16
    assert len(example["events"]["time"]) == 30


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("subfolder", ["shd", "."])
def test_packed_or_not_and_where(tmp_path, packed, subfolder):
    for path in write_shd(tmp_path / "raw" / subfolder):
        if packed:
            gzipped = path.with_suffix(".h5.gz")
            gzipped.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert_equal_to_files(load(tmp_path), "train")
    assert_equal_to_files(load(tmp_path), "train")


def test_split_algebra(tmp_path):
    write_shd(tmp_path / "raw" / "shd")
    expected = LABEL["train"]
    for split, part in {
        "train[:2]": expected[:2],
        "train[50%:]": expected[3:],
        "train[1:-1]": expected[1:-1],
        "train[-1:]": expected[-1:],
        "test+train": LABEL["test"] + expected,
        "train[4:]+test[:1]": expected[4:] + LABEL["test"][:1],
    }.items():
        events = load(tmp_path, split)
        assert events.label.tolist() == part
        assert len(events.counts) == len(part)
    for split in ("trian", "train[3:3]", "validation"):
        with pytest.raises(ValueError, match="trian|no example|validation"):
            load(tmp_path, split)


def test_ssc_without_speakers(tmp_path):
    words = [f"word {k}" for k in range(35)]
    for name, split in (("train", "train"), ("valid", "test"), ("test", "test")):
        parts = contents(split)
        del parts["extra/speaker"]
        # Text of either kind, as h5py writes it.
        parts["extra/keys"] = np.array(words, object if name == "test" else "S")
        write_file(tmp_path / "raw" / "ssc" / f"ssc_{name}.h5", parts)
    for split, size in (("train", 6), ("validation", 2), ("test", 2)):
        events = load(tmp_path, split, name="ssc")
        assert events.speaker.tolist() == [-1] * size
        assert events.speakers == []
        assert events.num_classes == 35
        assert events.label_names == tuple(words)
    with pytest.raises(ValueError, match="speakers of 2 of 2 examples are unknown"):
        events.leave_one_out(0)


def test_ssc_with_speakers(tmp_path):
    keys = np.array([f"word {k}".encode() for k in range(35)])
    for name, split in (("train", "train"), ("valid", "test"), ("test", "test")):
        parts = {**contents(split), "extra/keys": keys}
        write_file(tmp_path / "raw" / "ssc" / f"ssc_{name}.h5", parts)
    assert load(tmp_path, name="ssc").speaker.tolist() == SPEAKER["train"]


def _with(name, value):
    return lambda parts: parts.update({name: value})


def _without(name):
    return lambda parts: parts.pop(name)


def _event(name, value, dtype):
    """One event of example 3 is another."""

    def change(parts):
        parts[name] = [x.astype(dtype) for x in parts[name]]
        parts[name][3][7] = value

    return change


def _shorter(name):
    return lambda parts: parts.update({name: parts[name][:-1]})


def _lists_differ(parts):
    parts["spikes/units"][4] = parts["spikes/units"][4][1:]


KEYS = np.array([word.encode() for word in WORDS])
WRONG_PARTS = {
    "no times": (_without("spikes/times"), "there is no `spikes/times`"),
    "no units": (_without("spikes/units"), "there is no `spikes/units`"),
    "no labels": (_without("labels"), "there is no `labels`"),
    "no words": (_without("extra/keys"), "there is no `extra/keys`"),
    "no speaker": (_without("extra/speaker"), "there is no `extra/speaker`"),
    "fewer labels": (_shorter("labels"), "differ in length.*'labels': 5"),
    "fewer times": (_shorter("spikes/times"), "differ in length.*'spikes/times': 5"),
    "fewer units": (_shorter("spikes/units"), "differ in length.*'spikes/units': 5"),
    "fewer speakers": (_shorter("extra/speaker"), "length.*'extra/speaker': 5"),
    "fewer units in one": (_lists_differ, "example 4 has 12 times but 11 units"),
    "unit": (_event("spikes/units", 700, np.uint16), "0 to 699, but example 3 has 700"),
    "negative unit": (_event("spikes/units", -1, np.int32), "but example 3 has -1"),
    "nan": (_event("spikes/times", np.nan, np.float64), "but example 3 has nan s"),
    "infinite": (_event("spikes/times", np.inf, np.float16), "example 3 has inf s"),
    "too large": (_event("spikes/times", 1e38, np.float64), r"example 3 has 1e\+38 s"),
    "negative": (_event("spikes/times", -0.25, np.float32), "example 3 has -0.25 s"),
    "label": (_with("labels", np.arange(15, 21)), "`labels` .* to 19, found 20 at 5"),
    "negative label": (_with("labels", np.arange(-1, 5)), "found -1 at 0"),
    "broken labels": (
        _with("labels", np.zeros(6)),
        "must hold integers, found float64",
    ),
    "two axes": (_with("labels", np.zeros((6, 1), int)), r"shape \(6, 1\)"),
    "speaker": (_with("extra/speaker", np.full(6, -2)), "`extra/speaker`.*found -2"),
    "few words": (_with("extra/keys", KEYS[:19]), "must hold 20 different words"),
    "same words": (_with("extra/keys", KEYS[[0, *range(19)]]), "20 different words"),
    "no text": (_with("extra/keys", np.arange(20)), "must hold 20 different words"),
    "whole times": (
        _with("spikes/times", [np.zeros(1, int)] * 6),
        "`spikes/times` must hold lists of numbers with a fraction, found lists of int64",
    ),
    "broken units": (
        _with("spikes/units", [np.zeros(1)] * 6),
        "`spikes/units` must hold lists of integers, found lists of float64",
    ),
    "no lists": (
        _with("spikes/units", np.zeros(6, int)),
        "lists of integers, found int64",
    ),
    "nothing": (
        lambda parts: parts.update({name: x[:0] for name, x in parts.items()}),
        "damaged|must hold|there is no example",
    ),
}


def assert_nothing_is_prepared(root):
    assert files_in(root / "prepared") == []
    # Once the file is the right one, it is prepared.
    write_shd(root / "raw" / "shd")
    assert_equal_to_files(load(root), "train")


@pytest.mark.parametrize("change, message", WRONG_PARTS.values(), ids=WRONG_PARTS)
def test_wrong_layout(tmp_path, change, message):
    parts = contents("train")
    if change is WRONG_PARTS["nothing"][0]:
        parts["spikes/times"] = np.zeros(0, h5py.vlen_dtype(np.float16))
        parts["spikes/units"] = np.zeros(0, h5py.vlen_dtype(np.uint16))
        parts["labels"] = parts["labels"][:0]
        parts["extra/speaker"] = parts["extra/speaker"][:0]
    else:
        change(parts)
    write_shd(tmp_path / "raw" / "shd", train=parts)
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path)
    assert "shd_train.h5" in str(caught.value)
    assert_nothing_is_prepared(tmp_path)


def test_a_fault_in_the_last_file_leaves_nothing_of_the_first(tmp_path):
    parts = contents("test", np.float32)
    parts["spikes/times"][1][2] = np.nan
    write_shd(tmp_path / "raw" / "shd", test=parts)
    with pytest.raises(ValueError, match="shd_test.h5.*example 1 has nan s"):
        load(tmp_path)
    assert_nothing_is_prepared(tmp_path)


def test_words_that_differ_between_files(tmp_path):
    parts = {**contents("test"), "extra/keys": KEYS[::-1]}
    write_shd(tmp_path / "raw" / "shd", test=parts)
    with pytest.raises(ValueError, match="not of one set, their words differ"):
        load(tmp_path)
    assert_nothing_is_prepared(tmp_path)


def _gzipped(content):
    return gzip.compress(content, mtime=0)


DAMAGE = {
    "cut": ("shd_train.h5", lambda x: x[: len(x) // 2]),
    "last bytes": ("shd_train.h5", lambda x: x[:-100]),
    "empty": ("shd_train.h5", lambda x: b""),
    "other file": ("shd_train.h5", lambda x: b"<html>not found</html>"),
    "not gzip": ("shd_train.h5.gz", lambda x: x),
    "cut gzip": ("shd_train.h5.gz", lambda x: _gzipped(x)[:-20]),
    "spoilt gzip": (
        "shd_train.h5.gz",
        lambda x: _gzipped(x)[:200] + bytes(50) + _gzipped(x)[250:],
    ),
    "gzip of something": ("shd_train.h5.gz", lambda x: _gzipped(b"something")),
}


@pytest.mark.parametrize("name, damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(tmp_path, name, damage):
    path, _ = write_shd(tmp_path / "raw" / "shd")
    content = path.read_bytes()
    path.unlink()
    (path.parent / name).write_bytes(damage(content))
    with pytest.raises(ValueError, match="is damaged or incomplete") as caught:
        load(tmp_path)
    assert name in str(caught.value)
    (path.parent / name).unlink()
    assert_nothing_is_prepared(tmp_path)


def test_absent_files(tmp_path):
    (tmp_path / "raw" / "shd").mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for text in ("shd_train.h5", "shd_test.h5", "subfolder `shd`", "zenkelab.org"):
        assert text in message
    write_shd(tmp_path / "raw" / "shd")[1].unlink()
    with pytest.raises(FileNotFoundError, match="shd_test.h5") as caught:
        load(tmp_path)
    assert "shd_train" not in str(caught.value)


def test_prepared_from_other_files(tmp_path):
    paths = write_shd(tmp_path / "raw" / "shd")
    load(tmp_path)
    # The same files, packed.
    for path in paths:
        packed = path.with_suffix(".h5.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert_equal_to_files(load(tmp_path), "train")
    # Other ones.
    parts = contents("test")
    parts["spikes/times"][0] = np.zeros(10_000, np.float16)
    parts["spikes/units"][0] = np.zeros(10_000, np.uint16)
    write_shd(tmp_path / "raw" / "shd", test=parts)
    with pytest.raises(ValueError, match="made from another file than .*shd_test.h5"):
        load(tmp_path)
    assert len(load(tmp_path, "test", prepared="other")[0][0]) == 10_000


def test_interrupted_preparing_leaves_nothing(tmp_path, monkeypatch):
    write_shd(tmp_path / "raw" / "shd")
    original = EventjaxShd._generate_examples

    def interrupted(self, file):
        examples = original(self, file)
        yield next(examples)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventjaxShd, "_generate_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path)
    assert_nothing_is_prepared(tmp_path)


def _events_folder(root):
    return root / "prepared" / "eventjax_shd" / "1.0.0" / "events"


def test_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    from eventjax.data import _load_events

    write_shd(tmp_path / "raw" / "shd")

    def interrupted(*args):
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(_load_events, "_read_parts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path)
    assert list(_events_folder(tmp_path).iterdir()) == []
    assert_equal_to_files(load(tmp_path), "train")


def test_two_convert_at_once(tmp_path, monkeypatch):
    from eventjax.data import _load_events

    write_shd(tmp_path / "raw" / "shd")
    original = _load_events._read_parts

    def slower(*args):
        # Another process starts and finishes while this one writes.
        monkeypatch.setattr(_load_events, "_read_parts", original)
        load(tmp_path)
        yield from original(*args)

    monkeypatch.setattr(_load_events, "_read_parts", slower)
    assert_equal_to_files(load(tmp_path), "train")
    assert [x.name for x in _events_folder(tmp_path).iterdir()] == ["train"]


def test_in_small_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("eventjax.data._load_events._EXAMPLES_PER_READ", 2)
    monkeypatch.setattr("eventjax.data._shd_file._EXAMPLES_PER_READ", 4)
    write_shd(tmp_path / "raw" / "shd")
    assert_equal_to_files(load(tmp_path), "train")


def test_damaged_prepared_set(tmp_path):
    write_shd(tmp_path / "raw" / "shd")
    load(tmp_path)
    path = _events_folder(tmp_path) / "train" / "times.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RuntimeError, match="is damaged: .* Delete that folder"):
        load(tmp_path)
    # The records, before they were converted.
    (records,) = _events_folder(tmp_path).parent.glob("*test.array_record*")
    records.write_bytes(records.read_bytes()[:-300])
    with pytest.raises(RuntimeError, match="is damaged"):
        load(tmp_path, "test")
    assert [x.name for x in _events_folder(tmp_path).iterdir()] == ["train"]


class Crickets(tfds.core.GeneratorBasedBuilder):
    """Any builder of these features will do."""

    VERSION = tfds.core.Version("1.0.0")
    SUBFOLDER = None
    FILES = {}

    def _info(self):
        events = {
            "time": tfds.features.Tensor(
                shape=(None,), dtype=np.float32, encoding="bytes"
            ),
            "unit": tfds.features.Tensor(
                shape=(None,), dtype=np.uint16, encoding="bytes"
            ),
        }
        features = {
            "events": tfds.features.FeaturesDict(events),
            "label": tfds.features.ClassLabel(names=["chirp", "trill"]),
            "speaker": tfds.features.Scalar(dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(5):
            events = {
                "time": np.arange(i, dtype=np.float32),
                "unit": np.full(i, 800 if i == self.WRONG else i, np.uint16),
            }
            yield i, {"events": events, "label": i % 2, "speaker": i}


@pytest.mark.parametrize("wrong", [None, 3])
def test_any_builder_of_these_features(tmp_path, monkeypatch, wrong):
    Crickets.WRONG = wrong
    monkeypatch.setattr("eventjax.data._load.import_builder", lambda name: Crickets)
    if wrong is not None:
        with pytest.raises(ValueError, match="Units must be from 0 to 699"):
            load(tmp_path, name="spoken_digits")
        return
    events = load(tmp_path, name="spoken_digits")
    assert events.label_names == ("chirp", "trill")
    assert events.counts.tolist() == [0, 1, 2, 3, 4]
    assert events.speaker.tolist() == [0, 1, 2, 3, 4]


def test_names():
    assert (EventjaxShd.name, EventjaxSsc.name) == ("eventjax_shd", "eventjax_ssc")
    with pytest.raises(ValueError, match=r"use `eventjax.data.load_events\('shd'\)`"):
        data.load("shd")
    with pytest.raises(ValueError, match="'shd', 'spoken_digits', 'ssc'.*data.load`"):
        data.load_events("mnist")


def test_missing_extra(monkeypatch, tmp_path):
    import sys

    for module in ("_shd_builder", "_shd_file", "_hdf5_file"):
        monkeypatch.delitem(sys.modules, f"eventjax.data.{module}")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"h5py.*pip install 'eventjax\[data\]'"):
        load(tmp_path)


def _binned(events):
    """Counts in 70 x 6 boxes, each example of length 1."""
    out = np.zeros((len(events), 70 * 6))
    for row, (times, units) in zip(out, events):
        boxes = units.astype(int) // 10 * 6 + np.minimum(times // 120, 5).astype(int)
        np.add.at(row, boxes, 1)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def test_made_up_files_go_the_whole_way(tmp_path):
    paths = data.write_example_shd(tmp_path / "raw", examples_per_class=3, speakers=3)
    assert [x.name for x in paths] == ["shd_train.h5", "shd_test.h5"]
    with h5py.File(paths[0]) as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.class_counts.tolist() == test.class_counts.tolist() == [3] * 20
    assert train.speakers == [0, 1, 2]
    assert train.label_names[0] == "made-up 0"
    rest, held_out = train.leave_one_out(1)
    assert (len(rest), len(held_out)) == (40, 20)
    # The classes can be learned, from one speaker to another, too.
    for known, asked in ((train, test), (rest, held_out)):
        nearest = np.argmax(_binned(asked) @ _binned(known).T, axis=1)
        assert np.mean(known.label[nearest] == asked.label) > 0.8
    augment = (data.ShiftChannels(40), data.Blend((0.5, 0.5)))
    batches = data.EventBatches(
        train, 16, t1=500.0, seed=0, drop_last=True, augment=augment
    )
    assert len(list(batches.epoch(0))) == 7


def test_made_up_files(tmp_path):
    paths = data.write_example_shd(tmp_path / "raw", "ssc", events=20)
    assert len(load(tmp_path, "train+validation+test", name="ssc")) == 210
    first = [path.read_bytes() for path in paths]
    # Never over what is there.
    with pytest.raises(FileExistsError, match="ssc_train.h5` is there already"):
        data.write_example_shd(tmp_path / "raw", "ssc")
    assert [path.read_bytes() for path in paths] == first
    with pytest.raises(ValueError, match="'shd' or 'ssc', got 'nmnist'"):
        data.write_example_shd(tmp_path, "nmnist")
    with pytest.raises(ValueError, match="`speakers` must be positive, got 0"):
        data.write_example_shd(tmp_path, speakers=0)


REAL_ROOT = os.environ.get("EVENTJAX_DATA_DIR")


@pytest.mark.slow
@pytest.mark.skipif(
    REAL_ROOT is None or not (Path(REAL_ROOT) / "shd").is_dir(),
    reason="EVENTJAX_DATA_DIR has no folder shd",
)
def test_real_shd(tmp_path):
    for split in ("train", "test"):
        events = data.load_events(
            "shd", split, data_dir=REAL_ROOT, prepared_dir=tmp_path
        )
        assert len(events) > 2000
        assert 5000 < events.counts.mean() < 12_000
