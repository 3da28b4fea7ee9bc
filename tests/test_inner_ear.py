"""The inner ear: that each stage does what its equations say, and what it refuses."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate

from eventjax.encoders import inner_ear, InnerEar
from eventjax.encoders._inner_ear_bank import equivalent_bandwidth, gammatone_bank
from eventjax.encoders._inner_ear_cells import adapt, fire


RATE = 8000
SMALL = InnerEar(40)  # quick


def tone(frequency, seconds=0.3, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def counts(ear, audio, rate=RATE):
    _, units = ear(audio, rate)
    return np.bincount(units, minlength=ear.channels)


# Filters


def test_frequencies_are_equally_spaced_in_bandwidths():
    ear = InnerEar()
    assert ear.frequencies.shape == (700,)
    np.testing.assert_allclose(ear.frequencies[[0, -1]], [80, 3600])
    scale = 21.4 * np.log10(1 + 0.00437 * ear.frequencies)
    np.testing.assert_allclose(np.diff(scale), np.diff(scale)[0], rtol=1e-9)


def test_filters_are_gammatones():
    # The response to a click, against the formula in time.
    ear = InnerEar(5, 200.0, 2000.0, emphasis=0.5)
    bank = gammatone_bank(5, 200.0, 2000.0, 0.5, 32000.0)
    click = np.zeros(3000)
    click[0] = 1.0
    found = bank.rectified(click, 1)
    t = np.arange(3000) / 32000
    for channel, f in enumerate(ear.frequencies):
        decay = 2 * np.pi * 1.019 * equivalent_bandwidth(f)
        expected = t**3 * np.exp(-decay * t) * np.cos(2 * np.pi * f * t)
        # Scaled for the envelope's spectrum, 6 / decay^4 at its centre, to have the gain.
        expected *= 2 * decay**4 / 6 / 32000 * np.sqrt(f / 1000)
        error = found[:, channel] - np.maximum(expected, 0)
        assert np.abs(error).max() < 1e-3 * expected.max()


def test_gain_at_the_centre():
    ear = InnerEar(3, 300.0, 3000.0, emphasis=0.5)
    bank = gammatone_bank(3, 300.0, 3000.0, 0.5, 44100.0)
    for channel, f in enumerate(ear.frequencies):
        steady = bank.rectified(tone(f, 0.5, 44100), 22)[300:, channel]
        # The mean of a half-wave of amplitude 1 is 1 / pi.
        assert abs(steady.mean() * np.pi / np.sqrt(f / 1000) - 1) < 0.01


def test_blocks_do_not_show():
    # A recording of several blocks: late filters see the same as early ones.
    bank = gammatone_bank(4, 100.0, 3000.0, 0.0, 8000.0)
    audio = np.random.default_rng(0).normal(size=2 * bank.block + 17)
    whole = bank.rectified(audio, 4)
    assert whole.shape == (-(-len(audio) // 4), 4)
    for start in (1200, 4000, bank.block):
        before = start - (bank.overlap + 3) // 4 * 4
        part = bank.rectified(audio[before:], 4)
        skipped = (start - before) // 4
        np.testing.assert_allclose(
            part[skipped:], whole[start // 4 :], rtol=0, atol=1e-3
        )


def test_a_tone_excites_its_channel_most():
    for channel in (8, 20, 35):
        found = counts(SMALL, tone(SMALL.frequencies[channel]))
        assert found.sum() > 50
        assert abs(found.argmax() - channel) <= 1
        assert found[channel] > 2 * found[(channel + 20) % 40]


# Adaptation and cells


def test_adaptation_of_a_steady_drive():
    drive = np.full((400, 2), [1.0, 3.0])
    out = adapt(drive, 0.4, 0.05)
    # The running mean of a step: 1 - (1 - rate)^(k + 1).
    k = np.arange(1, 401)[:, None]
    np.testing.assert_allclose(out, drive * (1 - 0.4 * (1 - 0.95**k)), rtol=1e-12)


def test_adaptation_never_inhibits():
    drive = np.concatenate([np.full((200, 1), 5.0), np.zeros((50, 1))])
    out = adapt(drive, 0.9, 0.05)
    assert (out[200:] == 0).all()


def test_cells_against_the_differential_equation():
    rng = np.random.default_rng(1)
    step, tau = 0.5, 7.0
    drive = rng.uniform(0, 3, (60, 6))
    drive[:, 0] = 0.9  # never reaches the threshold
    times, channels = fire(drive, step, tau)
    assert (np.bincount(channels, minlength=6)[1:] >= 2).all()
    assert (channels != 0).all()

    def crossing(t, v):
        return v[0] - 1

    crossing.terminal, crossing.direction = True, 1
    for channel in range(1, 6):
        expected, v, k, t = [], 0.0, 0, 0.0
        while k < len(drive):
            solved = scipy.integrate.solve_ivp(
                lambda t, v: (drive[k, channel] - v) / tau,
                (t, (k + 1) * step),
                [v],
                events=crossing,
                rtol=1e-10,
                atol=1e-12,
            )
            if solved.t_events[0].size:
                t, v = solved.t_events[0][0], 0.0
                expected.append(t)
            else:
                k, t, v = k + 1, (k + 1) * step, solved.y[0, -1]
        np.testing.assert_allclose(times[channels == channel], expected, atol=1e-7)


def test_cells_of_a_steady_drive_spike_at_equal_intervals():
    # The period, tau ln(I / (I - 1)): longer than a step, and many times in one.
    drive = np.full((200, 3), [1.2, 4.0, 60.0])
    times, channels = fire(drive, 0.5, 10.0)
    for channel, current in enumerate((1.2, 4.0, 60.0)):
        period = 10 * np.log(current / (current - 1))
        own = times[channels == channel]
        assert len(own) == int(100 / period)
        np.testing.assert_allclose(own, period * np.arange(1, len(own) + 1), rtol=1e-9)
    assert (np.diff(times) >= 0).all()


def test_cells_at_the_threshold_do_not_spike():
    times, _ = fire(np.ones((20000, 1)), 0.5, 1.0)
    assert len(times) == 0


# The whole ear


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(2)
    envelope = np.repeat(rng.uniform(0, 1, 20), 200)
    return rng.normal(size=4000) * envelope


def test_spikes_are_sorted_and_inside(noise):
    times, units = SMALL(noise, RATE)
    assert times.dtype == np.float64
    assert times.shape == units.shape
    assert len(times) > 100
    assert (np.diff(times) >= 0).all()
    assert times[0] > 0
    assert times[-1] <= 500
    assert set(units) <= set(range(40))
    # Off any grid.
    assert len(np.unique(times % 0.5)) > 0.99 * len(times)


def test_loudness_and_offset_make_no_difference(noise):
    times, units = SMALL(noise, RATE)
    for other in (1e-200 * noise, 1e200 * noise, 300 * noise + 7000):
        again, same = SMALL(other, RATE)
        np.testing.assert_array_equal(same, units)
        np.testing.assert_allclose(again, times, atol=1e-3)


def test_pauses_make_no_difference(noise):
    _, units = SMALL(noise, RATE)
    silence = np.zeros(RATE)
    _, longer = SMALL(np.concatenate([noise, silence]), RATE)
    # The frames are the same, so is the loudness; only the filters ring on.
    assert len(units) <= len(longer) < 1.1 * len(units)


def test_integers_are_heard_as_floats(noise):
    samples = (2000 * noise).astype(np.int16)
    for a, b in zip(SMALL(samples, RATE), SMALL(samples.astype(float), RATE)):
        np.testing.assert_array_equal(a, b)


def test_an_onset_is_heard_when_it_comes():
    audio = np.concatenate([np.zeros(1600), tone(1000, 0.2)])
    times, _ = SMALL(audio, RATE)
    assert 200 < times[0] < 210
    # With more adaptation, and a gain to make up for it, what follows counts for less.
    early = [np.sum((times > 200) & (times < 240))]
    late = [np.sum((times > 300) & (times < 340))]
    strong = InnerEar(40, adaptation=0.8, gain=10.0)
    times, _ = strong(audio, RATE)
    early.append(np.sum((times > 200) & (times < 240)))
    late.append(np.sum((times > 300) & (times < 340)))
    assert min(late) > 5
    assert late[1] / early[1] < 0.8 * late[0] / early[0]


def test_the_sample_rate_hardly_matters():
    slow, fast = (
        counts(SMALL, tone(500, 0.4, rate) + tone(1500, 0.4, rate), rate)
        for rate in (RATE, 44100)
    )
    assert slow.sum() > 200
    assert np.abs(slow - fast).sum() < 0.05 * slow.sum()


def test_the_function_is_the_ear(noise):
    settings = dict(channels=40, gain=9.0)
    found = inner_ear(noise, RATE, **settings)
    for a, b in zip(found, InnerEar(**settings)(noise, RATE)):
        np.testing.assert_array_equal(a, b)
    assert len(found[0]) > len(SMALL(noise, RATE)[0])


@pytest.mark.parametrize("audio", [np.zeros(900), np.full(900, 0.1), np.array([3])])
def test_silence_gives_no_spike(audio):
    times, units = SMALL(audio, RATE)
    assert times.shape == units.shape == (0,)


@pytest.mark.parametrize("size", [2, 5, 159, 161])
def test_short_recordings(size):
    audio = np.random.default_rng(size).normal(size=size)
    times, _ = SMALL(audio, RATE)
    assert (times <= size / 8 + 0.5).all()


def test_the_page_runs():
    page = Path(__file__).parent.parent / "docs" / "inner_ear.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code, page.name, "exec"), names)  # noqa: S102
    assert int(names["spikes"].count()[0]) == len(names["times"]) > 100
    heard = np.bincount(np.digitize(names["heard"], [300, 650, 1300, 2300]))
    # The two tones, and next to nothing elsewhere.
    assert heard[1] + heard[3] > 0.9 * heard.sum()
    assert min(heard[1], heard[3]) > 0.1 * heard.sum()


# What is refused


@pytest.mark.parametrize(
    "audio, rate, message",
    [
        (np.zeros((2, 5)), RATE, r"of one recording.*\(2, 5\)"),
        (np.zeros(0), RATE, "empty"),
        (np.array([0, np.nan, np.inf]), RATE, "nan at sample 1; 2 of 3"),
        (np.zeros(5, complex), RATE, "integers or floats, got complex128"),
        (np.zeros(5, bool), RATE, "got bool"),
        (tone(500), 7000, "at least 7613 Hz.*3600 Hz, got 7000.*`highest`"),
        (tone(500), np.nan, "finite"),
        (tone(500), np.inf, "finite"),
        (tone(500), -RATE, "got -8000"),
    ],
)
def test_bad_audio(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        SMALL(audio, rate)


@pytest.mark.parametrize(
    "settings",
    [
        dict(channels=0),
        dict(lowest=0.0),
        dict(lowest=4000.0),
        dict(highest=np.inf),
        dict(lowest=np.nan),
        dict(emphasis=np.nan),
        dict(compression=0.0),
        dict(compression=1.1),
        dict(adaptation=1.0),
        dict(adaptation=-0.1),
        dict(tau_adapt=0.0),
        dict(gain=-1.0),
        dict(gain=np.inf),
        dict(tau_mem=np.nan),
    ],
    ids=str,
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="|".join(f"`{name}`" for name in settings)):
        InnerEar(**settings)
