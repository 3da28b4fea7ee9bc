"""TIMIT and its sample: what is made of good folders, and what is said about bad ones."""

import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("tensorflow_datasets", reason="needs the extra eventjax[data]")

import eventjax.data as data
from eventjax.data._audio_file import read_audio
from eventjax.data._example_timit import phone_lines, riff_bytes, sphere_bytes
from eventjax.data._phone_file import parse_phones, PhoneSegments
from eventjax.data._prepare import prepare
from eventjax.data._tar_archive import read_archive, write_made_up
from eventjax.data._timit_builder import EventjaxTimit, EventjaxTimitSample
from eventjax.data._timit_files import find_utterances
from eventjax.data._timit_speakers import CORE_TEST, DEVELOPMENT
from eventjax.encoders import mfcc


ARCHIVE = "timit_sample.tar.xz"


def _real_root():
    root = os.environ.get("EVENTJAX_DATA_DIR")
    path = Path(root, "timit_sample_nltk", ARCHIVE) if root else None
    return root if path is not None and path.is_file() else None


REAL_ROOT = _real_root()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """No test reads or writes a user's folders, except where it says so."""
    monkeypatch.delenv("EVENTJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("EVENTJAX_CACHE_DIR", str(tmp_path / "cache"))
    # tensorflow-datasets leaves an empty temporary folder for each unprepared builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A made-up set of 4 and 5 speakers: its folder, and that of what was prepared."""
    raw, made = (tmp_path_factory.mktemp(name) for name in ("raw", "prepared"))
    data.write_example_timit(raw)
    data.builder("timit", data_dir=raw, prepared_dir=made)
    return raw, made


def speech(example, split, **settings):
    return data.load_speech("timit", split, prepared_dir=example[1], **settings)


# Phones


def test_phones_and_folding():
    assert len(data.PHONES) == len(set(data.PHONES)) == 61
    assert len(data.FOLDED_PHONES) == 39
    folded = data.fold_phones(np.arange(61))
    assert folded.dtype == np.int32
    np.testing.assert_array_equal(np.unique(folded), np.arange(39))
    groups = {
        name: {p for p, k in zip(data.PHONES, folded) if data.FOLDED_PHONES[k] == name}
        for name in data.FOLDED_PHONES
    }
    together = {
        "aa": "aa ao",
        "ah": "ah ax ax-h",
        "er": "er axr",
        "hh": "hh hv",
        "ih": "ih ix",
        "l": "l el",
        "m": "m em",
        "n": "n en nx",
        "ng": "ng eng",
        "sh": "sh zh",
        "sil": "bcl dcl epi gcl h# kcl pau pcl q tcl",
        "uw": "uw ux",
    }
    for name, group in groups.items():
        assert group == set(together.get(name, name).split())


def test_folding_of_arrays():
    ids = np.array([[27, 59], [-1, 3]])
    folded = data.fold_phones(ids)
    names = [data.FOLDED_PHONES[k] for k in folded.ravel() if k >= 0]
    assert names == ["sil", "z", "aa"] and folded[1, 0] == -1 and folded.shape == (2, 2)
    with pytest.raises(ValueError, match="0 to 60, or be -1 on padding, got 61"):
        data.fold_phones(np.array([3, 61]))
    with pytest.raises(ValueError, match="got -2"):
        data.fold_phones(np.array([-2]))
    with pytest.raises(ValueError, match="must be integers.* got float64"):
        data.fold_phones(np.array([0.5]))


def test_parts_of_the_test_folder():
    assert len(set(CORE_TEST)) == 24 and len(set(DEVELOPMENT)) == 50
    assert not set(CORE_TEST) & set(DEVELOPMENT)
    for region in range(1, 9):
        sexes = sorted(x[4] for x in CORE_TEST if x.startswith(f"dr{region}-"))
        assert sexes == ["f", "m", "m"]


# Audio

SAMPLES = np.random.default_rng(0).integers(-32768, 32768, 500).astype(np.int16)
SPHERE, RIFF = sphere_bytes(SAMPLES), riff_bytes(SAMPLES)


def test_audio_round_trip():
    for content in (RIFF, SPHERE):
        found = read_audio(content, 16000, "`x`")
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found, SAMPLES)
    # The other byte order, a longer header, and with the coding named.
    body = SAMPLES.astype(">i2").tobytes()
    header = (
        SPHERE[:1024].replace(b"   1024\n", b"   2048\n").replace(b"s2 01", b"s2 10")
    )
    header = header.replace(b"end_head", b"sample_coding -s3 pcm\nend_head").ljust(2048)
    np.testing.assert_array_equal(read_audio(header + body, 16000, "`x`"), SAMPLES)
    # More than a million samples.
    many = np.zeros(1_000_001, np.int16)
    assert len(read_audio(sphere_bytes(many), 16000, "`x`")) == len(many)


