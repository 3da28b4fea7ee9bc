"""Features of speech, beside a plain reference written out from their definition."""

import math

import numpy as np
import pytest
import scipy.fft

from eventjax.data import frame_labels
from eventjax.encoders import log_mel, mfcc


def recording(samples, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16000
    tones = np.sin(2 * np.pi * 440 * t) + 0.3 * np.sin(2 * np.pi * 2500 * t * (1 + t))
    return (4000 * tones + 100 * rng.normal(size=samples)).astype(np.int16)


def plain_mel_weight(m, k):
    """Weight of FFT bin k in filter m of 26, at 16 kHz with 512 points."""

    def corner(i):
        mel = i * 2595 * math.log10(1 + 8000 / 700) / 27
        return math.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000)

    left, centre, right = corner(m), corner(m + 1), corner(m + 2)
    if left <= k < centre:
        return (k - left) / (centre - left)
    if centre <= k < right:
        return (right - k) / (right - centre)
    return 0.0


def plain_slopes(rows):
    size = len(rows)

    def row(i):
        return rows[min(max(i, 0), size - 1)]

    return np.array(
        [sum(k * (row(i + k) - row(i - k)) for k in (1, 2)) / 10 for i in range(size)]
    )


def plain_mfcc(audio):
    audio = [float(x) for x in audio]
    emphasised = [x - 0.97 * y for x, y in zip(audio, [0.0, *audio])]
    points = np.arange(512)
    rows = []
    for start in range(0, len(audio) - 400 + 1, 160):
        frame = np.zeros(512)
        for i in range(400):
            hamming = 0.54 - 0.46 * math.cos(2 * math.pi * i / 399)
            frame[i] = hamming * emphasised[start + i]
        power = [
            abs(np.sum(frame * np.exp(-2j * np.pi * k * points / 512))) ** 2 / 512
            for k in range(257)
        ]
        decibels = [
            20 * math.log10(sum(plain_mel_weight(m, k) * power[k] for k in range(257)))
            for m in range(26)
        ]
        cepstrum = []
        for n in range(1, 14):
            waves = [math.cos(math.pi * n * (2 * m + 1) / 52) for m in range(26)]
            total = math.sqrt(2 / 26) * sum(x * y for x, y in zip(decibels, waves))
            cepstrum.append(total * (1 + 11 * math.sin(math.pi * n / 22)))
        rows.append(cepstrum)
    first = np.array(rows) - np.mean(rows, axis=0)
    second = plain_slopes(first)
    return np.concatenate([first, second, plain_slopes(second)], axis=1)


