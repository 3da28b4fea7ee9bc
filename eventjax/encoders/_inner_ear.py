"""Sound to spikes: the model of an inner ear, from its settings to its spikes."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int

from ._audio_checks import checked_audio
from ._inner_ear_bank import (
    centre_frequencies,
    equivalent_bandwidth,
    gammatone_bank,
)
from ._inner_ear_cells import adapt, fire


# The stages after the filters work in steps of this length, in ms. Averaging over a step
# is a low-pass filter with its half-power point near 0.9 kHz, which is about where hair
# cells cease to follow single periods of a sound.
_STEP = 0.5
# Loudness is measured in frames of this length, in ms, of which only those count that
# have at least this part of the power of the loudest: within 20 dB of it.
_FRAME = 20.0
_GATE = 0.01


@dataclasses.dataclass(frozen=True)
class InnerEar:
    r"""An inner ear: sound in, spikes of many channels out.

    ```python
    ear = ej.encoders.InnerEar()
    times, units = ear(audio, 8000)                  # ms, 0 to 699 from low to high
    spikes = ej.Spikes.from_ragged([(times, units)])
    ```

    1. **Loudness.** The mean of the recording is taken off. What is left is divided by
        its root mean square over those frames of 20 ms whose level is within 20 dB of the
        loudest one, so that pauses do not count. How loud a recording is as a whole makes
        no difference, only how its loudness changes within it.
    2. **Filters.** Each channel $c$ has a gammatone filter of order 4,
        $g_c(t) \propto t^3 e^{-2\pi\, 1.019\, E_c t} \cos(2\pi f_c t)$. Centre frequencies
        $f_c$ are equally spaced on the scale of equivalent rectangular bandwidths,
        $21.4 \log_{10}(1 + 0.00437 f)$, and $E_c = 24.7\,(1 + 0.00437 f_c)$, in Hz. The
        gain is $(f_c / 1\,\text{kHz})^{e}$ at the centre, which makes up for some of the
        fall of speech towards high frequencies, as the middle ear does.
    3. **Hair cells.** Half-wave rectification $\max(y, 0)$, averaged over steps of 0.5 ms;
        compression $r^p$; and adaptation, $\max(x - \alpha \bar x, 0)$, where $\bar x$
        follows $x$ with the time constant $\tau_a$: onsets stand out.
    4. **Cells.** Each channel drives one leaky integrate-and-fire cell,
        $\tau \dot v = -v + I$, with the gain times what the hair cells give as its drive,
        constant within each step. At $v = 1$ it spikes and starts anew from 0. The time of
        the crossing is solved for exactly: it does not lie on a grid.

    Nothing is random. Defaults are made for speech at 8 kHz and give a channel about ten
    spikes per second on average.

    !!! warning
        This is not the model that made the Heidelberg sets (Lauscher, by Cramer et al.),
        which has a hydrodynamic basilar membrane, transmitter pools and bushy cells that
        receive many fibres. Spikes are alike in kind and number, but are not the same, and
        results on one are not results on the other.

    **Arguments:**

    - `channels`: how many channels.
    - `lowest`, `highest`: centre frequencies of the first and of the last one, in Hz.
    - `emphasis`: $e$, 0 for none; 0.5 is 3 dB per octave.
    - `compression`: $p$, in (0, 1].
    - `adaptation`: $\alpha$, the part of a steady drive that is lost, in [0, 1).
    - `tau_adapt`: $\tau_a$, in ms.
    - `gain`: what the drive is multiplied by: the larger, the more spikes.
    - `tau_mem`: $\tau$ of the cells, in ms.

    **Raises:** `ValueError` for a setting outside its range.

    ??? cite "References"
        Gammatone filters: Patterson, Nimmo-Smith, Holdsworth, Rice: An efficient auditory
        filterbank based on the gammatone function. MRC Applied Psychology Unit, 1987.
        Bandwidths and their scale: Glasberg, Moore: Derivation of auditory filter shapes
        from notched-noise data. Hearing Research 47:103-138, 1990.
        The Heidelberg sets and Lauscher: Cramer, Stradmann, Schemmel, Zenke, IEEE
        Transactions on Neural Networks and Learning Systems 33(7), 2022.
    """

    channels: int = 700
    lowest: float = 80.0
    highest: float = 3600.0
    _: dataclasses.KW_ONLY
    emphasis: float = 0.5
    compression: float = 0.4
    adaptation: float = 0.4
    tau_adapt: float = 20.0
    gain: float = 7.5
    tau_mem: float = 20.0

    def __post_init__(self):
        if self.channels < 1:
            raise ValueError(f"`channels` must be at least 1, got {self.channels}.")
        if not 0 < self.lowest <= self.highest < math.inf:
            raise ValueError(
                "Centre frequencies must be positive and finite, in Hz, with `lowest` not "
                f"above `highest`, got {self.lowest} and {self.highest}."
            )
        if not math.isfinite(self.emphasis):
            raise ValueError(f"`emphasis` must be finite, got {self.emphasis}.")
        if not 0 < self.compression <= 1:
            raise ValueError(
                f"`compression` must lie in (0, 1], where 1 is none, got "
                f"{self.compression}."
            )
        if not 0 <= self.adaptation < 1:
            raise ValueError(
                f"`adaptation` must lie in [0, 1), got {self.adaptation}: with 1 no steady "
                "sound would be heard."
            )
        for name in ("tau_adapt", "gain", "tau_mem"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"`{name}` must be positive and finite, got {value}.")

    @property
    def frequencies(self) -> Float[np.ndarray, " channels"]:
        """The centre frequency of each channel, in Hz, ascending."""
        return centre_frequencies(self.channels, self.lowest, self.highest)

    def __call__(
        self, audio: np.ndarray, sample_rate: float | int
    ) -> tuple[Float[np.ndarray, " spikes"], Int[np.ndarray, " spikes"]]:
        """The spikes of one recording.

        Takes about 30 MB of memory per second of sound for 700 channels, and time in
        proportion to the length and, mostly, to the sample rate.

        **Arguments:**

        - `audio`: the samples of one recording, shape `[samples]`, integers or floats of
            any scale.
        - `sample_rate`: samples per second, in Hz.

        **Returns:** the times of the spikes in ms from the first sample, ascending, and
        the channel of each. The ear stops with the recording, or less than a step of 0.5 ms
        after it. Silence, where all samples are the same, gives no spike.

        **Raises:** `ValueError` for audio that is not one row of finite numbers, or a
        sample rate at which the highest channel's frequencies cannot be heard.
        """
        audio = checked_audio(audio)
        self._check_rate(sample_rate)
        if audio.min() == audio.max():
            return np.zeros(0), np.zeros(0, np.int32)
        audio = audio - audio.mean()
        audio = audio / _loudness(audio, sample_rate)
        bank = gammatone_bank(
            self.channels, self.lowest, self.highest, self.emphasis, float(sample_rate)
        )
        samples = max(1, round(_STEP * 1e-3 * sample_rate))
        step = 1e3 * samples / sample_rate
        flow = bank.rectified(audio, samples)
        drive = np.power(flow, self.compression)
        if self.adaptation > 0:
            rate = -math.expm1(-step / self.tau_adapt)
            drive = adapt(drive, self.adaptation, rate)
        return fire(self.gain * drive.astype(np.float64), step, self.tau_mem)

    def _check_rate(self, sample_rate: float | int) -> None:
        # The upper edge of the highest channel's band.
        needed = 2 * self.highest + equivalent_bandwidth(self.highest)
        if not needed <= sample_rate < math.inf:
            raise ValueError(
                f"`sample_rate` must be finite and at least {needed:.0f} Hz for a highest "
                f"channel at {self.highest:g} Hz, got {sample_rate}. Choose a smaller "
                "`highest` for this recording."
            )


def inner_ear(
    audio: np.ndarray, sample_rate: float | int, **settings: float | int
) -> tuple[Float[np.ndarray, " spikes"], Int[np.ndarray, " spikes"]]:
    """The spikes of one recording in an `InnerEar` with these settings.

    ```python
    times, units = ej.encoders.inner_ear(audio, 16000, highest=7000.0)
    ```

    **Arguments:**

    - `audio`, `sample_rate`: one recording and its samples per second, as in
        `InnerEar.__call__`.
    - `settings`: those of `InnerEar`.

    **Returns:** the times of the spikes in ms, ascending, and the channel of each.

    **Raises:** `ValueError` as `InnerEar` does.
    """
    return InnerEar(**settings)(audio, sample_rate)


def _loudness(audio: Float[np.ndarray, " samples"], sample_rate: float | int) -> float:
    """Root mean square over the frames that are not much weaker than the loudest."""
    starts = np.arange(0, len(audio), max(1, round(_FRAME * 1e-3 * sample_rate)))
    largest = np.abs(audio).max()  # whose square may be out of range
    energy = np.add.reduceat((audio / largest) ** 2, starts)
    length = np.diff(np.append(starts, len(audio)))
    counts = energy / length >= _GATE * np.max(energy / length)
    return float(largest * np.sqrt(energy[counts].sum() / length[counts].sum()))
