"""What all encoders of sound ask of a recording."""

import numpy as np
from jaxtyping import Float


def checked_audio(audio: np.ndarray) -> Float[np.ndarray, " samples"]:
    """The samples of one recording as float64.

    **Raises:** `ValueError` for audio that is not one row of finite numbers.
    """
    if audio.ndim != 1:
        raise ValueError(
            "`audio` must be the samples of one recording, of shape (samples,), got shape "
            f"{audio.shape}. Pick one channel of a stereo recording, or their mean."
        )
    if audio.dtype.kind not in "iuf":
        raise ValueError(f"`audio` must be integers or floats, got {audio.dtype}.")
    if len(audio) == 0:
        raise ValueError("`audio` is empty: there is no sample in it.")
    wrong = ~np.isfinite(audio)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"`audio` must be finite, got {audio[first]} at sample {first}; "
            f"{int(wrong.sum())} of {len(audio)} are not finite."
        )
    return audio.astype(np.float64)