def changed(old, new):
    assert old in SPHERE
    return SPHERE.replace(old, new)


WRONG_AUDIO = {
    "neither": (
        b"OggS" * 9,
        "neither a NIST SPHERE nor a RIFF.* begins with b'OggSOggS'",
    ),
    "empty": (b"", "neither"),
    "cut": (
        SPHERE[:-9],
        "damaged: its header gives 500 samples of 2 bytes, found 991 b",
    ),
    "longer": (SPHERE + b"12", "gives 500 samples of 2 bytes, found 1002 bytes"),
    "cut header": (SPHERE[:200], "inside its SPHERE header"),
    "no length": (changed(b"   1024", b"   x024"), "inside its SPHERE header"),
    "no end": (changed(b"end_head", b"tail_head"), "inside its SPHERE header"),
    "no sample": (sphere_bytes(SAMPLES[:0]), "gives 0 samples"),
    "no count": (changed(b"sample_count", b"another_coun"), "gives None samples"),
    "other rate": (changed(b"16000", b"08000"), "rate of 16000 Hz, found 08000"),
    "stereo": (
        changed(b"channel_count -i 1", b"channel_count -i 2"),
        "1 channel, found 2",
    ),
    "one byte": (
        changed(b"n_bytes -i 2", b"n_bytes -i 1"),
        "2 bytes per sample, found 1",
    ),
    "order": (changed(b"s2 01", b"s2 11"), "byte order .* found 11"),
    "compressed": (
        changed(
            b"end_head", b"sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head"
        ),
        "compressed or encoded: its `sample_coding` is 'pcm,embedded-shorten-v2.00'",
    ),
    "wav cut": (RIFF[:-100], "its header gives 500 samples, found 450"),
    "wav rate": (
        RIFF.replace((16000).to_bytes(4, "little"), (8000).to_bytes(4, "little")),
        "1 channel of 16 bits at 16000 Hz, found 1 of 16 bits at 8000 Hz",
    ),
    "wav damaged": (b"RIFFplain", "not a complete wav file"),
}


@pytest.mark.parametrize("content, message", WRONG_AUDIO.values(), ids=WRONG_AUDIO)
def test_wrong_audio(content, message):
    with pytest.raises(ValueError, match=f"^`x` .*{message}"):
        read_audio(content, 16000, "`x`")


# Transcriptions


def test_transcription_round_trip():
    segments = PhoneSegments(*np.array([[0, 7, 27], [7, 9, 5], [11, 20, 27]], "i4").T)
    content = phone_lines(segments)
    assert content == "0 7 h#\n7 9 ax\n11 20 h#\n"
    for text in (content, content.replace("\n", "\r\n") + "\r\n"):
        # The recording may go on after the last segment, and there may be a gap.
        found = parse_phones(text.encode(), 21, "`x`")
        for mine, theirs in zip(found, segments):
            assert mine.dtype == np.int32
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "There is no segment in `x`"),
        ("0 7 h#\n7 9 xy\n", "Line 2 of `x` has the unknown phone 'xy'.* are aa ae"),
        (
            "0 7 h#\n6 9 ax\n",
            "Line 2 of `x` overlaps .* starts at 6, but that ends at 7",
        ),
        ("9 12 h#\n0 5 ax\n", "Line 2 of `x` overlaps with .* goes back"),
        ("0 7 h#\n7 7 ax\n", "Line 2 of `x` is a segment without length, from 7 to 7"),
        ("0 7 h#\n9 7 ax\n", "without length, from 9 to 7"),
        ("0 7 h#\n7 21 ax\n", "ends at 21, but there are 20 samples"),
        ("0 7\n", "Line 1 of `x` must be a start, an end and a phone, found '0 7'"),
        ("0 7 h# ax\n", "must be a start"),
        ("-1 7 h#\n", "must be a start"),
        ("0 7.5 h#\n", "must be a start"),
    ],
)
def test_wrong_transcription(content, message):
    with pytest.raises(ValueError, match=message):
        parse_phones(content.encode(), 20, "`x`")


# The set


