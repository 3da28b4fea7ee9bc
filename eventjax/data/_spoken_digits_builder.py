"""Spoken digits, made into spikes by a model of the inner ear, as a tensorflow-datasets
builder.

To be imported only where tensorflow-datasets is at hand.
"""

import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..encoders import InnerEar
from ._audio_file import read_wav
from ._event_features import event_features
from ._idx import read_checked


class EventjaxSpokenDigits(tfds.core.GeneratorBasedBuilder):
    """The Free Spoken Digit Dataset as spikes of 700 channels: 10 digits, 6 speakers, 50
    repetitions of each.

    The official split: repetitions 0 to 4 are for testing, 5 to 49 for training. Examples
    come by repetition, then digit, then speaker, so that any long slice of a split holds
    all digits and speakers alike.

    All recordings are checked before the first example is written. A subclass may name
    other archives of the same layout: it is prepared under its own name.
    """

    # To be raised whenever the spikes change: with the defaults of `InnerEar`, say.
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The recordings are those of "
        "https://github.com/Jakobovski/free-spoken-digit-dataset: the first archive is "
        "that of the tag v1.0.9, the second holds the files of the speaker lucas at the "
        "commit 26eb9aaf76e81b692f806f9140c2d2777410d7a1."
    )
    # Where the raw files lie in the data folder, and what they are called there.
    SUBFOLDER = "fsdd"
    FILES = {
        "recordings": {
            "five speakers": "free-spoken-digit-dataset-1.0.9.tar.gz",
            "lucas": "fsdd-26eb9aa-lucas-500.tar.xz",
        }
    }
    SHA256 = {
        "free-spoken-digit-dataset-1.0.9.tar.gz": (
            "8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0"
        ),
        "fsdd-26eb9aa-lucas-500.tar.xz": (
            "4afb5d1715f79c95998594d6df9f0bf35088f83419b0297d365c5d711151a642"
        ),
    }
    # The integer `speaker` of an example is a place in this list.
    SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    TEST_REPETITIONS = range(0, 5)
    TRAIN_REPETITIONS = range(5, 50)
    SAMPLE_RATE = 8000  # Hz
    EAR = InnerEar()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Spoken digits as spikes of 700 channels, by eventjax's InnerEar.",
            features=event_features(10),
            homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
            license="CC BY-SA 4.0",
            citation="Zohar Jackson et al.: Free Spoken Digit Dataset.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        recordings = self._read_recordings(Path(dl_manager.manual_dir))
        return {
            "train": self._generate_examples(recordings, self.TRAIN_REPETITIONS),
            "test": self._generate_examples(recordings, self.TEST_REPETITIONS),
        }

    def _generate_examples(
        self, recordings: dict[str, np.ndarray], repetitions: range
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (name, digit, speaker) in enumerate(self._names(repetitions)):
            times, units = self.EAR(recordings[name], self.SAMPLE_RATE)
            events = {
                "time": times.astype(np.float32),
                "unit": units.astype(np.uint16),
            }
            yield i, {"events": events, "label": digit, "speaker": speaker}

    def _names(self, repetitions: Iterable[int]) -> list[tuple[str, int, int]]:
        """Names of recordings, each with its digit and the place of its speaker."""
        return [
            (f"{digit}_{speaker}_{repetition}.wav", digit, place)
            for repetition in repetitions
            for digit in range(10)
            for place, speaker in enumerate(self.SPEAKERS)
        ]

    def _read_recordings(self, folder: Path) -> dict[str, np.ndarray]:
        """The samples of every recording, by its name."""
        recordings = {}
        for archive in self.FILES["recordings"].values():
            path = folder / archive
            packed = read_checked(path, self.SHA256[archive])
            for name, content in _wav_files(packed, path):
                where = f"`{name}` in `{path}`"
                if name in recordings:
                    raise ValueError(f"{where} is there for the second time.")
                recordings[name] = read_wav(content, self.SAMPLE_RATE, where)
        repetitions = [*self.TEST_REPETITIONS, *self.TRAIN_REPETITIONS]
        expected = {name for name, _, _ in self._names(repetitions)}
        absent, unknown = expected - set(recordings), set(recordings) - expected
        if absent or unknown:
            raise ValueError(
                f"The archives in `{folder}` must hold {len(expected)} recordings, found "
                f"{len(recordings)}: {_listing(absent)} are absent, {_listing(unknown)} "
                "do not belong there."
            )
        return recordings


def _wav_files(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in the folder `recordings` of an archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                found = re.search(r"(?:^|/)recordings/([^/]+\.wav)$", member.name)
                if found and member.isfile():
                    yield found[1], archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"`{path}` is not a complete tar archive: {error}.") from error


def _listing(names: set[str]) -> str:
    """Some of the names, and how many there are."""
    some = ", ".join(sorted(names)[:3])
    return (
        f"{len(names)} ({some}{', ...' if len(names) > 3 else ''})" if some else "none"
    )