def test_plain_reference():
    audio = recording(400 + 5 * 160 + 100)
    features = mfcc(audio)
    assert features.shape == (6, 39)
    assert np.abs(features).min(axis=0).max() > 1e-3  # all of them say something
    np.testing.assert_allclose(features, plain_mfcc(audio), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(
    "samples, frames", [(400, 1), (559, 1), (560, 2), (16000, 98), (16160, 99)]
)
def test_only_whole_frames(samples, frames):
    audio = recording(samples)
    assert mfcc(audio).shape == (frames, 39)
    # What is in no frame makes no difference.
    used = 400 + 160 * (frames - 1)
    np.testing.assert_array_equal(mfcc(audio), mfcc(audio[:used]))


def test_parts_and_settings():
    audio = recording(4000)
    full = mfcc(audio)
    np.testing.assert_array_equal(mfcc(audio, derivatives=0), full[:, :13])
    np.testing.assert_array_equal(mfcc(audio, derivatives=1), full[:, :26])
    few = mfcc(audio, coefficients=5, derivatives=0)
    np.testing.assert_array_equal(few, full[:, :5])
    plain = mfcc(audio, lifter=0, derivatives=0)
    factors = 1 + 11 * np.sin(np.pi * np.arange(1, 14) / 22)
    np.testing.assert_allclose(plain * factors, full[:, :13], rtol=1e-12, atol=1e-12)
    wide = mfcc(audio, window=32.0, step=5.0, derivatives=0)
    assert wide.shape == (1 + (4000 - 512) // 80, 13)
    # At another sample rate a frame has other samples, but lasts as long.
    assert mfcc(audio, 8000, fft_size=256, filters=20).shape == (48, 39)


def test_loudness_makes_no_difference():
    audio = recording(3000).astype(np.float64)
    np.testing.assert_allclose(mfcc(audio / 32768), mfcc(audio), rtol=1e-9, atol=1e-8)


def test_silence():
    silence = np.zeros(2000, np.int16)
    np.testing.assert_allclose(mfcc(silence), np.zeros((11, 39)), atol=1e-9)
    # Digital silence within a recording stays finite.
    assert np.isfinite(mfcc(np.append(recording(2000), silence))).all()


def test_a_higher_tone_has_a_lower_first_coefficient():
    t = np.arange(8000) / 16000
    low, high = np.sin(2 * np.pi * 400 * t), np.sin(2 * np.pi * 5000 * t)
    first = mfcc(np.append(low, high))[:, 0]
    assert first[:45].min() > first[-45:].max() + 10


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            dict(audio=np.zeros((2, 400))),
            r"of shape \(samples,\), got shape \(2, 400\)",
        ),
        (dict(audio=np.zeros(400, complex)), "integers or floats, got complex128"),
        (dict(audio=np.full(400, np.nan)), "got nan at sample 0; 400 of 400"),
        (dict(audio=np.ones(399)), "as long as a frame, 400 samples, got 399"),
        (dict(sample_rate=0), "`sample_rate` must be positive and finite, got 0"),
        (dict(window=math.inf), "`window` must be positive and finite, got inf"),
        (dict(step=0.01), "must each last a sample or more, but are 25.0 and 0.01 ms"),
        (dict(sample_rate=48000), "`fft_size` must be at least the 1200 samples"),
        (dict(filters=200), "200 filters are too many for an FFT of 512 points"),
        (dict(coefficients=26), "fewer than `filters`.* got 26 and 26"),
        (dict(coefficients=0), "at least 1 and fewer.* got 0 and 26"),
        (dict(pre_emphasis=math.nan), "`pre_emphasis` must be finite, got nan"),
        (dict(lifter=-1), "`lifter` must be at least 0, got -1"),
        (dict(derivatives=3), "`derivatives` must be 0, 1 or 2, got 3"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        mfcc(settings.pop("audio", np.ones(400)), **settings)


def test_frame_labels():
    # Centres are at samples 200, 360, 520, ...
    ends, labels = np.array([200, 361, 840, 841]), np.array([7, 8, 9, 5])
    found = frame_labels(ends, labels, 7)
    np.testing.assert_array_equal(found, [8, 8, 9, 9, 5, 7, 7])
    assert found.dtype == np.int32


def test_frame_labels_are_those_of_a_plain_search():
    rng = np.random.default_rng(3)
    ends = np.sort(rng.choice(20000, 40, replace=False)) + 1
    labels = rng.integers(61, size=40)
    found = frame_labels(ends, labels, 130)
    for i in range(130):
        later = [k for k in range(40) if ends[k] > 200 + 160 * i]
        assert found[i] == labels[later[0] if later else 0]


def test_wrong_segments():
    with pytest.raises(ValueError, match="at least one segment"):
        frame_labels(np.zeros(0, int), np.zeros(0, int), 3)
    with pytest.raises(ValueError, match="`ends` must ascend, got .5 5"):
        frame_labels(np.array([5, 5]), np.array([1, 2]), 3)


def test_log_mel_is_what_mfcc_transforms():
    audio = recording(1200)
    logs = log_mel(audio, filters=26)
    assert logs.shape == (6, 26) and log_mel(recording(16000)).shape == (98, 40)
    decibels = logs * 20 / math.log(10)
    cepstrum = np.asarray(scipy.fft.dct(decibels, norm="ortho"))[:, 1:14]
    expected = cepstrum - cepstrum.mean(axis=0)
    found = mfcc(audio, lifter=0, derivatives=0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    # Unlike there, loudness is kept.
    louder = log_mel(2.0 * audio, filters=26)
    np.testing.assert_allclose(louder, logs + 2 * math.log(2), rtol=1e-9)
    with pytest.raises(ValueError, match="at least as long as a frame"):
        log_mel(audio[:399])
