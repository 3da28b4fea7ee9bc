"""Sound to frames of mel-frequency cepstral coefficients, the usual features of speech."""

import functools as ft
import math

import numpy as np
import scipy.fft
from jaxtyping import Float

from ._audio_checks import checked_audio


# Differences over time are fitted to this many frames on each side.
_REACH = 2
# Energies below this part of the largest, some 150 dB, count as this much: digital silence
# has a logarithm, too, and how loud a recording is makes no difference.
_FLOOR = float(np.finfo(np.float64).eps)


def mfcc(
    audio: np.ndarray,
    sample_rate: float | int = 16000,
    *,
    window: float = 25.0,
    step: float = 10.0,
    pre_emphasis: float = 0.97,
    fft_size: int = 512,
    filters: int = 26,
    coefficients: int = 13,
    lifter: int = 22,
    derivatives: int = 2,
) -> Float[np.ndarray, "frames features"]:
    r"""Mel-frequency cepstral coefficients of one recording, with their derivatives.

    1. **Pre-emphasis**, $y_t = x_t - 0.97\, x_{t-1}$, and frames of 25 ms, one each 10 ms,
        weighted by a Hamming window. Only whole frames: what is left at the end, less than
        10 ms, is in none.
    2. **Power spectrum** by an FFT of 512 points, summed by 26 triangular filters whose
        corners are equally spaced from 0 Hz to half the sample rate on the mel scale,
        $2595 \log_{10}(1 + f / 700)$, each moved down to bin
        $\lfloor 513 f / f_s \rfloor$ of the FFT.
    3. **Cepstrum**: the orthonormal cosine transform (DCT-II) of $20 \log_{10}$ of the
        energies, from which coefficients 1 to 13 are kept; coefficient 0, the loudness, is
        not. Coefficient $n$ is multiplied by $1 + 11 \sin(\pi n / 22)$, and its mean over
        the recording is taken off.
    4. **Derivatives**: slopes of straight lines fitted to five frames, the first and last
        repeated at the ends, of the coefficients, and then of these slopes.

    ```python
    frames = ej.encoders.mfcc(audio)        # of 1 s at 16 kHz: shape (98, 39)
    ```

    Numbers are those of the code that is taken for that of van der Veen (arXiv
    2201.07602); that his results rest on them is unconfirmed. It differs in two places: its
    Hamming window is constant over a frame, by what looks like a slip, and it numbers
    coefficients from 0 for their factors. (Fixed factors vanish when features are
    standardised.)

    **Arguments:**

    - `audio`: the samples of one recording, shape `[samples]`, integers or floats of any
        scale.
    - `sample_rate`: samples per second, in Hz.
    - `window`, `step`: length of a frame, and from one frame to the next, in ms.
    - `pre_emphasis`: 0 for none.
    - `fft_size`: points of the FFT, no fewer than a frame has samples.
    - `filters`: how many.
    - `coefficients`: how many are kept, fewer than `filters`.
    - `lifter`: 22 in the factors above; 0 for no factors.
    - `derivatives`: 0, 1 or 2.

    **Returns:** float64 of shape `[frames, coefficients * (1 + derivatives)]`: all
    coefficients, then their first and second derivatives, per frame.

    **Raises:** `ValueError` for audio that is not one row of finite numbers, or is shorter
    than a frame, and for settings outside their range.
    """
    _check_features(coefficients, filters, lifter, derivatives)
    energy = mel_energies(
        audio, sample_rate, window, step, pre_emphasis, fft_size, filters
    )
    decibels = 20 * np.log10(energy)
    cepstrum = np.asarray(scipy.fft.dct(decibels, norm="ortho"))[
        :, 1 : coefficients + 1
    ]
    if lifter:
        n = np.arange(1, coefficients + 1)
        cepstrum = cepstrum * (1 + lifter / 2 * np.sin(np.pi * n / lifter))
    features = [cepstrum - cepstrum.mean(axis=0)]
    for _ in range(derivatives):
        features.append(_slopes(features[-1]))
    return np.concatenate(features, axis=1)


