"""Spoken digits: what is made of good archives, and what is said about bad ones."""

import hashlib
import io
import lzma
import os
import tarfile
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")

from eventjax.data._prepare import prepare
from eventjax.data._spoken_digits_builder import EventjaxSpokenDigits
from eventjax.encoders import InnerEar


def _real_root():
    root = os.environ.get("EVENTJAX_DATA_DIR")
    return Path(root) if root and (Path(root) / "fsdd").is_dir() else None


REAL_ROOT = _real_root()
FIRST, SECOND = EventjaxSpokenDigits.FILES["recordings"].values()
SPEAKERS = ("anna", "ben")
# Quick to hear with, and not the default.
QUICK_EAR = InnerEar(20)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def samples(digit, speaker, repetition):
    """A tone whose pitch, length and noise tell recordings apart."""
    rng = np.random.default_rng([digit, len(speaker), repetition])
    t = np.arange(400 + 40 * repetition) / 8000
    tone = np.sin(2 * np.pi * 150 * (digit + 1) * t) + 0.1 * rng.normal(size=len(t))
    return (3000 * tone).astype("<i2")


def wav(audio, rate=8000, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, audio.dtype.itemsize, rate, 0, "NONE", ""))
        writer.writeframes(audio.tobytes())
    return file.getvalue()


RECORDINGS = {
    f"{digit}_{speaker}_{repetition}.wav": samples(digit, speaker, repetition)
    for digit in range(10)
    for speaker in SPEAKERS
    for repetition in range(3)
}


def archive(kind, files):
    content = io.BytesIO()
    mode: Any = f"w:{kind}"
    with tarfile.open(fileobj=content, mode=mode) as tar:
        for name, data in {
            "README.md": b"",
            "recordings/notes.txt": b"",
            **files,
        }.items():
            member = tarfile.TarInfo(f"fsdd-1/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write_small(root, replaced=None, *, absent=(), packed=None):
    """Write small archives to `root`/fsdd; return a builder for them.

    `replaced` holds the content of files that are not as they should be, `packed` whole
    archives; their checksums are taken for the right ones.
    """
    files = {name: wav(audio) for name, audio in RECORDINGS.items()} | (replaced or {})
    parts = {"gz": {}, "xz": {}}
    for name, content in files.items():
        if name not in absent:
            kind = "xz" if "ben" in name else "gz"
            parts[kind][f"recordings/{name}"] = content
    contents = {
        FIRST: archive("gz", parts["gz"]),
        SECOND: archive("xz", parts["xz"]),
        **(packed or {}),
    }
    folder = root / "fsdd"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)

    class SmallDigits(EventjaxSpokenDigits, skip_registration=True):
        SHA256 = {name: hashlib.sha256(x).hexdigest() for name, x in contents.items()}
        SPEAKERS = ("anna", "ben")
        EAR = QUICK_EAR
        TEST_REPETITIONS = range(0, 1)
        TRAIN_REPETITIONS = range(1, 3)

    return SmallDigits


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_small_archives(tmp_path, capsys):
    small = write_small(tmp_path / "raw")
    before = files(tmp_path / "raw")
    builder = prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert files(tmp_path / "raw") == before

    for split, repetitions in (("test", [0]), ("train", [1, 2])):
        source = builder.as_data_source(split)
        assert len(source) == 20 * len(repetitions)
        order = [(d, s, r) for r in repetitions for d in range(10) for s in SPEAKERS]
        for example, (digit, speaker, repetition) in zip(source, order):
            assert set(example) == {"events", "label", "speaker"}
            assert example["label"] == digit
            assert example["speaker"] == SPEAKERS.index(speaker)
            times, units = QUICK_EAR(samples(digit, speaker, repetition), 8000)
            assert len(times) > 3
            events = example["events"]
            assert events["time"].dtype == np.float32
            assert events["unit"].dtype == np.uint16
            np.testing.assert_array_equal(events["time"], times.astype(np.float32))
            np.testing.assert_array_equal(events["unit"], units)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Generating" in printed.err  # progress


def test_defaults_are_those_of_the_data_set():
    # What the version stands for: raise it when this changes.
    assert EventjaxSpokenDigits.VERSION == "1.0.0"
    assert EventjaxSpokenDigits.EAR == InnerEar(
        700,
        80.0,
        3600.0,
        emphasis=0.5,
        compression=0.4,
        adaptation=0.4,
        tau_adapt=20.0,
        gain=7.5,
        tau_mem=20.0,
    )


