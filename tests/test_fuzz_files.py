"""Data files with bytes changed, cut off, doubled and zeroed: what a reader gives is what
is in the intact file or can be there, or else it is an error that names the file."""

import contextlib
import dataclasses
import gzip
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import given, strategies as st


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")
pytest.importorskip("h5py", reason="needs the extra eventjax[data]")
pytest.importorskip("soundfile", reason="needs the extra eventjax[data]")
pytest.importorskip("PIL", reason="needs the extra eventjax[data]")

import h5py
from PIL import Image

import eventjax.data as data
from eventjax.data._alignment_file import read_alignments
from eventjax.data._audio_file import read_audio
from eventjax.data._cifar_file import parse_names, parse_pictures
from eventjax.data._cifar_jpeg_builder import _decode
from eventjax.data._example_timit import phone_lines, riff_bytes, sphere_bytes
from eventjax.data._flac_file import flac_bytes
from eventjax.data._hdf5_file import Hdf5File
from eventjax.data._idx import parse_idx
from eventjax.data._librispeech_files import find_readings
from eventjax.data._phone_file import parse_phones, PhoneSegments
from eventjax.data._recordings import find_recordings
from eventjax.data._shd_file import open_shd_file, ShdFile
from eventjax.data._tar_archive import read_archive, write_made_up


RATE = 16000
SAMPLES = np.random.default_rng(0).integers(-3000, 3000, 60).astype(np.int16)


@dataclasses.dataclass(frozen=True)
class Reader:
    """`read` gives arrays, numbers and names of a file; `right` says whether they can be.
    `exact` is for files whose checksums cover all of it. The slow set reads it damaged in
    `many` ways."""

    name: str
    intact: bytes
    read: Callable[[Path], Any]
    right: Callable[[Any], bool] = lambda found: True
    exact: bool = False
    many: int = 5000


def _parsed(parse: Callable, *rest: Any) -> Callable[[Path], Any]:
    return lambda path: parse(path.read_bytes(), *rest, f"`{path}`")


def _as_list(found: Any) -> list:
    """Nested results as a flat list of arrays and other values."""
    if isinstance(found, dict):
        return [
            y for key in sorted(found, key=str) for y in [key, *_as_list(found[key])]
        ]
    if isinstance(found, (tuple, list, set)):
        found = sorted(found) if isinstance(found, set) else found
        return [y for x in found for y in _as_list(x)]
    return [found]


def same(one: Any, two: Any) -> bool:
    one, two = _as_list(one), _as_list(two)
    return len(one) == len(two) and all(
        np.shape(x) == np.shape(y) and bool(np.all(x == y)) for x, y in zip(one, two)
    )


# What each reader is given


def _camera(parse: Callable, content: bytes, name: str, size: int) -> Reader:
    def right(events):
        places = np.stack([events.x, events.y])
        return (
            len(events.times) > 0
            and np.isfinite(events.times).all()
            and (np.diff(events.times) >= 0).all()
            and ((places >= 0) & (places < size)).all()
            and np.isin(events.polarity, (0, 1)).all()
        )

    return Reader(name, content, parse, right)


def _nmnist() -> bytes:
    rng = np.random.default_rng(1)
    time = np.sort(rng.integers(0, 1 << 20, 12))
    high = time >> 16 | rng.integers(0, 2, 12) << 7
    columns = rng.integers(0, 34, 12), rng.integers(0, 34, 12), high
    return (
        np.column_stack([*columns, time >> 8 & 255, time & 255]).astype("u1").tobytes()
    )


def _aedat() -> bytes:
    rng = np.random.default_rng(2)
    # Among the times there are bytes that end a line of text.
    time = np.array([3, 10, 266, 300, 522, 700, 2570, 3000, 65546])
    words = np.column_stack([rng.integers(0, 1 << 15, len(time)), time])
    lines = b"#!AER-DAT2.0\r\n# Made up.\r\n"
    return lines + words.astype(">u4").tobytes()


