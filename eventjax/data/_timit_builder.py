"""TIMIT and its free sample as tensorflow-datasets builders.

To be imported only where tensorflow-datasets is at hand.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ._phones import PHONES
from ._raw_files import locate, unpacked_size
from ._recordings import all_files
from ._tar_archive import MADE_UP, read_archive
from ._timit_files import find_utterances, Utterance
from ._timit_speakers import CORE_TEST, DEVELOPMENT


class AbstractTimitSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Speech with the phones in it, by speaker and then by sentence.

    The sentences SA1 and SA2, which every speaker reads, are left out, as TIMIT's documents
    ask: they would be in the training and the test set alike. Names are looked at before
    the first example is written, recordings as they are read.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        def tensor(dtype):
            return tfds.features.Tensor(shape=(None,), dtype=dtype, encoding="bytes")

        segments = {name: tensor(np.int32) for name in ("start", "end", "phone")}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "audio": tensor(np.int16),
                    "segments": segments,
                    "speaker": tfds.features.Scalar(dtype=np.int32),
                    "utterance": tfds.features.Text(),
                }
            ),
            homepage="https://catalog.ldc.upenn.edu/LDC93S1",
            license=self.LICENSE,
            citation=(
                "Garofolo, Lamel, Fisher, Fiscus, Pallett, Dahlgren, Zue: TIMIT "
                "Acoustic-Phonetic Continuous Speech Corpus LDC93S1. Linguistic Data "
                "Consortium, 1993."
            ),
            # Speakers are known only when the files are there.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _generators(
        self,
        splits: Mapping[str, Sequence[Utterance]],
        raw_sizes: Mapping[str, int],
        made_up: bool,
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        names = sorted({x.speaker for found in splits.values() for x in found})
        self.info.metadata["label_names"] = list(PHONES)
        self.info.metadata["speaker_names"] = names
        self.info.metadata["raw_sizes"] = dict(raw_sizes)
        self.info.metadata["made_up"] = made_up
        return {
            split: self._generate_examples(utterances, names)
            for split, utterances in splits.items()
        }

    def _generate_examples(
        self, utterances: Sequence[Utterance], speakers: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, utterance in enumerate(utterances):
            audio, segments = utterance.read()
            yield (
                i,
                {
                    "audio": audio,
                    "segments": segments._asdict(),
                    "speaker": speakers.index(utterance.speaker),
                    "utterance": utterance.name,
                },
            )


class EventjaxTimit(AbstractTimitSet):
    """TIMIT from its published folders, plain or in zip archives.

    Of the folder `TEST`, the core test set is "test", the 50 speakers of the development
    set in general use are "validation", and all others are "other". Either all 630 speakers
    with their 8 sentences are there, or the folder says of itself that it is made up.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`TRAIN` and `TEST` are the folders of https://catalog.ldc.upenn.edu/LDC93S1, with "
        "files such as TRAIN/DR1/FCJF0/SX37.WAV and SX37.PHN, in upper or lower case. The "
        "folder that holds them may itself be named as the data folder. TIMIT is licensed "
        "by the Linguistic Data Consortium; a free sample is the set 'timit_sample'."
    )
    SHA256 = {}
    SUBFOLDER = "timit"
    FILES = {"train": {"speech": "TRAIN"}, "test": {"speech": "TEST"}}
    DESCRIPTION = "TIMIT: read American English with its phones."
    LICENSE = "Linguistic Data Consortium: no free copies."
    # Speakers of each folder, and sentences of each of them without SA1 and SA2.
    SPEAKERS = {"train": 462, "test": 168}
    SENTENCES = 8

    def download_and_prepare(self, **settings: Any) -> None:
        # Archives stay open for as long as the set is being prepared.
        with contextlib.ExitStack() as self._stack:
            super().download_and_prepare(**settings)

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        made_up = (folder / MADE_UP).is_file()
        found, sizes = {}, {}
        for part, names in self.FILES.items():
            path = locate(folder, names["speech"])
            if path is None:
                raise FileNotFoundError(
                    f"There is no `{names['speech']}` in `{folder}`."
                )
            utterances = find_utterances(all_files(path, self._stack), f"`{path}`")
            found[part] = _without_sa(utterances)
            if not made_up:
                self._check_complete(found[part], self.SPEAKERS[part], path)
            sizes[path.name] = unpacked_size(path)
        both = _speakers(found["train"]) & _speakers(found["test"])
        if both:
            raise ValueError(
                f"Speakers are in `TRAIN` and in `TEST` of `{folder}`: "
                f"{', '.join(sorted(both))}. Restore the original folders."
            )
        return self._generators(_split_test(found, folder), sizes, made_up)

    def _check_complete(
        self, utterances: Sequence[Utterance], expected: int, path: Path
    ) -> None:
        counts = Counter(x.speaker for x in utterances)
        wrong = sorted(x for x, n in counts.items() if n != self.SENTENCES)
        if len(counts) != expected or wrong:
            also = f", and {wrong[0]} has {counts[wrong[0]]}" if wrong else ""
            raise ValueError(
                f"`{path}` must hold {expected} speakers with {self.SENTENCES} sentences "
                f"each, SA1 and SA2 not counted, but there are {len(counts)} speakers"
                f"{also}. Complete it from the originals."
            )


