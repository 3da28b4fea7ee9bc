"""Finding the utterances of LibriSpeech among files, by their names."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from ._timit_files import File


# A folder for each speaker with one for each chapter.
_AUDIO = re.compile(r"(?:^|/)(\d+)/(\d+)/(\1-\2-\d+)\.flac")
_TEXT = re.compile(r"(?:^|/)(\d+)/(\d+)/\1-\2\.trans\.txt")


class Reading(NamedTuple):
    """One utterance: a recording and what is read in it.

    - `name`: such as `103-1240-0000`: speaker, chapter and number.
    - `speaker`: such as `103`.
    """

    name: str
    speaker: str
    audio: File
    text: str


def find_readings(
    files: Iterable[tuple[PurePosixPath, str, Callable[[], bytes]]], where: str
) -> list[Reading]:
    """All utterances, by speaker, chapter and number. Files that are neither recordings
    nor transcripts are left alone.

    **Raises:** `ValueError` for a recording without a line in its transcript or the other
    way round, one that is there twice or in another place, a transcript that is no text,
    or no recording at all; `where` they are is for its message.
    """
    audio: dict[str, File] = {}
    texts: dict[str, tuple[str, str]] = {}
    for path, file_where, read in files:
        name = path.as_posix()
        # Names with a dot in front are what an operating system has left.
        if path.name.startswith(".") or not name.endswith((".flac", ".trans.txt")):
            continue
        is_audio = name.endswith(".flac")
        place = (_AUDIO if is_audio else _TEXT).search(name)
        if place is None or place.end() != len(name):
            raise ValueError(
                f"{file_where} has no place in LibriSpeech, where it would lie in the "
                "folder of its chapter in that of its speaker, as "
                "103/1240/103-1240-0000.flac and 103/1240/103-1240.trans.txt do. Give it "
                "its own name again."
            )
        if is_audio:
            _add(audio, place[3], File(file_where, read), file_where)
        else:
            for line_where, key, text in _lines(read(), file_where, place[1], place[2]):
                _add(texts, key, (text, line_where), line_where)
    if not audio:
        raise ValueError(
            f"There is no recording `*.flac` in {where}. Replace it by the original."
        )
    for key in sorted(texts.keys() - audio.keys()):
        raise ValueError(
            f"{texts[key][1]} is of {key}, but there is no recording of that name. "
            "Complete it from the originals."
        )
    for key in sorted(audio.keys() - texts.keys()):
        raise ValueError(
            f"{audio[key].where} has no line in the transcript of its chapter. Complete it "
            "from the originals."
        )
    order = sorted(audio, key=lambda key: [int(x) for x in key.split("-")])
    return [Reading(k, k.split("-")[0], audio[k], texts[k][0]) for k in order]


def _add(found: dict, key: str, value: object, where: str) -> None:
    if key in found:
        raise ValueError(
            f"The utterance {key} is there once more in {where}. Remove what is not an "
            "original."
        )
    found[key] = value


def _lines(
    content: bytes, where: str, speaker: str, chapter: str
) -> Iterable[tuple[str, str, str]]:
    """Where each line is, the utterance it is of, and its text."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is no text: {error}. Replace it by the original."
        ) from error
    for number, line in enumerate(lines, 1):
        key, _, text = line.partition(" ")
        place = f"Line {number} of {where}"
        if not text.strip() or not re.fullmatch(rf"{speaker}-{chapter}-\d+", key):
            raise ValueError(
                f"{place} must be an utterance of this chapter and its words, found "
                f"{line!r}. Replace the file by the original."
            )
        yield place, key, text.strip()