def test_published_layout(example):
    raw, made = example
    builder = data.builder("timit", data_dir=raw, prepared_dir=made)
    metadata = builder.info.metadata
    assert metadata["made_up"] and tuple(metadata["label_names"]) == data.PHONES
    names = metadata["speaker_names"]
    assert len(names) == 9 and names == sorted(names)
    expected = {
        "train": {"dr1-fxxa0", "dr2-mxxb0", "dr3-fxxc0", "dr4-mxxd0"},
        "test": {"dr1-mdab0", "dr1-mwbt0"},
        "validation": {"dr1-faks0", "dr1-fdac1"},
        "other": {"dr8-fyya0"},
    }
    for split, speakers in expected.items():
        source = builder.as_data_source(split)
        assert len(source) == 2 * len(speakers)
        assert {names[x["speaker"]] for x in source} == speakers
        assert {x["utterance"] for x in source} == {b"sx1", b"sx2"}  # no sa1
    # An example is what its files hold.
    example = builder.as_data_source("test")[1]
    path = raw / "timit/TEST/DR1/MDAB0/SX2.WAV"
    audio = np.frombuffer(path.read_bytes()[1024:], "<i2")
    np.testing.assert_array_equal(example["audio"], audio)
    assert example["audio"].dtype == np.int16
    segments = PhoneSegments(**example["segments"])
    assert phone_lines(segments) == path.with_suffix(".PHN").read_text()


def test_load_speech(example):
    train = speech(example, "train")
    builder = data.builder("timit", prepared_dir=example[1])
    source = builder.as_data_source("train")
    longest = max(len(mfcc(x["audio"])) for x in source)
    shapes = {name: (x.dtype, x.shape) for name, x in train.items()}
    assert shapes == {
        "frames": (np.float32, (8, longest, 39)),
        "label": (np.int32, (8, longest)),
        "valid": (np.bool_, (8, longest)),
        "speaker": (np.int32, (8,)),
    }
    for i, x in enumerate(source):
        frames = mfcc(x["audio"]).astype(np.float32)
        n = len(frames)
        ends, phones = x["segments"]["end"], x["segments"]["phone"]
        np.testing.assert_array_equal(train["frames"][i, :n], frames)
        expected = data.frame_labels(ends, phones, n)
        np.testing.assert_array_equal(train["label"][i, :n], expected)
        assert train["valid"][i, :n].all() and not train["valid"][i, n:].any()
        assert (train["frames"][i, n:] == 0).all() and (
            train["label"][i, n:] == -1
        ).all()
        assert train["speaker"][i] == x["speaker"]
    assert (train["valid"].sum(axis=1) < longest).any()
    assert set(train["label"][train["valid"]]) == set(range(61))

    longer = speech(example, "test", longest=longest + 3)
    assert longer["frames"].shape == (4, longest + 3, 39)
    assert not longer["valid"][:, longest:].any()
    folded = speech(example, "train", fold=True)
    np.testing.assert_array_equal(folded["label"], data.fold_phones(train["label"]))
    # It goes into batches as it is.
    (batch, *_) = data.Batches(train, 3, seed=0, drop_last=True).epoch(0)
    assert batch["frames"].shape == (3, longest, 39)
    part = speech(example, "train[2:4]+validation")
    np.testing.assert_array_equal(part["speaker"][:2], train["speaker"][2:4])
    assert len(part["label"]) == 6


