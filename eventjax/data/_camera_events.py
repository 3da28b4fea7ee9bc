"""What an event camera has recorded, in memory."""

from typing import NamedTuple

import numpy as np


class CameraEvents(NamedTuple):
    """Events of a camera of `height` x `width` pixels, at least one, in the order of time.

    - `times`: float64 of shape `(events,)`: when, in ms, ascending.
    - `x`, `y`: int64 of shape `(events,)`: column and row, from 0.
    - `polarity`: int64 of shape `(events,)`: 0 or 1, one for darker and one for brighter.
    - `height`, `width`: in pixels.
    """

    times: np.ndarray
    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray
    height: int
    width: int

    @property
    def units(self) -> np.ndarray:
        """The input channel of each event, `(polarity * height + y) * width + x`: uint16 of
        shape `(events,)`. Counts of events by unit make images of the shape
        `(2, height, width)`."""
        units = (self.polarity * self.height + self.y) * self.width + self.x
        return units.astype(np.uint16)


def checked(events: CameraEvents, where: str) -> CameraEvents:
    """The same events.

    **Raises:** `ValueError` that begins with the file, `where`, if there is no event,
    pixels are outside of the camera, or times go back.
    """
    if len(events.times) == 0:
        raise ValueError(f"{where} holds no event. Replace it by the original.")
    for name, values, size in (
        ("x", events.x, events.width),
        ("y", events.y, events.height),
    ):
        wrong = values >= size
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{where} is not what it should be: `{name}` must be from 0 to "
                f"{size - 1}, but event {first} has {values[first]}. Replace it by the "
                "original."
            )
    falls = np.flatnonzero(np.diff(events.times) < 0)
    if falls.size:
        before, after = events.times[falls[0]], events.times[falls[0] + 1]
        raise ValueError(
            f"{where} is not what it should be: times must not go back, but event "
            f"{falls[0] + 1} is at {after} ms, after one at {before} ms (times go back "
            f"{falls.size} times). Replace it by the original."
        )
    return events
