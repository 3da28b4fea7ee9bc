"""LibriSpeech's 100 hours of clean speech with labels of frames, as a tensorflow-datasets
builder.

To be imported only where tensorflow-datasets is at hand.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ..encoders._mfcc import in_samples
from ._alignment_file import Alignment, labels_of_frames, LEFT_OUT, read_alignments
from ._audio_file import read_audio
from ._librispeech_files import find_readings, Reading
from ._raw_files import locate, unpacked_size
from ._recordings import all_files
from ._tar_archive import MADE_UP
from ._timit_files import SAMPLE_RATE


_WINDOW, _STEP = 25.0, 10.0  # ms, of the frames that have labels


class EventjaxLibriSpeech(tfds.core.GeneratorBasedBuilder):
    """Read English from its published folders, with a label for each 10 ms from Kaldi's
    alignments, by speaker, then chapter, then number.

    Names, transcripts and alignments are looked at before the first example is written,
    recordings as they are read. Either all utterances are there, or the folder says of
    itself that it is made up.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`train-clean-100`, `dev-clean` and `test-clean` are the folders of "
        "https://www.openslr.org/12, with files such as "
        "train-clean-100/103/1240/103-1240-0000.flac. `alignments` has a folder of the "
        "same name for each of them, with files ali.1.txt, ali.2.txt.gz and so on, as "
        "Kaldi's `ali-to-pdf final.mdl 'ark:gunzip -c ali.1.gz|' ark,t:ali.1.txt` writes "
        "them, of frames of 25 ms, one each 10 ms. Utterances that could not be aligned "
        f"are left out if they are named there in a file {LEFT_OUT}, a line each."
    )
    SHA256 = {}
    SUBFOLDER = "LibriSpeech"
    FILES = {
        "train": {"speech": "train-clean-100"},
        "validation": {"speech": "dev-clean"},
        "test": {"speech": "test-clean"},
        "labels": {"alignments": "alignments"},
    }
    # Utterances of each folder.
    UTTERANCES = {"train-clean-100": 28539, "dev-clean": 2703, "test-clean": 2620}

    def _info(self) -> tfds.core.DatasetInfo:
        def tensor(dtype):
            return tfds.features.Tensor(shape=(None,), dtype=dtype, encoding="bytes")

        return tfds.core.DatasetInfo(
            builder=self,
            description="LibriSpeech: read English with states for each frame.",
            features=tfds.features.FeaturesDict(
                {
                    "audio": tensor(np.int16),
                    "label": tensor(np.int32),
                    "speaker": tfds.features.Scalar(dtype=np.int32),
                    "text": tfds.features.Text(),
                    "utterance": tfds.features.Text(),
                }
            ),
            homepage="https://www.openslr.org/12",
            license="CC BY 4.0",
            citation=(
                "Panayotov, Chen, Povey, Khudanpur: LibriSpeech: an ASR corpus based on "
                "public domain audio books. ICASSP, 2015."
            ),
            # Speakers and states are known only when the files are there.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def download_and_prepare(self, **settings: Any) -> None:
        # Archives stay open for as long as the set is being prepared.
        with contextlib.ExitStack() as self._stack:
            super().download_and_prepare(**settings)

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        made_up = (folder / MADE_UP).is_file()
        splits, sizes, left_out = {}, {}, {}
        for split in ("train", "validation", "test"):
            part = self.FILES[split]["speech"]
            path = _located(folder, part)
            readings = find_readings(all_files(path, self._stack), f"`{path}`")
            if not made_up and len(readings) != self.UTTERANCES[part]:
                raise ValueError(
                    f"`{path}` must hold {self.UTTERANCES[part]} utterances, found "
                    f"{len(readings)}. Complete it from the originals."
                )
            place = _located(_located(folder, "alignments"), part)
            found, without = read_alignments(
                all_files(place, self._stack), f"`{place}`"
            )
            _check_same(readings, found, without, f"`{place}`")
            kept = [x for x in readings if x.name not in without]
            splits[split] = [(x, found[x.name]) for x in kept]
            left_out[split] = len(without)
            sizes[path.name] = unpacked_size(path)
        sizes["alignments"] = unpacked_size(_located(folder, "alignments"))
        both = [pair for pairs in splits.values() for pair in pairs]
        speakers = sorted({reading.speaker for reading, _ in both}, key=int)
        self.info.metadata["speaker_names"] = speakers
        self.info.metadata["num_classes"] = 1 + max(
            int(a.labels.max()) for _, a in both
        )
        self.info.metadata["left_out"] = left_out
        self.info.metadata["raw_sizes"] = sizes
        self.info.metadata["made_up"] = made_up
        return {
            split: self._generate_examples(pairs, speakers)
            for split, pairs in splits.items()
        }

    def _generate_examples(
        self, pairs: Sequence[tuple[Reading, Alignment]], speakers: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        frame, hop = (in_samples(x, SAMPLE_RATE) for x in (_WINDOW, _STEP))
        place = {name: k for k, name in enumerate(speakers)}
        for i, (reading, alignment) in enumerate(pairs):
            audio = read_audio(reading.audio.read(), SAMPLE_RATE, reading.audio.where)
            yield (
                i,
                {
                    "audio": audio,
                    "label": labels_of_frames(
                        alignment, len(audio), frame, hop, reading.name
                    ),
                    "speaker": place[reading.speaker],
                    "text": reading.text,
                    "utterance": reading.name,
                },
            )


def _located(folder: Path, name: str) -> Path:
    path = locate(folder, name)
    if path is None:
        raise FileNotFoundError(
            f"There is no `{name}` in `{folder}`. "
            f"{EventjaxLibriSpeech.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    return path


def _check_same(
    readings: Sequence[Reading],
    found: Collection[str],
    left_out: Collection[str],
    where: str,
) -> None:
    """A `ValueError` unless each utterance has an alignment or is left out, each alignment
    and each name that is left out is of an utterance, and something is left."""
    names = {x.name for x in readings}
    faults = (
        (
            names - set(found) - set(left_out),
            f"in {where} have no alignment. Align them, or, to do without them, put their "
            f"names into its file {LEFT_OUT}.",
        ),
        (
            set(found) - names,
            f"are aligned in {where}, but there is no recording of them. Complete the set "
            "from the originals, or make alignments of these.",
        ),
        (
            set(left_out) - names,
            f"are named in the file {LEFT_OUT} in {where}, but there is no recording of "
            "them. Take them out of it.",
        ),
        (
            set() if names - set(left_out) else names,
            f"are all left out by the file {LEFT_OUT} in {where}. Keep some.",
        ),
    )
    for wrong, what in faults:
        if wrong:
            some = ", ".join(sorted(wrong)[:3]) + (", ..." if len(wrong) > 3 else "")
            raise ValueError(f"Utterances ({len(wrong)}: {some}) {what}")
