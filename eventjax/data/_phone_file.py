"""Reading phone transcriptions, `.PHN` files, strictly."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from ._phones import PHONES


class PhoneSegments(NamedTuple):
    """Phones of one recording, in their order.

    - `start`, `end`: the first sample of a segment, and the first one after it.
    - `phone`: its place in `PHONES`.
    """

    start: Int32[np.ndarray, " segments"]
    end: Int32[np.ndarray, " segments"]
    phone: Int32[np.ndarray, " segments"]


def parse_phones(content: bytes, samples: int, where: str) -> PhoneSegments:
    """The segments of a file with a line `start end phone` for each, of a recording with so
    many samples; `where` it is, is for messages.

    There may be gaps, and the recording may go on after the last segment: TIMIT's documents
    say that it can.

    **Raises:** `ValueError` for a line of another form, an unknown phone, a segment that is
    empty, overlaps with the one before or goes back behind it, or runs past the end of the
    recording, or no segment at all.
    """
    rows, previous = [], 0
    for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
        place = f"Line {number} of {where}"
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not all(x.isdecimal() for x in fields[:2]):
            raise ValueError(
                f"{place} must be a start, an end and a phone, found {line!r}. Replace the "
                "file by the original."
            )
        start, end, phone = int(fields[0]), int(fields[1]), fields[2]
        if phone not in PHONES:
            raise ValueError(
                f"{place} has the unknown phone {phone!r}. The {len(PHONES)} known ones "
                f"are {' '.join(PHONES)}."
            )
        if end <= start:
            raise ValueError(
                f"{place} is a segment without length, from {start} to {end}. Replace the "
                "file by the original."
            )
        if start < previous:
            raise ValueError(
                f"{place} overlaps with the segment before it or goes back behind it: it "
                f"starts at {start}, but that ends at {previous}. Segments must ascend."
            )
        if end > samples:
            raise ValueError(
                f"{place} runs past the end of the recording: it ends at {end}, but there "
                f"are {samples} samples. One of the two files is not the original."
            )
        rows.append((start, end, PHONES.index(phone)))
        previous = end
    if not rows:
        raise ValueError(
            f"There is no segment in {where}. Replace the file by the original."
        )
    return PhoneSegments(*np.array(rows, np.int32).T)
