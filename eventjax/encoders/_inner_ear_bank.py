"""A bank of gammatone filters, applied in blocks by the fast Fourier transform."""

import dataclasses
import functools as ft

import numpy as np
from jaxtyping import Complex64, Float, Float32


# In multiples of the time constant of the narrowest filter's envelope, t^3 exp(-t), how
# much of a response is computed: beyond, it is below 1e-5 of its largest value.
_RESPONSE_LENGTH = 20.0


def equivalent_bandwidth(frequency):
    """The equivalent rectangular bandwidth of human hearing at a frequency, both in Hz."""
    return 24.7 * (1 + 0.00437 * frequency)


def centre_frequencies(
    channels: int, lowest: float, highest: float
) -> Float[np.ndarray, " channels"]:
    """Frequencies in Hz, ascending, equally spaced on the scale of bandwidths."""
    low, high = (np.log1p(0.00437 * x) for x in (lowest, highest))
    return np.expm1(np.linspace(low, high, channels)) / 0.00437


@dataclasses.dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of one length for signals of one sample rate.

    - `response`: what each filter does to the frequencies of a block.
    - `block`: samples that are transformed together.
    - `overlap`: how many at its beginning only serve to fill the filters.
    """

    response: Complex64[np.ndarray, "channels bins"]
    block: int
    overlap: int

    def rectified(
        self, audio: Float[np.ndarray, " samples"], step: int
    ) -> Float32[np.ndarray, "steps channels"]:
        """The positive part of each filter's output, averaged over steps of `step` samples.
        A last step that is not full is averaged with silence after the end.

        The positive part is taken of samples, not of the curve through them: its harmonics
        above half the sample rate fold back. A steady tone close to the sample rate over a
        whole number is so heard with a slow ripple, which is largest near a quarter of the
        sample rate: up to a fifth of the mean.
        """
        hop = (self.block - self.overlap) // step * step
        overlap = self.block - hop
        # Whole blocks, the first of which begins with silence.
        blocks = -(-len(audio) // hop)
        padded = np.zeros(overlap + blocks * hop, np.float32)
        padded[overlap : overlap + len(audio)] = audio
        channels = len(self.response)
        weight = np.full(step, 1 / step, np.float32)
        out = np.empty((blocks, hop // step, channels), np.float32)
        for k in range(blocks):
            spectrum = np.fft.rfft(padded[k * hop : k * hop + self.block])
            filtered = np.fft.irfft(self.response * spectrum, n=self.block)
            positive = np.maximum(filtered[:, overlap:], 0)
            out[k] = (positive.reshape(channels, -1, step) @ weight).T
        return out.reshape(-1, channels)[: -(-len(audio) // step)]


@ft.lru_cache(maxsize=4)  # 11 MB each for 700 channels at 8 kHz
def gammatone_bank(
    channels: int, lowest: float, highest: float, emphasis: float, sample_rate: float
) -> FilterBank:
    """Gammatone filters of order 4, whose gain at their centre frequency f is
    (f / 1 kHz)^`emphasis`. The uppermost twentieth of the frequencies that the signal can
    hold fades out: an edge there would ring."""
    centre = centre_frequencies(channels, lowest, highest)[:, None]
    decay = 1.019 * equivalent_bandwidth(centre)
    overlap = int(np.ceil(_RESPONSE_LENGTH / (2 * np.pi * decay[0, 0]) * sample_rate))
    block = 1 << (4 * overlap - 1).bit_length()
    frequency = np.fft.rfftfreq(block, 1 / sample_rate)
    # The transform of t^3 exp(-2 pi decay t) cos(2 pi centre t), for a peak of about 1.
    below = (1 + 1j * (frequency - centre) / decay) ** -4
    above = (1 + 1j * (frequency + centre) / decay) ** -4
    fade = np.clip(20 * (1 - 2 * frequency / sample_rate), 0, 1)
    gain = (centre / 1000) ** emphasis * np.sin(np.pi / 2 * fade) ** 2
    response = (gain * (below + above)).astype(np.complex64)
    response.flags.writeable = False  # the cache hands it out again
    return FilterBank(response, block, overlap)
