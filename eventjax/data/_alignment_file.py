"""Reading labels of frames from Kaldi's text archives, strictly."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32


# `ali-to-pdf ... ark,t:ali.1.txt`, or packed.
_NAME = re.compile(r"ali\..*txt(\.gz)?")
# In the same folder, names of utterances without alignment that are to be left out.
LEFT_OUT = "left_out.txt"
_Files = Iterable[tuple[PurePosixPath, str, Callable[[], bytes]]]


class Alignment(NamedTuple):
    """Labels of the frames of one utterance, and where they were read, for messages."""

    labels: Int32[np.ndarray, " frames"]
    where: str


def read_alignments(
    files: _Files, folder: str
) -> tuple[dict[str, Alignment], set[str]]:
    """The labels of all files `ali.*.txt` or `ali.*.txt.gz` by utterance, and the names in
    the file left_out.txt, if it is there. Other files are left alone.

    A line is the name of an utterance and a number of at least 0 for each frame, as
    Kaldi's `ali-to-pdf` writes them to `ark,t:`.

    **Arguments:**

    - `files`: path, name for messages and content of each.
    - `folder`: where they are, for messages.

    **Raises:** `ValueError` that names the line, for one of another form or an utterance
    that is there twice, for a file that is damaged, and if there is no alignment at all.
    """
    found: dict[str, Alignment] = {}
    left_out: set[str] = set()
    for path, where, read in files:
        if path.name == LEFT_OUT:
            left_out |= set(_lines(read(), path, where))
        elif _NAME.fullmatch(path.name):
            for number, line in enumerate(_lines(read(), path, where), 1):
                name, labels = _labels(line, f"Line {number} of {where}")
                if name in found:
                    raise ValueError(
                        f"Line {number} of {where} has the utterance {name} once more, "
                        f"after {found[name].where}. Remove one of them."
                    )
                found[name] = Alignment(labels, where)
    if not found:
        raise ValueError(
            f"There is no alignment in {folder}, where files `ali.*.txt` or "
            "`ali.*.txt.gz` must be. Write them with Kaldi's `ali-to-pdf`, to `ark,t:`."
        )
    return found, left_out


def _lines(content: bytes, path: PurePosixPath, where: str) -> list[str]:
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{where} is not a complete gzip file: {error}. Write it anew."
            ) from error
    try:
        return content.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is no text: {error}. Kaldi writes text to `ark,t:`, and what is "
            "written to `ark:` is binary."
        ) from error


def _labels(line: str, place: str) -> tuple[str, np.ndarray]:
    name, *numbers = line.split() or [""]
    if not numbers or not all(x.isdecimal() for x in numbers):
        wrong = next((x for x in numbers if not x.isdecimal()), None)
        found = "no label" if wrong is None else f"{wrong!r}"
        raise ValueError(
            f"{place} must be the name of an utterance and a whole number for each of its "
            f"frames, found {found}. Write it anew with Kaldi's `ali-to-pdf`."
        )
    labels = [int(x) for x in numbers]
    if max(labels) > np.iinfo(np.int32).max:
        raise ValueError(f"{place} has the label {max(labels)}, which no state can be.")
    return name, np.array(labels, np.int32)


def labels_of_frames(
    alignment: Alignment, samples: int, length: int, hop: int, name: str
) -> Int32[np.ndarray, " frames"]:
    """A label for each whole frame of `length` samples, one each `hop`, as
    `eventjax.encoders.mfcc` has them.

    These are Kaldi's frames with `--snip-edges=true`, its default. With false it has
    exactly two more, centred on the middle of each hop: then labels are those of the frames
    whose centres are nearest, a quarter of a hop off for 25 and 10 ms, and the first and
    last are not used. Any other number is an error.

    **Raises:** `ValueError` that names the utterance.
    """
    labels = alignment.labels
    whole = 1 + (samples - length) // hop
    centred = (samples + hop // 2) // hop
    if whole < 1:
        raise ValueError(
            f"The utterance {name} has {samples} samples, too few for one frame of "
            f"{length}. Leave it out: put its name into {LEFT_OUT} beside the alignments."
        )
    if len(labels) == whole:
        return labels
    if len(labels) == centred == whole + 2:
        return labels[1:-1]
    raise ValueError(
        f"The utterance {name} has {samples} samples, which are {whole} whole frames "
        f"({centred} with `--snip-edges=false`), but {len(labels)} labels in "
        f"{alignment.where}. Align it on frames of 25 ms, one each 10 ms, without leaving "
        "any out (`--frame-subsampling-factor` of 1)."
    )
