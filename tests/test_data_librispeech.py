"""LibriSpeech with alignments: what is made of good folders, and what is said about bad
ones."""

import functools as ft
import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")
pytest.importorskip("soundfile", reason="needs the extra eventjax[data]")

import eventjax.data as data
from eventjax.data._alignment_file import Alignment, labels_of_frames, read_alignments
from eventjax.data._audio_file import read_audio
from eventjax.data._flac_file import flac_bytes
from eventjax.data._librispeech_builder import EventjaxLibriSpeech
from eventjax.data._prepare import prepare
from eventjax.encoders import log_mel, mfcc


TRAIN = "LibriSpeech/train-clean-100"
ALIGNED = "LibriSpeech/alignments/train-clean-100"


def _real_folder():
    root = os.environ.get("EVENTJAX_DATA_DIR")
    path = Path(root, "librispeech_3utt") if root else None
    return path if path is not None and path.is_dir() else None


REAL_FOLDER = _real_folder()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A made-up set of 2 speakers in each part: its folder, and that of what was
    prepared."""
    raw, made = (tmp_path_factory.mktemp(name) for name in ("raw", "prepared"))
    data.write_example_librispeech(raw)
    data.builder("librispeech", data_dir=raw, prepared_dir=made)
    return raw, made


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


# Recordings

SAMPLES = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
FLAC = flac_bytes(SAMPLES, 16000)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


def test_flac_round_trip():
    found = read_audio(FLAC, 16000, "`x`")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, SAMPLES)
    # Encoders that do not know the samples beforehand leave the checksum zero.
    unknown = FLAC[:26] + bytes(16) + FLAC[42:]
    np.testing.assert_array_equal(read_audio(unknown, 16000, "`x`"), SAMPLES)


@pytest.mark.parametrize(
    "content, message",
    [
        (FLAC[:20], "`x` is not a complete FLAC file"),
        (FLAC[:-9], "`x` is not a complete FLAC file"),
        (flipped(FLAC, 3000), "`x` is not a complete FLAC file"),
        (flipped(FLAC, 30), "`x` is damaged: its samples have another checksum"),
        (flac_bytes(SAMPLES, 8000), "found 1 of PCM_16 at 8000 Hz"),
        (flac_bytes(SAMPLES, 16000, "PCM_24"), "found 1 of PCM_24 at 16000 Hz"),
        (flac_bytes(SAMPLES.reshape(-1, 2), 16000), "found 2 of PCM_16"),
    ],
)
def test_wrong_flac(content, message):
    with pytest.raises(ValueError, match=message):
        read_audio(content, 16000, "`x`")


# Alignments


def alignments(**contents):
    named = [(Path(x), f"`{x}`", lambda c=c: c) for x, c in contents.items()]
    return read_alignments(named, "`here`")


def test_alignments_of_several_files():
    found, left_out = alignments(
        **{
            "ali.1.txt": b"1-2-0000 3 3 0 \n1-2-0001 1\n",
            "ali.2.txt.gz": gzip.compress(b"1-2-0002 7 8"),
            "left_out.txt": b"1-2-0009\n",
            "log": b"\xff",
        }
    )
    assert {name: x.labels.tolist() for name, x in found.items()} == {
        "1-2-0000": [3, 3, 0],
        "1-2-0001": [1],
        "1-2-0002": [7, 8],
    }
    assert found["1-2-0002"].where == "`ali.2.txt.gz`"
    assert found["1-2-0000"].labels.dtype == np.int32 and left_out == {"1-2-0009"}


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"ali.1.txt": b"a 1 2\nb 1 -2\n"}, "Line 2 of `ali.1.txt` .* found '-2'"),
        ({"ali.1.txt": b"a [ 1 1.0 ]\n"}, "Line 1 of `ali.1.txt` .* found '\\['"),
        ({"ali.1.txt": b"a\n"}, "found no label"),
        ({"ali.1.txt": b"a 1\n\nb 1"}, "Line 2 of `ali.1.txt` .* found no label"),
        ({"ali.1.txt": b"a 9999999999\n"}, "the label 9999999999"),
        ({"ali.1.txt": b"a 1", "ali.2.txt": b"a 1"}, "a once more, after `ali.1.txt`"),
        ({"ali.1.txt": b"\0B\xff"}, "is no text.* is binary"),
        ({"ali.1.txt.gz": gzip.compress(b"a 1")[:-9]}, "not a complete gzip file"),
        ({"ali.1.gz": b"a 1"}, "There is no alignment in `here`"),
    ],
)
def test_wrong_alignments(contents, message):
    with pytest.raises(ValueError, match=message):
        alignments(**contents)


@pytest.mark.parametrize("samples", [400, 559, 560, 639, 640, 719, 720, 16000, 16079])
def test_labels_of_both_framings_of_kaldi(samples):
    """Frames of whole windows, and those centred on each hop: their numbers by Kaldi's
    formulae, their centres by hand."""
    fit = ft.partial(labels_of_frames, samples=samples, length=400, hop=160, name="u")
    whole = len([x for x in range(0, samples, 160) if x + 400 <= samples])
    centred = (samples + 80) // 160
    assert centred == whole + 2
    assert len(mfcc(np.arange(samples) % 7)) == whole
    labels = np.arange(centred, dtype=np.int32)
    found = fit(Alignment(labels[:whole], "`f`"))
    np.testing.assert_array_equal(found, labels[:whole])
    found = fit(Alignment(labels, "`f`"))
    ours, theirs = 200 + 160 * np.arange(whole), 80 + 160 * np.arange(centred)
    nearest = np.abs(ours[:, None] - theirs[None]).argmin(axis=1)
    np.testing.assert_array_equal(found, nearest)
    for wrong in (whole - 1, whole + 1, centred + 1):
        with pytest.raises(ValueError, match=f"utterance u has .* but {wrong} labels"):
            fit(Alignment(np.zeros(wrong, np.int32), "`f`"))


# Sets


def test_published_layout(example):
    raw, made = example
    builder = data.builder("librispeech", data_dir=raw, prepared_dir=made)
    metadata = builder.info.metadata
    assert metadata["speaker_names"] == ["61", "62", "84", "85", "103", "104"]
    assert metadata["num_classes"] == 8 and metadata["made_up"] is True
    assert metadata["left_out"] == {"train": 0, "validation": 0, "test": 0}
    assert {k: x.num_examples for k, x in builder.info.splits.items()} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }
    read = builder.as_data_source("train")[4]
    assert read["utterance"] == b"104-1240-0001" and read["text"] == b"NOT A WORD"
    path = raw / TRAIN / "104/1240/104-1240-0001.flac"
    np.testing.assert_array_equal(
        read["audio"], read_audio(path.read_bytes(), 16000, "`x`")
    )
    lines = gzip.decompress((raw / ALIGNED / "ali.2.txt.gz").read_bytes()).decode()
    expected = {x.split()[0]: x.split()[1:] for x in lines.splitlines()}
    assert read["label"].tolist() == [int(x) for x in expected["104-1240-0001"]]


@pytest.mark.parametrize("features", [mfcc, log_mel])
def test_load_utterances(example, features):
    load = ft.partial(
        data.load_utterances, "librispeech", features=features, prepared_dir=example[1]
    )
    train = load()
    builder = data.builder("librispeech", prepared_dir=example[1])
    assert len(train) == 6 and train.num_classes == 8
    assert train.features == {mfcc: 39, log_mel: 40}[features]
    for k, read in enumerate(builder.as_data_source("train")):
        frames, label = train[k]
        expected = features(read["audio"], 16000).astype(np.float32)
        np.testing.assert_array_equal(frames, expected)
        np.testing.assert_array_equal(label, read["label"])
    np.testing.assert_array_equal(train.speaker, [4, 4, 4, 5, 5, 5])
    assert len(load("train[:2]+test")) == 8


def test_made_up_states_can_be_learned(example):
    """By the nearest mean: features and labels belong together."""
    train, test = (
        data.normalise_speakers(
            data.load_utterances(
                "librispeech", split, features=log_mel, prepared_dir=example[1]
            )
        )
        for split in ("train", "test")
    )
    means = np.array([train.frames[train.label == k].mean(axis=0) for k in range(8)])
    nearest = ((test.frames[:, None] - means[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert np.mean(nearest == test.label) > 0.8


def test_features_of_other_frames(example):
    with pytest.raises(ValueError, match="utterance 103-1240-0000, got the shape"):
        data.load_utterances(
            "librispeech", features=ft.partial(mfcc, step=5.0), prepared_dir=example[1]
        )
    for load in (data.load, data.load_speech):
        with pytest.raises(ValueError, match="load_utterances"):
            load("librispeech")
    with pytest.raises(ValueError, match="'timit'. The known ones are 'librispeech'"):
        data.load_utterances("timit")


def test_left_out_and_the_other_framing(tmp_path):
    """One named in left_out.txt, and one whose labels are of the other framing."""
    data.write_example_librispeech(tmp_path / "raw", speakers=1)
    path = tmp_path / "raw" / ALIGNED / "ali.1.txt"
    first, second = path.read_text().splitlines()
    name, *labels = second.split()
    path.write_text(f"{name} 0 {' '.join(labels)} 7\n")
    path.with_name("left_out.txt").write_text(first.split()[0] + "\n")
    builder = data.builder("librispeech", data_dir=tmp_path / "raw")
    assert builder.info.metadata["left_out"]["train"] == 1
    source = builder.as_data_source("train")
    assert [x["utterance"] for x in source] == [b"103-1240-0001", b"103-1240-0002"]
    assert source[0]["label"].tolist() == [int(x) for x in labels]


def test_absent_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="(?s)dev-clean\n.*alignments\n.*openslr"
    ):
        data.load_utterances("librispeech", data_dir=tmp_path / "raw")
    data.write_example_librispeech(tmp_path / "raw", speakers=1, utterances=1)
    (tmp_path / "raw" / ALIGNED).rename(tmp_path / "away")
    with pytest.raises(
        FileNotFoundError, match="no `train-clean-100` in `.*alignments"
    ):
        data.load_utterances("librispeech", data_dir=tmp_path / "raw")


def change(path, old, new):
    def spoil(root):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return spoil


def cut_audio(root):
    path = root / "LibriSpeech/test-clean/61/1240/61-1240-0000.flac"
    path.write_bytes(path.read_bytes()[:-1000])


def short_audio(root):
    path = root / TRAIN / "103/1240/103-1240-0000.flac"
    path.write_bytes(flac_bytes(SAMPLES[:399], 16000))


def leave_out(*names):
    return lambda root: (root / ALIGNED / "left_out.txt").write_text("\n".join(names))


TEXT = f"{TRAIN}/103/1240/103-1240.trans.txt"
ALI = f"{ALIGNED}/ali.1.txt"
AUDIO = f"{TRAIN}/103/1240/103-1240-0001.flac"
WRONG_FOLDERS = {
    "cut": (cut_audio, "61-1240-0000.flac` is not a complete FLAC file"),
    "short": (short_audio, "103-1240-0000 has 399 samples, too few .* left_out.txt"),
    "labels": (
        change(ALI, "103-1240-0000 0 ", "103-1240-0000 "),
        "103-1240-0000 has .* whole frames .* labels in `.*ali.1.txt`",
    ),
    "no alignment": (
        change(ALI, "103-1240-0000", "103-1240-0009"),
        r"Utterances \(1: 103-1240-0000\) in `.*` have no alignment",
    ),
    "no recording": (
        lambda root: (root / TEXT).write_text(
            (root / AUDIO).unlink() or "103-1240-0000 X"
        ),
        r"\(1: 103-1240-0001\) are aligned in .* no recording of them",
    ),
    "left out without": (leave_out("103-1240-0004"), r"\(1: 103-1240-0004\) are named"),
    "all left out": (
        leave_out("103-1240-0000", "103-1240-0001"),
        r"\(2: 103-1240-0000, 103-1240-0001\) are all left out",
    ),
    "text without recording": (
        change(TEXT, "103-1240-0001", "103-1240-0002"),
        "Line 2 of `.*trans.txt` is of 103-1240-0002, but there is no recording",
    ),
    "recording without text": (
        change(TEXT, "103-1240-0001 NOT A WORD\n", ""),
        "103-1240-0001.flac` has no line in the transcript",
    ),
    "wrong line": (
        change(TEXT, "0001 NOT A WORD", "0001"),
        "Line 2 of .*'103-1240-0001'",
    ),
    "other chapter": (
        change(TEXT, "103-1240-0001", "103-1241-0001"),
        "of this chapter",
    ),
    "text twice": (
        change(TEXT, "103-1240-0001", "103-1240-0000"),
        "103-1240-0000 is there once more in Line 2",
    ),
    "no text": (lambda root: (root / TEXT).write_bytes(b"\xff"), "is no text"),
    "place": (
        lambda root: (root / AUDIO).rename(root / TRAIN / "103/103-1240-0001.flac"),
        "103-1240-0001.flac` has no place in LibriSpeech",
    ),
    "empty": (
        lambda root: [path.unlink() for path in (root / TRAIN).rglob("*.*")],
        r"There is no recording `\*.flac` in `.*train-clean-100`",
    ),
    "incomplete": (
        lambda root: (root / "LibriSpeech/MADE_UP.txt").unlink(),
        "train-clean-100` must hold 28539 utterances, found 2",
    ),
}


@pytest.mark.parametrize("spoil, message", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_wrong_folder(tmp_path, spoil, message):
    data.write_example_librispeech(tmp_path / "raw", speakers=1, utterances=2, states=2)
    # All alignments of the training part in one file
    packed = tmp_path / "raw" / ALIGNED / "ali.2.txt.gz"
    with (tmp_path / "raw" / ALI).open("ab") as file:
        file.write(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    spoil(tmp_path / "raw")
    with pytest.raises(ValueError, match=message):
        data.load_utterances("librispeech", data_dir=tmp_path / "raw")
    assert files(tmp_path / "cache") == []


def test_complete_folder_and_another_one(tmp_path):
    data.write_example_librispeech(tmp_path / "raw", speakers=1, utterances=1, states=2)
    (tmp_path / "raw/LibriSpeech/MADE_UP.txt").unlink()

    class Small(EventjaxLibriSpeech, skip_registration=True):
        UTTERANCES = dict.fromkeys(EventjaxLibriSpeech.UTTERANCES, 1)

    builder = prepare(Small, tmp_path / "made", tmp_path / "raw")
    assert builder.info.metadata["made_up"] is False
    path = tmp_path / "raw" / ALI
    path.write_text(path.read_text() + " ")
    with pytest.raises(ValueError, match="made from another file than `.*alignments`"):
        prepare(Small, tmp_path / "made", tmp_path / "raw")


def test_example_writer(tmp_path):
    paths = data.write_example_librispeech(tmp_path / "a", seed=3)
    assert len(paths) == 18
    data.write_example_librispeech(tmp_path / "b", seed=3)
    one, two = (
        {x.relative_to(root): x.read_bytes() for x in files(root)}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert one == two
    with pytest.raises(FileExistsError, match="train-clean-100` is there already"):
        data.write_example_librispeech(tmp_path / "a")
    with pytest.raises(ValueError, match="up to 20, got 21"):
        data.write_example_librispeech(tmp_path / "c", states=21)
    with pytest.raises(ValueError, match="`utterances` must be positive, got 0"):
        data.write_example_librispeech(tmp_path / "c", utterances=0)
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(
    REAL_FOLDER is None, reason="EVENTJAX_DATA_DIR has no folder librispeech_3utt"
)
def test_real_utterances():
    """FLAC and WAV decode to what was recorded: its checksum, length, and speech, which
    changes little from sample to sample."""
    lengths = {}
    for path in sorted([*REAL_FOLDER.glob("*.flac"), *REAL_FOLDER.glob("*.wav")]):
        audio = read_audio(path.read_bytes(), 16000, f"`{path}`")
        lengths[path.name] = round(len(audio) / 16000, 2)
        x = audio - audio.mean()
        assert np.mean(x[1:] * x[:-1]) > 0.7 * np.mean(x * x)
        assert np.isfinite(log_mel(audio)).all()
        assert len(mfcc(audio)) == len(log_mel(audio)) == 1 + (len(audio) - 400) // 160
    assert lengths == {
        "1088-134315-0000.wav": 16.04,
        "2412-153948-0000.flac": 11.66,
        "2412-153948-0001.flac": 10.51,
    }