def mel_energies(
    audio: np.ndarray,
    sample_rate: float | int,
    window: float,
    step: float,
    pre_emphasis: float,
    fft_size: int,
    filters: int,
) -> Float[np.ndarray, "frames filters"]:
    """Positive energies of the filters, steps 1 and 2 of `mfcc`."""
    length, hop = _check_frames(window, step, sample_rate, fft_size)
    if not math.isfinite(pre_emphasis):
        raise ValueError(f"`pre_emphasis` must be finite, got {pre_emphasis}.")
    audio = checked_audio(audio)
    if len(audio) < length:
        raise ValueError(
            f"`audio` must be at least as long as a frame, {length} samples, got "
            f"{len(audio)}. Leave such a recording out, or choose a shorter `window`."
        )
    bank = _mel_bank(filters, fft_size, float(sample_rate))

    emphasised = np.append(audio[0], audio[1:] - pre_emphasis * audio[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, length)[::hop]
    spectrum = np.fft.rfft(frames * np.hamming(length), fft_size)
    energy = np.abs(spectrum) ** 2 @ bank.T / fft_size
    floor = max(_FLOOR * energy.max(), np.finfo(np.float64).tiny)
    return np.maximum(energy, floor)


def in_samples(duration: float, sample_rate: float | int) -> int:
    """How many samples a duration in ms takes, rounded."""
    return round(duration * sample_rate / 1000)


@ft.lru_cache(maxsize=8)
def _mel_bank(
    filters: int, fft_size: int, sample_rate: float
) -> Float[np.ndarray, "filters bins"]:
    """Weight of each FFT bin in each filter: triangles from 0 up to 1 and down to 0."""
    highest = 2595 * np.log10(1 + sample_rate / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, filters + 2) / 2595) - 1)
    corner = np.floor((fft_size + 1) * hertz / sample_rate)
    if np.any(np.diff(corner) < 1):
        raise ValueError(
            f"{filters} filters are too many for an FFT of {fft_size} points at "
            f"{sample_rate:g} Hz: some would hold no bin. Choose fewer `filters` or a "
            "larger `fft_size`."
        )
    left, centre, right = corner[:-2, None], corner[1:-1, None], corner[2:, None]
    k = np.arange(fft_size // 2 + 1)[None]
    up, down = (k - left) / (centre - left), (right - k) / (right - centre)
    bank = np.maximum(np.minimum(up, down), 0)
    bank.flags.writeable = False  # the cache hands it out again
    return bank


def _slopes(
    values: Float[np.ndarray, "frames features"],
) -> Float[np.ndarray, "frames features"]:
    """Slope per frame of a line of least squares through each frame and its neighbours."""
    size = len(values)
    padded = np.pad(values, ((_REACH, _REACH), (0, 0)), mode="edge")
    total = np.zeros_like(values)
    for k in range(1, _REACH + 1):
        later, earlier = padded[_REACH + k :][:size], padded[_REACH - k :][:size]
        total += k * (later - earlier)
    return total / (2 * sum(k * k for k in range(1, _REACH + 1)))


def _check_frames(
    window: float, step: float, sample_rate: float | int, fft_size: int
) -> tuple[int, int]:
    """Samples of a frame and of a step."""
    for name, value in dict(window=window, step=step, sample_rate=sample_rate).items():
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value}.")
    length, hop = in_samples(window, sample_rate), in_samples(step, sample_rate)
    if min(length, hop) < 1:
        raise ValueError(
            f"`window` and `step` must each last a sample or more, but are {window} and "
            f"{step} ms at {sample_rate} Hz."
        )
    if length > fft_size:
        raise ValueError(
            f"`fft_size` must be at least the {length} samples that a frame of {window} ms "
            f"has at {sample_rate} Hz, got {fft_size}."
        )
    return length, hop


def _check_features(
    coefficients: int, filters: int, lifter: int, derivatives: int
) -> None:
    if not 1 <= coefficients < filters:
        raise ValueError(
            "`coefficients` must be at least 1 and fewer than `filters`, because "
            f"coefficient 0 is not kept, got {coefficients} and {filters}."
        )
    if lifter < 0:
        raise ValueError(f"`lifter` must be at least 0, got {lifter}.")
    if derivatives not in (0, 1, 2):
        raise ValueError(f"`derivatives` must be 0, 1 or 2, got {derivatives}.")