def test_standardise(example):
    train, test = (speech(example, split) for split in ("train", "test"))
    new_train, new_test = data.standardise(train, test)
    known = train["frames"][train["valid"]]
    mean, std = known.mean(axis=0, dtype=float), known.std(axis=0, dtype=float)
    for old, new in ((train, new_train), (test, new_test)):
        valid = old["valid"]
        assert new["frames"].dtype == np.float32
        expected = (old["frames"][valid] - mean) / std
        np.testing.assert_allclose(new["frames"][valid], expected, rtol=1e-4, atol=1e-5)
        assert (~valid).any() and (new["frames"][~valid] == 0).all()
        assert new["label"] is old["label"]
    moments = new_train["frames"][train["valid"]]
    np.testing.assert_allclose(moments.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(moments.std(axis=0), 1, rtol=1e-3)

    with pytest.raises(ValueError, match="39 features of `train`, got one with 13"):
        data.standardise(train, {**test, "frames": test["frames"][..., :13]})
    constant = np.concatenate(
        [train["frames"][..., :2], np.full_like(train["frames"][..., :1], 0.1)], axis=-1
    )
    with pytest.raises(ValueError, match="Feature 2 has one value, 0.1"):
        data.standardise({**train, "frames": constant})


def test_made_up_phones_can_be_learned(example):
    train, test = data.standardise(
        speech(example, "train"), speech(example, "validation+test+other")
    )
    frames, label = train["frames"][train["valid"]], train["label"][train["valid"]]
    means = np.array([frames[label == k, :13].mean(axis=0) for k in range(61)])
    new = test["frames"][test["valid"]][:, None, :13]
    nearest = ((new - means[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert np.mean(nearest == test["label"][test["valid"]]) > 0.8


def test_lower_case_riff_in_zip_archives_and_beside_other_files(example, tmp_path):
    data.write_example_timit(tmp_path / "copy", audio="riff")
    raw = tmp_path / "copy/timit"
    for path in files(raw):
        if path.suffix in (".WAV", ".PHN"):
            lower = path.relative_to(raw).as_posix().lower()
            new = raw / "lower" / lower
            new.parent.mkdir(parents=True, exist_ok=True)
            path.rename(new)
    folder = raw / "lower"
    (raw / "MADE_UP.txt").rename(folder / "MADE_UP.txt")
    (folder / "train/dr1/fxxa0/sx1.txt").write_text("0 9 Nothing.")
    (folder / "train/dr1/fxxa0/sx1.wav.wav").write_bytes(b"")
    (folder / "train/dr1/fxxa0/.sx1.wav").write_bytes(b"")
    before = files(folder)
    # The folder that holds `train` and `test` may itself be the data folder.
    found = data.load_speech("timit", data_dir=folder, prepared_dir=tmp_path / "a")
    assert files(folder) == before
    expected = speech(example, "train")
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_zip_archives(example, tmp_path):
    raw = example[0] / "timit"
    for part in ("TRAIN", "TEST"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for path in files(raw / part):
                archive.write(path, path.relative_to(raw))
    (tmp_path / "MADE_UP.txt").write_text("")
    found = data.load_speech(
        "timit", "test", data_dir=tmp_path, prepared_dir=Path(f"{tmp_path}-made")
    )
    np.testing.assert_array_equal(found["frames"], speech(example, "test")["frames"])


def test_wrong_names(example):
    with pytest.raises(
        ValueError, match="set of speech 'mnist'.* 'timit', 'timit_sample'"
    ):
        data.load_speech("mnist")
    with pytest.raises(ValueError, match=r"use `eventjax.data.load_speech\('timit'\)`"):
        data.load("timit")
    with pytest.raises(
        ValueError, match="and of speech, 'librispeech', 'timit', 'timit_sample'"
    ):
        data.builder("timmit")
    with pytest.raises(ValueError, match=r"no example in the part 'train\[:0\]'"):
        speech(example, "train[:0]")
    longest = speech(example, "train")["valid"].sum(axis=1).max()
    with pytest.raises(
        ValueError, match=f"has {longest} frames, more than `longest`, 9"
    ):
        speech(example, "train", longest=9)


def test_absent_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"TRAIN\n.*TEST\n(.|\n)*LDC93S1"):
        data.load_speech("timit", data_dir=tmp_path / "raw")
    with pytest.raises(FileNotFoundError, match="timit_sample.tar.xz  sha256 18af1a6c"):
        data.load_speech("timit_sample", data_dir=tmp_path / "raw")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def wrong_rate(root):
    write(root / "TEST/DR1/FAKS0/SX2.WAV", WRONG_AUDIO["other rate"][0])


def cut(root):
    path = root / "TRAIN/DR4/MXXD0/SX2.WAV"
    path.write_bytes(path.read_bytes()[:-1000])


def wrong_phone(root):
    write(root / "TEST/DR8/FYYA0/SX1.PHN", b"0 99 h#\n99 200 nothing\n")


def nobody(root):
    for path in (root / "TRAIN").rglob("*.*"):
        path.unlink()


WRONG_FOLDERS = {
    "rate": (
        wrong_rate,
        "FAKS0/SX2.WAV` must have a sample rate of 16000 Hz, found 08000",
    ),
    "cut": (cut, "MXXD0/SX2.WAV` is damaged: its header gives"),
    "phone": (
        wrong_phone,
        "Line 2 of `.*FYYA0/SX1.PHN` has the unknown phone 'nothing'",
    ),
    "no .PHN": (
        lambda root: (root / "TRAIN/DR1/FXXA0/SX1.PHN").unlink(),
        "FXXA0/SX1.WAV` has no `.phn` file beside it",
    ),
    "no .WAV": (
        lambda root: (root / "TRAIN/DR1/FXXA0/SX1.WAV").unlink(),
        "FXXA0/SX1.PHN` has no `.wav` file beside it",
    ),
    "place": (
        lambda root: write(root / "TRAIN/DR9/FXXA0/SX1.WAV", SPHERE),
        "DR9/FXXA0/SX1.WAV` has no place in TIMIT",
    ),
    "name": (
        lambda root: write(root / "TRAIN/DR1/FXXA0/SX1b.WAV", SPHERE),
        "SX1b.WAV` has no place in TIMIT",
    ),
    "twice": (
        lambda root: write(root / "TRAIN/copy/dr1/fxxa0/sx1.wav", SPHERE),
        "DR1/FXXA0/SX1.WAV` and `.*copy/dr1/fxxa0/sx1.wav` are the same file",
    ),
    "both": (
        lambda root: (root / "TEST/DR8/FYYA0").rename(root / "TRAIN/DR1/MDAB0"),
        "Speakers are in `TRAIN` and in `TEST` of `.*`: dr1-mdab0",
    ),
    "empty": (nobody, r"no recording `\*.wav` in `.*TRAIN`"),
    "split": (
        lambda root: (root / "TEST/DR8/FYYA0").rename(root / "TRAIN/DR1/FYYA0"),
        "no speaker whose sentences belong to the split 'other'",
    ),
    "incomplete": (
        lambda root: (root / "MADE_UP.txt").unlink(),
        "hold 462 speakers with 8 sentences each, .* are 4 speakers, and dr1-fxxa0 has 2",
    ),
}


@pytest.mark.parametrize("spoil, message", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_wrong_folder(tmp_path, spoil, message):
    data.write_example_timit(tmp_path / "raw", speakers=4, phones=2)
    spoil(tmp_path / "raw/timit")
    with pytest.raises(ValueError, match=message):
        data.load_speech(
            "timit", data_dir=tmp_path / "raw", prepared_dir=tmp_path / "made"
        )
    assert files(tmp_path / "made") == []


def test_other_files_than_those_prepared(example, tmp_path):
    data.write_example_timit(tmp_path, phones=3)
    with pytest.raises(ValueError, match="made from another file than `.*TRAIN`"):
        data.load_speech("timit", data_dir=tmp_path, prepared_dir=example[1])


def test_complete_folder(tmp_path):
    data.write_example_timit(tmp_path / "raw", sentences=1, phones=2)
    (tmp_path / "raw/timit/MADE_UP.txt").unlink()

    class SmallTimit(EventjaxTimit, skip_registration=True):
        SPEAKERS = {"train": 4, "test": 5}
        SENTENCES = 1

    builder = prepare(SmallTimit, tmp_path / "made", tmp_path / "raw")
    assert builder.info.metadata["made_up"] is False
    assert builder.info.splits["train"].num_examples == 4


def test_too_short_utterance(tmp_path):
    data.write_example_timit(tmp_path / "raw", speakers=1, phones=1)
    place = tmp_path / "raw/timit/TRAIN/DR1/FXXA0"
    write(place / "SX1.WAV", sphere_bytes(SAMPLES[:399]))
    write(place / "SX1.PHN", b"0 399 h#\n")
    with pytest.raises(
        ValueError, match="sx1 of dr1-fxxa0 has no frames.* 400 samples"
    ):
        data.load_speech(
            "timit", data_dir=tmp_path / "raw", prepared_dir=tmp_path / "made"
        )


def test_example_writer(tmp_path):
    paths = data.write_example_timit(tmp_path / "a", seed=3)
    assert len(paths) == 9 * 3
    again = data.write_example_timit(tmp_path / "b", seed=3)
    assert [x.read_bytes() for x in paths] == [x.read_bytes() for x in again]
    with pytest.raises(FileExistsError, match="TRAIN` is there already"):
        data.write_example_timit(tmp_path / "a")
    with pytest.raises(ValueError, match="'sphere' or 'riff', got 'flac'"):
        data.write_example_timit(tmp_path / "c", audio="flac")
    with pytest.raises(ValueError, match="`phones` must be positive, got 0"):
        data.write_example_timit(tmp_path / "c", phones=0)
    with pytest.raises(ValueError, match="up to 26, got 27"):
        data.write_example_timit(tmp_path / "c", speakers=27)
    assert not (tmp_path / "c").exists()


# The free sample


def sample_files(absent=()):
    content = {}
    for speaker in (
        *EventjaxTimitSample.TEST,
        *EventjaxTimitSample.VALIDATION,
        "dr8-mbcg0",
    ):
        for sentence in ("sa1", "sx7"):
            if speaker not in absent:
                place = f"corpora/timit/{speaker}/{sentence}"
                content[f"{place}.wav"] = RIFF
                content[f"{place}.phn"] = b"0 300 h#\n300 480 iy\n"
    return content


def test_layout_of_the_sample(tmp_path):
    path = tmp_path / "raw/timit_sample_nltk" / ARCHIVE
    write_made_up(path, "xz", {"corpora/timit/README": b"", **sample_files()})

    def load(split):
        return data.load_speech(
            "timit_sample",
            split,
            data_dir=tmp_path / "raw",
            prepared_dir=tmp_path / "made",
        )

    for split, count in (("train", 1), ("validation", 2), ("test", 4)):
        part = load(split)
        assert part["frames"].shape == (count, 1, 39)
        assert (part["label"] == data.PHONES.index("h#")).all()
    info = data.builder("timit_sample", prepared_dir=tmp_path / "made").info
    names = info.metadata["speaker_names"]
    assert {names[k] for k in load("test")["speaker"]} == set(EventjaxTimitSample.TEST)


def test_wrong_archives_of_the_sample(tmp_path):
    path = tmp_path / "raw" / ARCHIVE
    write(path, b"plain")
    with pytest.raises(ValueError, match="damaged or not the original file.*18af1a6c"):
        data.load_speech("timit_sample", data_dir=path.parent)
    path.unlink()
    write_made_up(path, "xz", sample_files(EventjaxTimitSample.VALIDATION))
    with pytest.raises(ValueError, match=f"{ARCHIVE}` has no speaker .* 'validation'"):
        data.load_speech("timit_sample", data_dir=path.parent)
    path.unlink()
    write_made_up(path, "xz", sample_files() | {"timit/dr1-fvmh0/sx9.wav": RIFF})
    with pytest.raises(ValueError, match=r"sx9.wav` in `.*` has no `.phn` file"):
        data.load_speech("timit_sample", data_dir=path.parent)
    assert files(tmp_path / "cache") == []


@pytest.mark.skipif(REAL_ROOT is None, reason=f"EVENTJAX_DATA_DIR has no {ARCHIVE}")
def test_real_sample(tmp_path):
    path = Path(REAL_ROOT, "timit_sample_nltk", ARCHIVE)
    content, made_up = read_archive(path, EventjaxTimitSample.SHA256[ARCHIVE])
    assert not made_up
    named = [(name, f"`{name}`", lambda x=x: x) for name, x in content.items()]
    utterances = find_utterances(named, f"`{path}`")
    assert len(utterances) == 160
    assert len({x.speaker for x in utterances}) == 16
    read = [x.read() for x in utterances]
    assert abs(sum(len(audio) for audio, _ in read) / 16000 - 490) < 1
    phones = np.concatenate([segments.phone for _, segments in read])
    assert len(phones) == 6185
    assert len(np.unique(phones)) == 61
    # Other copies in circulation hold noise: speech changes little from sample to sample.
    for audio, _ in read:
        x = audio - audio.mean()
        assert np.mean(x[1:] * x[:-1]) > 0.7 * np.mean(x * x)


@pytest.mark.skipif(REAL_ROOT is None, reason=f"EVENTJAX_DATA_DIR has no {ARCHIVE}")
def test_real_sample_as_arrays(tmp_path):
    parts = {
        split: data.load_speech(
            "timit_sample",
            split,
            data_dir=REAL_ROOT,
            prepared_dir=tmp_path,
            longest=550,
        )
        for split in ("train", "validation", "test")
    }
    sizes = {split: len(x["speaker"]) for split, x in parts.items()}
    assert sizes == {"train": 80, "validation": 16, "test": 32}
    people = [set(x["speaker"]) for x in parts.values()]
    assert [len(x) for x in people] == [10, 2, 4] and len(set.union(*people)) == 16
    frames = {split: int(x["valid"].sum()) for split, x in parts.items()}
    assert frames == {"train": 23980, "validation": 5022, "test": 9765}
    assert all(np.isfinite(x["frames"]).all() for x in parts.values())