def test_absent_archives(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        prepare(EventjaxSpokenDigits, tmp_path / "prepared", tmp_path)
    for name, sha256 in EventjaxSpokenDigits.SHA256.items():
        assert f"{name}  sha256 {sha256}" in str(caught.value)
    assert "tag v1.0.9" in str(caught.value)


GOOD = wav(RECORDINGS["3_ben_1.wav"])
WRONG_RECORDINGS = {
    "not wav": (b"RIFFplain", "not a complete wav file"),
    "empty": (b"", "not a complete wav file"),
    "cut": (GOOD[:-100], "its header gives 440 samples, found 390"),
    "no sample": (wav(np.zeros(0, "<i2")), "header gives 0 samples"),
    "other rate": (
        wav(RECORDINGS["3_ben_1.wav"], 16000),
        "found 1 of 16 bits at 16000",
    ),
    "stereo": (wav(RECORDINGS["3_ben_1.wav"], 8000, 2), "found 2 of 16 bits at 8000"),
    "bytes": (wav(np.full(90, 128, np.uint8)), "found 1 of 8 bits at 8000"),
}


@pytest.mark.parametrize(
    "content, message", WRONG_RECORDINGS.values(), ids=WRONG_RECORDINGS
)
def test_damaged_recording(tmp_path, content, message):
    small = write_small(tmp_path / "raw", {"3_ben_1.wav": content})
    with pytest.raises(ValueError, match=f"`3_ben_1.wav` in .*{SECOND}.*{message}"):
        prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert files(tmp_path / "prepared") == []


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            dict(absent={"0_anna_0.wav"}),
            r"60 recordings, found 59: 1 \(0_anna_0.wav\) are",
        ),
        (
            dict(replaced={"0_anna_3.wav": GOOD}),
            r"found 61: none are absent, 1 \(0_anna_3",
        ),
        (dict(replaced={"x.wav": GOOD}), r"1 \(x.wav\) do not belong"),
        (
            dict(absent={f"7_anna_{r}.wav" for r in range(3)} | {"8_ben_0.wav"}),
            r"4 \(7_anna_0.wav, 7_anna_1.wav, 7_anna_2.wav, ...\) are absent",
        ),
        (
            dict(packed={FIRST: archive("xz", {"recordings/3_ben_1.wav": GOOD})}),
            f"`3_ben_1.wav` in `.*{SECOND}` is there for the second time",
        ),
        (dict(packed={FIRST: b"plain"}), f"{FIRST}` is not a complete tar archive"),
        (
            dict(packed={SECOND: lzma.compress(b"tar" * 999)}),
            f"{SECOND}` is not a comp",
        ),
    ],
)
def test_wrong_archives(tmp_path, changed, message):
    small = write_small(tmp_path / "raw", **changed)
    with pytest.raises(ValueError, match=message):
        prepare(small, tmp_path / "prepared", tmp_path / "raw")
    assert files(tmp_path / "prepared") == []


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_cut_archive(tmp_path, kind):
    files_in = {f"recordings/{name}": wav(x) for name, x in RECORDINGS.items()}
    cut = archive(kind, files_in)[:20000]
    small = write_small(tmp_path / "raw", packed={FIRST: cut})
    with pytest.raises(ValueError, match=f"{FIRST}` is not a complete tar archive"):
        prepare(small, tmp_path / "prepared", tmp_path / "raw")


def test_other_checksum(tmp_path):
    write_small(tmp_path / "raw")
    with pytest.raises(ValueError, match="expected sha256 8bc44cde.*, found"):
        prepare(EventjaxSpokenDigits, tmp_path / "prepared", tmp_path / "raw")
    assert files(tmp_path / "prepared") == []


@pytest.mark.skipif(REAL_ROOT is None, reason="EVENTJAX_DATA_DIR has no folder fsdd")
def test_real_recordings(tmp_path):
    builder = EventjaxSpokenDigits(data_dir=tmp_path, file_format="array_record")
    recordings = builder._read_recordings(REAL_ROOT / "fsdd")
    assert len(recordings) == 3000
    assert abs(sum(map(len, recordings.values())) / 8000 - 1312.3) < 0.1
    generated = builder._generate_examples(recordings, range(1))
    examples = [x for _, x in zip(range(6), generated)]
    assert [x["speaker"] for _, x in examples] == list(range(6))
    assert all(x["label"] == 0 for _, x in examples)
    counts = [len(x["events"]["time"]) for _, x in examples]
    assert 1000 < min(counts) < max(counts) < 10000
    assert all(x["events"]["unit"].max() < 700 for _, x in examples)