class EventjaxTimitSample(AbstractTimitSet):
    """The free sample of TIMIT that comes with NLTK: a man and a woman of each region.

    All 16 are training speakers of TIMIT, so there is no official split. Here 4 are for
    testing and 2 for validation, from different regions, so that those left for training
    are from all regions; half are men.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The archive holds the folder corpora/timit of https://github.com/nltk/nltk at the "
        "commit f3715510a7995c2dc51248c9ca5c6d10cc4efc3e. Other commits hold damaged "
        "recordings. Keep it packed."
    )
    SUBFOLDER = "timit_sample_nltk"
    FILES = {"speech": {"archive": "timit_sample.tar.xz"}}
    SHA256 = {
        "timit_sample.tar.xz": (
            "18af1a6c0c74512635b3c4d6789a533c2c5175b817bcab266a331b9faa0fd01e"
        )
    }
    DESCRIPTION = "A sample of TIMIT: read American English with its phones."
    LICENSE = "CC BY-NC-SA: not for commercial use."
    TEST = ("dr1-fvmh0", "dr3-madc0", "dr5-ftlg0", "dr7-madd0")
    VALIDATION = ("dr2-faem0", "dr6-mbma1")

    def _split_generators(self, dl_manager):
        (archive,) = self.FILES["speech"].values()
        path = Path(dl_manager.manual_dir) / archive
        files, made_up = read_archive(path, self.SHA256[archive])
        named = [
            (name, f"`{name}` in `{path}`", _reader(content))
            for name, content in files.items()
        ]
        splits = {"train": [], "validation": [], "test": []}
        held_out = {
            **dict.fromkeys(self.TEST, "test"),
            **dict.fromkeys(self.VALIDATION, "validation"),
        }
        for utterance in _without_sa(find_utterances(named, f"`{path}`")):
            splits[held_out.get(utterance.speaker, "train")].append(utterance)
        _check_all_there(splits, f"`{path}`")
        return self._generators(splits, {archive: unpacked_size(path)}, made_up)


def _without_sa(utterances: Sequence[Utterance]) -> list[Utterance]:
    return [x for x in utterances if not x.name.startswith("sa")]


def _speakers(utterances: Sequence[Utterance]) -> set[str]:
    return {x.speaker for x in utterances}


def _split_test(
    found: Mapping[str, Sequence[Utterance]], folder: Path
) -> dict[str, list[Utterance]]:
    splits = {"train": list(found["train"]), "validation": [], "test": [], "other": []}
    for utterance in found["test"]:
        if utterance.speaker in CORE_TEST:
            splits["test"].append(utterance)
        elif utterance.speaker in DEVELOPMENT:
            splits["validation"].append(utterance)
        else:
            splits["other"].append(utterance)
    _check_all_there(splits, f"`{folder}`")
    return splits


def _check_all_there(splits: Mapping[str, Sequence[Utterance]], where: str) -> None:
    empty = [split for split, utterances in splits.items() if not utterances]
    if empty:
        raise ValueError(
            f"{where} has no speaker whose sentences belong to the split "
            f"{' or '.join(repr(x) for x in empty)}. Complete it from the originals."
        )


def _reader(content: bytes):
    return lambda: content
