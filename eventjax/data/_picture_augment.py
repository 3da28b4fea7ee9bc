"""Changes of pictures, drawn anew each epoch, that leave their class as it is.

Each is called with pictures `[examples, channels, height, width]` and a random generator,
and returns changed ones of the same shape and type.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class PictureAugmentation(Protocol):
    """What `Batches` takes for an augmentation: any function of this form."""

    def __call__(
        self, pictures: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Each picture moves by up to `border` pixels along both axes; what comes in from
    outside is 0, in networks of first spikes a silent source.

    **Arguments:** `border`, in pixels, at least 1. Raises a `ValueError` for less.
    """

    border: int

    def __post_init__(self):
        if self.border < 1:
            raise ValueError(f"`border` must be at least 1 pixel, got {self.border}.")

    def __call__(self, pictures, rng):
        check_pictures(pictures)
        size, edge = pictures.shape[-2:], (self.border, self.border)
        framed = np.pad(pictures, ((0, 0), (0, 0), edge, edge))
        windows = np.lib.stride_tricks.sliding_window_view(framed, size, axis=(2, 3))
        y, x = rng.integers(0, 2 * self.border + 1, (2, len(pictures)))
        return windows[np.arange(len(pictures)), :, y, x]


@dataclasses.dataclass(frozen=True)
class FlipLeftRight:
    """Half of the pictures, by chance, are mirrored."""

    def __call__(self, pictures, rng):
        check_pictures(pictures)
        flipped = rng.random(len(pictures)) < 0.5
        return np.where(flipped[:, None, None, None], pictures[..., ::-1], pictures)


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A square of each picture becomes 0. Its centre is anywhere in the picture, so part
    of it may lie outside (DeVries and Taylor, arXiv 1708.04552).

    **Arguments:** `size` of the square in pixels, at least 1. Raises a `ValueError` for
    less.
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"`size` must be at least 1 pixel, got {self.size}.")

    def __call__(self, pictures, rng):
        check_pictures(pictures)

        def inside(length):
            first = rng.integers(0, length, len(pictures)) - self.size // 2
            place = np.arange(length)[None] - first[:, None]
            return (place >= 0) & (place < self.size)

        rows, columns = (inside(length) for length in pictures.shape[-2:])
        hidden = rows[:, None, :, None] & columns[:, None, None, :]
        return np.where(hidden, pictures.dtype.type(0), pictures)


def check_pictures(pictures: np.ndarray) -> None:
    if pictures.ndim != 4:
        raise ValueError(
            "`pictures` must have shape [examples, channels, height, width], got "
            f"{pictures.shape}: add the axis of channels, also if there is one only."
        )
