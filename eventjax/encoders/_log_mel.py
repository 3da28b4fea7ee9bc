"""Sound to frames of logarithmic energies, each of a band of frequencies."""

import numpy as np
from jaxtyping import Float

from ._mfcc import mel_energies


def log_mel(
    audio: np.ndarray,
    sample_rate: float | int = 16000,
    *,
    window: float = 25.0,
    step: float = 10.0,
    pre_emphasis: float = 0.97,
    fft_size: int = 512,
    filters: int = 40,
) -> Float[np.ndarray, "frames filters"]:
    """Natural logarithms of the energies of triangular filters on the mel scale, of one
    recording: what `mfcc` has before its cosine transform, in other units and as they are,
    with how loud the recording is.

    ```python
    frames = ej.encoders.log_mel(audio)     # of 1 s at 16 kHz: shape (98, 40)
    ```

    **Arguments:** as for `mfcc`, whose frames these are: only whole ones.

    - `filters`: how many bands.

    **Returns:** float64 of shape `[frames, filters]`. Energies below some -150 dB of the
    recording's largest count as that much.

    **Raises:** `ValueError` as `mfcc` does.
    """
    return np.log(
        mel_energies(audio, sample_rate, window, step, pre_emphasis, fft_size, filters)
    )
