"""Reading recordings in the layout of N-MNIST."""

from pathlib import Path

import numpy as np

from ._camera_events import CameraEvents, checked
from ._folder import PathLike


HEIGHT = WIDTH = 34
BYTES_PER_EVENT = 5
# A record of this row is no event: from it on, times count from 2**13 us later.
OVERFLOW_ROW = 240
OVERFLOW = 1 << 13


def read_nmnist(path: PathLike) -> CameraEvents:
    """The events of a `.bin` file of N-MNIST.

    An event is 40 bits: `x` and `y` with 8 bits each, `polarity` with one, and the time in
    microseconds with 23, the most significant first. A record with a `y` of 240 is not an
    event: it adds 2**13 microseconds to the times of all that follow. (That is how public
    readers take it. The one genuine file this was tested on has no such record, so it is
    UNCONFIRMED.)

    ```python
    events = ej.data.read_nmnist("Train/4/00003.bin")
    events.times, events.units              # in ms, and (polarity * 34 + y) * 34 + x
    ```

    **Arguments:**

    - `path`: the file, which is only read.

    **Returns:** `CameraEvents` of 34 x 34 pixels. Times are as in the file: the first event
    need not be at 0.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if it is cut or
    empty, a pixel is outside of the camera, or times go back.

    ??? cite "Reference"
        Orchard, Jayawant, Cohen, Thakor: Converting static image datasets to spiking
        neuromorphic datasets using saccades. Frontiers in Neuroscience 9, 2015.
        https://www.garrickorchard.com/datasets/n-mnist, stated as CC BY-SA 4.0.
    """
    return parse_nmnist(Path(path).expanduser().read_bytes(), f"`{path}`")


def parse_nmnist(content: bytes, where: str) -> CameraEvents:
    """As `read_nmnist`, of the content of a file; `where` is for messages."""
    rest = len(content) % BYTES_PER_EVENT
    if rest:
        raise ValueError(
            f"{where} is damaged or incomplete: it must hold {BYTES_PER_EVENT} bytes per "
            f"event, but {rest} of its {len(content)} bytes are left over. Replace it by "
            "the original."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, BYTES_PER_EVENT)
    x, y, high, middle, low = records.T.astype(np.int64)
    overflow = y == OVERFLOW_ROW
    microseconds = (high & 0x7F) << 16 | middle << 8 | low
    microseconds += OVERFLOW * np.cumsum(overflow)
    kept = ~overflow
    events = CameraEvents(
        microseconds[kept] / 1000, x[kept], y[kept], high[kept] >> 7, HEIGHT, WIDTH
    )
    return checked(events, where)