def _idx(shape: tuple[int, ...]) -> bytes:
    head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    return head + np.arange(np.prod(shape)).astype("u1").tobytes()


def _packed_idx(path: Path) -> np.ndarray:
    """Damage before packing, which checksums do not show."""
    return parse_idx(gzip.compress(path.read_bytes(), 0), str(path), 3)


def _phones() -> bytes:
    ends = np.array([10, 25, 40, 55], np.int32)
    starts = np.append(np.int32(0), ends[:-1])
    return phone_lines(
        PhoneSegments(starts, ends, np.array([27, 3, 9, 27], np.int32))
    ).encode()


def _right_phones(found: PhoneSegments) -> bool:
    edges = np.stack([found.start, found.end], axis=1).reshape(-1)
    known = (found.phone >= 0) & (found.phone < len(data.PHONES))
    return bool((np.diff(edges) >= 0).all() and edges[-1] <= 60 and known.all())


ALIGNED = b"103-1240-0000 0 0 3 3 12 \n103-1240-0001 5 5 5 0\n"


def _alignments(name: str) -> Callable[[Path], Any]:
    def read(path):
        file = (path.with_name(name), f"`{path}`", path.read_bytes)
        found, left_out = read_alignments([file], f"`{path}`")
        return {key: x.labels for key, x in found.items()}, left_out

    return read


def _transcript(path: Path) -> Any:
    place = Path("dev/103/1240")
    audio = [
        (place / f"103-1240-000{k}.flac", f"`recording {k}` of `{path}`", lambda: b"")
        for k in range(2)
    ]
    text = (place / "103-1240.trans.txt", f"`{path}`", path.read_bytes)
    return [(x.name, x.text) for x in find_readings([*audio, text], f"`{path}`")]


def _jpeg() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=30)
    return file.getvalue()


def _tar(kind: str, folder: Path) -> bytes:
    path = folder / f"made.{kind}"
    write_made_up(path, kind, {f"a/{k}.bin": bytes(range(40 + k)) for k in range(3)})
    return path.read_bytes()


def _read_zip(path: Path) -> Any:
    with contextlib.ExitStack() as stack:
        found = find_recordings(path, ".bin", stack)
        return [(x.folder, x.number, x.read()) for x in found]


