"""Reading recordings of a camera of 128 x 128 pixels in the format AEDAT 2.0."""

from pathlib import Path

import numpy as np

from ._camera_events import CameraEvents, checked
from ._folder import PathLike


HEIGHT = WIDTH = 128
VERSION_LINE = b"#!AER-DAT2.0"
_BYTES_PER_EVENT = 8
# Polarity, y and x are all there is to an address: of 1, 7 and 7 bits.
_ADDRESS_BITS = 15


def read_aedat2(path: PathLike) -> CameraEvents:
    """The events of an `.aedat` file of CIFAR10-DVS, or of another camera of 128 x 128
    pixels with the same addresses.

    Lines that begin with `#`, the first with `#!AER-DAT2.0`, are followed by an address and
    a time in microseconds per event, each a big-endian 32-bit integer. Of an address,
    bit 0 is `polarity`, bits 1 to 7 are `y` and bits 8 to 14 are `x`.

    These are given as they are in the file. Public readers of CIFAR10-DVS take `127 - x`,
    `127 - y` and `1 - polarity` for pictures that are upright and a polarity of 1 for
    brighter; this is UNCONFIRMED here, where no genuine file was at hand.

    ```python
    events = ej.data.read_aedat2("airplane/cifar10_airplane_0.aedat")
    events.times, events.units              # in ms, and (polarity * 128 + y) * 128 + x
    ```

    **Arguments:**

    - `path`: the file, which is only read.

    **Returns:** `CameraEvents` of 128 x 128 pixels, the first at 0 ms.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if it is cut or
    empty, of another version of AEDAT, an address has other bits, or times go back.

    ??? cite "Reference"
        Li, Liu, Ji, Li, Shi: CIFAR10-DVS: An event-stream dataset for object
        classification. Frontiers in Neuroscience 11, 2017.
        https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671.
    """
    return parse_aedat2(Path(path).expanduser().read_bytes(), f"`{path}`")


def parse_aedat2(content: bytes, where: str) -> CameraEvents:
    """As `read_aedat2`, of the content of a file; `where` is for messages."""
    start = _end_of_header(content, where)
    rest = (len(content) - start) % _BYTES_PER_EVENT
    if rest:
        raise ValueError(
            f"{where} is damaged or incomplete: it must hold {_BYTES_PER_EVENT} bytes per "
            f"event after its header, but {rest} of {len(content) - start} bytes are left "
            "over. Replace it by the original."
        )
    words = np.frombuffer(content[start:], ">u4").reshape(-1, 2).astype(np.int64)
    address, microseconds = words.T
    wrong = address >= 1 << _ADDRESS_BITS
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{where} is not what it should be: addresses must have {_ADDRESS_BITS} bits, "
            f"those of a camera of {WIDTH} x {HEIGHT} pixels, but event {first} has "
            f"{address[first]:#x}. Replace it by the original."
        )
    events = CameraEvents(
        # Not of the smallest time: if times go back, that is to be found.
        (microseconds - microseconds[:1]) / 1000,
        address >> 8,
        address >> 1 & 0x7F,
        address & 1,
        HEIGHT,
        WIDTH,
    )
    return checked(events, where)


def _end_of_header(content: bytes, where: str) -> int:
    """Where the first event is. Its address has 15 bits of 32, so it cannot begin like a
    line of the header."""
    if not content.startswith(VERSION_LINE):
        raise ValueError(
            f"{where} must begin with `{VERSION_LINE.decode()}`, found "
            f"{content[: len(VERSION_LINE)]!r}: it is not of version 2.0 of AEDAT, and "
            "others are not read. Replace it by the original."
        )
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        # Lines are text. In an event there are zeros: its address has 15 bits of 32.
        if end < 0 or 0 in content[start:end]:
            raise ValueError(
                f"{where} is damaged or incomplete: it ends inside its header, or a line "
                "of that has no end. Replace it by the original."
            )
        start = end + 1
    return start
