"""Finding the utterances of TIMIT among files, by their names."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from ._audio_file import read_audio
from ._phone_file import parse_phones, PhoneSegments


SAMPLE_RATE = 16000  # Hz

# A folder for each region with a folder for each speaker, or one folder for both.
_PLACE = re.compile(r"(?:^|/)(dr[1-8])[/-]([fm][a-z]{3}\d)/(s[aix]\d+)\.(wav|phn)")


class File(NamedTuple):
    """What it is called in messages, and what gives its content."""

    where: str
    read: Callable[[], bytes]


class Utterance(NamedTuple):
    """A recording and its transcription.

    - `speaker`: such as `dr1-fcjf0`: region, sex, initials and number.
    - `name`: such as `sx37`.
    """

    speaker: str
    name: str
    audio: File
    phones: File

    def read(self) -> tuple[np.ndarray, PhoneSegments]:
        """Samples and segments.

        **Raises:** `ValueError` that names the file that is damaged.
        """
        audio = read_audio(self.audio.read(), SAMPLE_RATE, self.audio.where)
        content, where = self.phones.read(), self.phones.where
        return audio, parse_phones(content, len(audio), where)


def find_utterances(
    files: Iterable[tuple[PurePosixPath, str, Callable[[], bytes]]], where: str
) -> list[Utterance]:
    """All utterances, by speaker and then by name. Upper and lower case are alike, and
    files that are neither recordings nor transcriptions of phones are left alone.

    The two sentences `sa1` and `sa2`, which every speaker reads, are among them.

    **Raises:** `ValueError` for a recording without its transcription or the other way
    round, one that is there twice or in another place, or no recording at all; `where` they
    are is for its message.
    """
    found: dict[tuple[str, str], dict[str, File]] = defaultdict(dict)
    for path, file_where, read in files:
        name = path.as_posix().lower()
        # Some copies have, beside each `x.wav`, an `x.wav.wav` made from it. Names with a
        # dot in front are what an operating system has left.
        if path.name.startswith(".") or name.endswith(".wav.wav"):
            continue
        if not name.endswith((".wav", ".phn")):
            continue
        place = _PLACE.search(name)
        if place is None or place.end() != len(name):
            raise ValueError(
                f"{file_where} has no place in TIMIT, where a recording lies in the folder "
                "of its speaker in that of a region, as DR1/FCJF0/SX37.WAV does. Give it "
                "its own name again."
            )
        region, speaker, sentence, kind = place.groups()
        kinds = found[f"{region}-{speaker}", sentence]
        if kind in kinds:
            raise ValueError(
                f"{kinds[kind].where} and {file_where} are the same file of TIMIT. Remove "
                "the one that is not an original."
            )
        kinds[kind] = File(file_where, read)
    if not found:
        raise ValueError(
            f"There is no recording `*.wav` in {where}. Replace it by the original."
        )
    for kinds in found.values():
        absent = {"wav", "phn"} - set(kinds)
        if absent:
            (file,) = kinds.values()
            raise ValueError(
                f"{file.where} has no `.{absent.pop()}` file beside it. Complete it from "
                "the originals."
            )
    return [
        Utterance(speaker, sentence, kinds["wav"], kinds["phn"])
        for (speaker, sentence), kinds in sorted(found.items())
    ]