def _zip(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for k in range(3):
            archive.writestr(f"Train/{k}/{k:05}.bin", bytes([k]) * 60)
    return file.getvalue()


def _shd(folder: Path) -> bytes:
    path = folder / "made.h5"
    rng = np.random.default_rng(4)
    with h5py.File(path, "w") as file:
        for name, dtype in (("times", np.float16), ("units", np.uint16)):
            part = file.create_dataset(f"spikes/{name}", 3, h5py.vlen_dtype(dtype))
            for k, size in enumerate((4, 0, 7)):
                drawn = (
                    rng.uniform(0, 1, size)
                    if name == "times"
                    else rng.integers(0, 700, size)
                )
                part[k] = drawn.astype(dtype)
        file["labels"] = np.array([1, 0, 1], np.uint16)
        file["extra/keys"] = np.array([b"one", b"two"])
        file["extra/speaker"] = np.array([4, 5, 5], np.uint16)
    return path.read_bytes()


def _read_shd(path: Path) -> Any:
    with contextlib.ExitStack() as stack:
        file = ShdFile(open_shd_file(path, stack), path, 2, True)
        return list(file.examples()), file.label, file.speaker, file.label_names


def _right_shd(found: Any) -> bool:
    examples, label, speaker, names = found
    return (
        len(examples) == len(label) == len(speaker)
        and all(np.isfinite(t).all() and (np.diff(t) >= 0).all() for t, _ in examples)
        and all((t >= 0).all() and len(t) == len(u) for t, u in examples)
        and all((u < 700).all() for _, u in examples)
        and ((label >= 0) & (label < 2)).all()
        and len(set(names)) == 2
    )


def _right_pictures(found: Any) -> bool:
    images, labels = found
    return images.shape[1:] == (3, 32, 32) and (labels < 10).all()


def _make_readers(folder: Path) -> list[Reader]:
    audio = _parsed(read_audio, RATE)
    samples = lambda x: x.dtype == np.int16 and x.shape == SAMPLES.shape
    h5 = _shd(folder)
    pictures = _parsed(lambda content, where: parse_pictures(content, where, (10,)))
    record = bytes([3]) + bytes(3072)
    names = lambda path: parse_names(path.read_bytes(), f"`{path}`", 3)
    words = b"103-1240-0000 CHAPTER ONE\n103-1240-0001 IT WAS \xc3\x89T\xc3\x89\n"
    idx = lambda path: parse_idx(path.read_bytes(), str(path), 3)
    tar = lambda path: read_archive(path, "0" * 64)
    return [
        _camera(data.read_nmnist, _nmnist(), "nmnist.bin", 34),
        _camera(data.read_aedat2, _aedat(), "camera.aedat", 128),
        Reader("idx.gz", gzip.compress(_idx((2, 3, 4))), idx, exact=True),
        Reader("idx", _idx((2, 3, 4)), _packed_idx, lambda x: x.ndim == 3),
        Reader("sphere.wav", sphere_bytes(SAMPLES), audio, samples),
        Reader("riff.wav", riff_bytes(SAMPLES), audio, samples),
        Reader("audio.flac", flac_bytes(SAMPLES, RATE), audio, exact=True),
        Reader("x.phn", _phones(), _parsed(parse_phones, 60), _right_phones),
        Reader("ali.1.txt", ALIGNED, _alignments("ali.1.txt")),
        Reader(
            "ali.1.txt.gz",
            gzip.compress(ALIGNED),
            _alignments("ali.1.txt.gz"),
            exact=True,
        ),
        Reader("103-1240.trans.txt", words, _transcript),
        Reader("batch.bin", 2 * record, pictures, _right_pictures),
        Reader("names.txt", b"one\ntwo\nthree\n", names, lambda x: len(set(x)) == 3),
        Reader("x.jpg", _jpeg(), _parsed(_decode), lambda x: x.shape == (3, 32, 32)),
        Reader("tar.gz", _tar("gz", folder), tar, exact=True),
        Reader("tar.xz", _tar("xz", folder), tar, exact=True),
        Reader("Train.zip", _zip(zipfile.ZIP_DEFLATED), _read_zip),
        Reader("shd.h5", h5, _read_shd, _right_shd, many=2000),  # a process each time
        Reader("shd.h5.gz", gzip.compress(h5), _read_shd, exact=True, many=1000),
    ]


with tempfile.TemporaryDirectory() as _folder:
    READERS = {x.name: x for x in _make_readers(Path(_folder))}


# Damage


@dataclasses.dataclass(frozen=True)
class Damage:
    """One change at a place from 0 to 1 of what is there."""

    kind: str
    place: float
    number: int

    def __call__(self, content: bytes) -> bytes:
        out = bytearray(content)
        k = min(int(self.place * len(out)), len(out) - 1)
        if k < 0:
            return content
        if self.kind == "cut":
            return content[:k]
        if self.kind == "flip":
            out[k] ^= 1 << self.number % 8
        elif self.kind == "byte":
            out[k] = self.number
        elif self.kind == "insert":
            out[k:k] = bytes([self.number])
        elif self.kind == "double":
            out[k:k] = out[k : k + 1 + self.number % 8]
        else:
            size = len(out[k : k + 1 + self.number % 8])
            out[k : k + size] = bytes(size)
        return bytes(out)


KINDS = ("flip", "byte", "cut", "insert", "double", "zeros")
damages = st.lists(
    st.builds(
        Damage,
        st.sampled_from(KINDS),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=3,
)


def damaged_all(content: bytes, changes: list[Damage]) -> bytes:
    for change in changes:
        content = change(content)
    return content


def right_or_named(read: Callable, right: Callable, names: str, errors: tuple) -> Any:
    """What is read, which must be right, or `None` if there is an error that says where."""
    try:
        found = read()
    except errors as error:
        assert type(error) in errors and names in str(error), repr(error)
        return None
    assert right(found), found
    return found


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Each reader and the place of its file."""
    folder = tmp_path_factory.mktemp("files")
    return {name: (x, folder / f"damaged-{name}") for name, x in READERS.items()}


def check_reader(reader: Reader, path: Path, changes: list[Damage]) -> None:
    path.write_bytes(reader.intact)
    intact = reader.read(path)
    path.write_bytes(damaged_all(reader.intact, changes))
    found = right_or_named(
        lambda: reader.read(path), reader.right, str(path), (ValueError,)
    )
    assert found is None or not reader.exact or same(found, intact)


@pytest.mark.parametrize("name", READERS)
def test_intact_files_are_read(readers, name):
    reader, path = readers[name]
    path.write_bytes(reader.intact)
    assert reader.right(reader.read(path))


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_right_or_named(readers, name):
    @fuzzed(25)
    @given(damages)
    def run(changes):
        reader, path = readers[name]
        check_reader(reader, path, changes)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files_are_right_or_named(readers, name):
    reader, path = readers[name]

    @fuzzed(reader.many, anew=True)
    @given(damages)
    def run(changes):
        check_reader(reader, path, changes)

    run()


# Prepared sets


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of prepared sets, that of one of them, and what is in it."""
    raw, made = (tmp_path_factory.mktemp(name) for name in ("raw", "prepared"))
    data.write_example_shd(raw, examples_per_class=1, events=4)
    events = data.load_events("shd", data_dir=raw, prepared_dir=made)
    (info,) = made.rglob("dataset_info.json")
    return made, info.parent, _contents(events)


def _contents(events: data.EventSet) -> Any:
    return list(events), events.label, events.speaker, events.label_names


def _right_set(found: Any) -> bool:
    examples, label, speaker, names = found
    return (
        len(examples) == len(label) == len(speaker) == len(set(names)) == 20
        and all(np.isfinite(t).all() and (np.diff(t) >= 0).all() for t, _ in examples)
        and all((t >= 0).all() and len(t) == len(u) for t, u in examples)
        and all((u < 700).all() for _, u in examples)
        and ((label >= 0) & (label < 20)).all()
    )


STORED = [
    "dataset_info.json",
    "metadata.json",
    "eventjax_shd-train.array_record-00000-of-00001",
    "events/train/meta.json",
    "events/train/label.npy",
    "events/train/offsets.npy",
    "events/train/times.npy",
    "events/train/units.npy",
]


def check_prepared(prepared, name: str, mmap: bool, changes: list[Damage]) -> None:
    made, folder, intact = prepared
    path, store = folder / name, folder / "events" / "train"
    whole = path.read_bytes()
    # Blocks of records are filled up with zeros, which nobody reads.
    used = 4096 if "record" in name else len(whole)
    backup = folder.with_name("backup")
    if not name.startswith("events"):
        store.rename(backup)  # so that it must be made of the records once more

    def read():
        if mmap:
            return _contents(data.load_events("shd", prepared_dir=made))
        return _contents(data.EventSet.open(store, mmap=False))

    try:
        path.write_bytes(damaged_all(whole[:used], changes) + whole[used:])
        errors = (RuntimeError, ValueError)
        found = right_or_named(read, _right_set, str(folder), errors)
        assert found is None or "record" not in name or same(found, intact)
    finally:
        path.write_bytes(whole)
        if backup.exists():
            shutil.rmtree(store, ignore_errors=True)
            backup.rename(store)


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required")
@pytest.mark.parametrize("name", STORED)
def test_damaged_sets_are_right_or_named(prepared, name):
    @fuzzed(15)
    @given(damages)
    def run(changes):
        check_prepared(prepared, name, True, changes)

    run()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required")
@pytest.mark.parametrize("name", STORED)
def test_many_damaged_sets_are_right_or_named(prepared, name):
    @fuzzed(1000, anew=True)
    @given(damages, st.booleans())
    def run(changes, mmap):
        check_prepared(prepared, name, mmap or not name.startswith("events"), changes)

    run()


# What was found


def named(readers, name: str, content: bytes, message: str) -> None:
    """An error of the reader about this content says where and what."""
    reader, path = readers[name]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as found:
        reader.read(path)
    assert str(path) in str(found.value)


def test_heap_without_end_is_refused(readers):
    """The HDF5 library would go round in it for ever."""
    content = readers["shd.h5"][0].intact
    start = content.index(b"GCOL") + 16
    endless = content[:start] + bytes(16) + content[start + 16 :]
    named(readers, "shd.h5", endless, "the heap at byte .* has no end")


@pytest.mark.parametrize(
    "before, after, message",
    [
        # Where the parts of a float16 are, and its bias
        (b"\x0a\x05\x00\x0a\x0f\x00", b"\x0a\x05\x00\x0a\xff\x7f", "precision"),
        # Text of three bytes, and its encoding
        (b"\x13\x01\x00\x00\x03\x00", b"\x13\x21\x00\x00\x03\x00", "encoding"),
    ],
)
def test_types_that_cannot_be(readers, before, after, message):
    """h5py says so without the name of the file, one as a `TypeError`."""
    content = readers["shd.h5"][0].intact
    assert before in content
    named(readers, "shd.h5", content.replace(before, after), message)


def test_what_the_library_crashes_on_is_an_error(readers):
    """Lists of a kind that is not there: HDF5 2.0.0 goes down, and only its process."""
    content = readers["shd.h5"][0].intact
    lists = b"\x19\x00\x00\x00\x10\x00\x00\x00"
    assert lists in content
    damaged = content.replace(lists, lists[:1] + b"\xda" + lists[2:])
    named(readers, "shd.h5", damaged, "damaged or incomplete")


def test_a_process_that_is_gone_says_so(readers):
    reader, path = readers["shd.h5"]
    path.write_bytes(reader.intact)
    with Hdf5File(path) as file:
        assert file.read("labels").tolist() == [1, 0, 1]
        file._process.kill()
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"went down \(SIGKILL\)"):
                file.read("labels")


def test_fewer_samples_than_the_file_has_room_for(readers):
    content = readers["riff.wav"][0].intact
    place = content.index(b"data") + 4
    shorter = content[:place] + (40).to_bytes(4, "little") + content[place + 4 :]
    named(readers, "riff.wav", shorter, "its chunks end at byte")


def test_chunk_beyond_the_end(readers):
    """`wave` raises a `RuntimeError` without a word."""
    content = readers["riff.wav"][0].intact
    broken = content[:16] + b"\xff\xff\xff\x7f" + content[20:]
    named(readers, "riff.wav", broken, "not a complete wav file")


def test_absurd_number_of_samples(readers):
    """36 bits hold it, and memory for so many is not asked for."""
    content = bytearray(readers["audio.flac"][0].intact)
    content[21] |= 0x0F
    named(readers, "audio.flac", bytes(content), "header gives|not a complete FLAC")


def test_archive_that_ends_at_a_damaged_header(readers):
    reader, _ = readers["tar.gz"]
    content = bytearray(gzip.decompress(reader.intact))
    content[512 * 4 + 150] ^= 1  # the checksum of the third header
    named(readers, "tar.gz", gzip.compress(bytes(content)), "something behind its end")


@pytest.mark.parametrize("place", ["listing", "header", "empty name"])
def test_zip_with_a_damaged_name(readers, place):
    """A file that is named otherwise in one place would be left alone as one of others."""
    content = bytearray(readers["Train.zip"][0].intact)
    name = b"Train/1/00001.bin"
    k = content.rindex(name) if place != "header" else content.index(name)
    if place == "empty name":
        content[k] = 0
        named(readers, "Train.zip", bytes(content), "damaged or incomplete")
    else:
        content[k + len(name) - 1] ^= 1
        named(readers, "Train.zip", bytes(content), "and header .* differ")


def test_names_that_are_no_text(readers):
    named(readers, "names.txt", b"one\ntw\xff\nthree\n", "is no text")


def test_header_that_swallows_events(readers):
    """Without its end the last line would reach to a byte of an event that is like one."""
    content = readers["camera.aedat"][0].intact
    broken = content.replace(b"up.\r\n", b"up.\r\r")
    named(readers, "camera.aedat", broken, "or a line of that has no end")


def test_picture_of_an_absurd_size(readers):
    content = readers["x.jpg"][0].intact
    place = content.index(b"\xff\xc0") + 5
    broken = content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :]
    named(readers, "x.jpg", broken, "not a complete JPEG file")


