"""Data files with bytes changed, cut off, doubled and zeroed: what a reader gives is what
is in the intact file or can be there, or else it is an error that names the file."""

import contextlib
import dataclasses
import gzip
import importlib.util
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, HealthCheck, settings, strategies as st


for _package in ("tensorflow_datasets", "h5py", "soundfile", "PIL"):
    pytest.importorskip(_package, reason="needs the extra eventjax[data]")

import h5py
from PIL import Image

import eventjax.data as data
from eventjax.data._alignment_file import read_alignments
from eventjax.data._audio_file import read_audio
from eventjax.data._cifar_file import parse_names, parse_pictures
from eventjax.data._cifar_jpeg_builder import _decode
from eventjax.data._example_timit import phone_lines, riff_bytes, sphere_bytes
from eventjax.data._flac_file import flac_bytes
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
    `exact` is for files whose checksums cover all of it."""

    name: str
    intact: bytes
    read: Callable[[Path], Any]
    right: Callable[[Any], bool] = lambda found: True
    exact: bool = False


def _parsed(parse: Callable, *rest: Any) -> Callable[[Path], Any]:
    return lambda path: parse(path.read_bytes(), *rest, f"`{path}`")


def _as_list(found: Any) -> list:
    """Nested results as a flat list of arrays and other values."""
    if isinstance(found, dict):
        return [y for key in sorted(found, key=str) for y in [key, *_as_list(found[key])]]
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
    return np.column_stack([*columns, time >> 8 & 255, time & 255]).astype("u1").tobytes()


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
    return phone_lines(PhoneSegments(starts, ends, np.array([27, 3, 9, 27], np.int32))).encode()


def _right_phones(found: PhoneSegments) -> bool:
    edges = np.stack([found.start, found.end], axis=1).reshape(-1)
    known = (found.phone >= 0) & (found.phone < len(data.PHONES))
    return (np.diff(edges) >= 0).all() and edges[-1] <= 60 and known.all()


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
                drawn = rng.uniform(0, 1, size) if name == "times" else rng.integers(0, 700, size)
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
        Reader("ali.1.txt.gz", gzip.compress(ALIGNED), _alignments("ali.1.txt.gz"), exact=True),
        Reader("103-1240.trans.txt", words, _transcript),
        Reader("batch.bin", 2 * record, pictures, _right_pictures),
        Reader("names.txt", b"one\ntwo\nthree\n", names, lambda x: len(set(x)) == 3),
        Reader("x.jpg", _jpeg(), _parsed(_decode), lambda x: x.shape == (3, 32, 32)),
        Reader("tar.gz", _tar("gz", folder), tar, exact=True),
        Reader("tar.xz", _tar("xz", folder), tar, exact=True),
        Reader("Train.zip", _zip(zipfile.ZIP_DEFLATED), _read_zip),
        Reader("shd.h5", h5, _read_shd, _right_shd),
        Reader("shd.h5.gz", gzip.compress(h5), _read_shd, exact=True),
    ]
