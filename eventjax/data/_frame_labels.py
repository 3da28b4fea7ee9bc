"""From segments in time to a label for each frame."""

import numpy as np
from jaxtyping import Int

from ..encoders._mfcc import in_samples


def frame_labels(
    ends: Int[np.ndarray, " segments"],
    labels: Int[np.ndarray, " segments"],
    frames: int,
    *,
    sample_rate: float | int = 16000,
    window: float = 25.0,
    step: float = 10.0,
) -> Int[np.ndarray, " frames"]:
    """The label of each frame of `eventjax.encoders.mfcc`: that of the first segment which
    ends after the frame's centre.

    A frame whose centre no segment covers has the label of the next segment. After the
    last segment it has that of the first, which in TIMIT is silence, `h#`: transcriptions
    there may stop before the recording does. Code that is taken for that of van der Veen
    (arXiv 2201.07602) labels frames so; that the paper does is unconfirmed.

    **Arguments:**

    - `ends`: where each segment ends, in samples, ascending.
    - `labels`: the label of each segment.
    - `frames`: how many frames there are.
    - `sample_rate`: samples per second, in Hz.
    - `window`, `step`: length of a frame and from one frame to the next, in ms.

    **Returns:** int32 of shape `[frames]`.

    **Raises:** `ValueError` if there is no segment or `ends` do not ascend.
    """
    if len(ends) == 0:
        raise ValueError("There must be at least one segment, got none.")
    if np.any(np.diff(ends) <= 0):
        raise ValueError(f"`ends` must ascend, got {ends}. Sort the segments first.")
    length, hop = in_samples(window, sample_rate), in_samples(step, sample_rate)
    centres = length / 2 + hop * np.arange(frames)
    place = np.searchsorted(ends, centres, side="right")
    return np.append(labels, labels[0]).astype(np.int32)[place]