def test_damaged_names_of_files_in_a_set(tmp_path):
    """tensorflow-datasets raises an `IndexError` for a field of a name without a name."""
    raw, made = tmp_path / "raw", tmp_path / "made"
    data.write_example_shd(raw, examples_per_class=1, events=4)
    data.load_events("shd", data_dir=raw, prepared_dir=made)
    (path,) = made.rglob("dataset_info.json")
    text = path.read_text()
    assert "{SHARD_X_OF_Y}" in text
    path.write_text(text.replace("{SHARD_X_OF_Y}", "{}"))
    with pytest.raises(RuntimeError, match="is damaged: Replacement index 0"):
        data.load_events("shd", prepared_dir=made)


@pytest.mark.parametrize(
    "change",
    [
        {"num_unitr": 700},
        {"num_units": "700"},
        {"num_units": 700.0},
        {"label_names": 3},
        {"label_names": list(range(20))},
    ],
)
def test_damaged_meta_of_a_store(tmp_path, change):
    events = data.EventSet(
        np.zeros(2, np.float32),
        np.zeros(2, np.uint16),
        np.array([0, 1, 2]),
        np.zeros(2, int),
        np.zeros(2, int),
        num_units=3,
        num_classes=20,
    )
    events.save(tmp_path / "set")
    meta = json.loads((tmp_path / "set" / "meta.json").read_text())
    (tmp_path / "set" / "meta.json").write_text(json.dumps({**meta, **change}))
    with pytest.raises(
        RuntimeError, match="set` is damaged: meta.json holds|must hold"
    ):
        data.EventSet.open(tmp_path / "set")


@pytest.mark.parametrize("value, message", [(np.nan, "finite"), (0.5, "ascend")])
def test_damaged_events_are_found_when_they_are_asked_for(tmp_path, value, message):
    times = np.array([0, 1, 2, 3], np.float32)
    events = data.EventSet(
        times,
        np.zeros(4, np.uint16),
        np.array([0, 2, 4]),
        np.zeros(2, int),
        np.zeros(2, int),
        num_units=3,
        num_classes=1,
    )
    events.save(tmp_path / "set")
    path = tmp_path / "set" / "times.npy"
    times[3] = value
    path.write_bytes(path.read_bytes()[: -times.nbytes] + times.tobytes())
    mapped = data.EventSet.open(tmp_path / "set")
    assert len(mapped[0][0]) == 2
    with pytest.raises(RuntimeError, match=f"set` is damaged.*{message}.*example 1"):
        mapped[1]
    batches = data.EventBatches(mapped, 2, t1=9.0, seed=None, drop_last=False)
    with pytest.raises(RuntimeError, match="set` is damaged"):
        list(batches.epoch(0))


def test_set_that_says_it_has_fewer_examples(prepared):
    made, folder, _ = prepared
    path = folder / "dataset_info.json"
    whole = path.read_text()
    try:
        path.write_text(whole.replace('"20"', '"10"', 1))
        with pytest.raises(RuntimeError, match="'train' has 20 examples, not 10"):
            data.load_events("shd", prepared_dir=made)
    finally:
        path.write_text(whole)
