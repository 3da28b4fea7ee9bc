"""Augmentations, each against slow plain code that draws the same numbers."""

import numpy as np
import pytest

from eventjax.data import (
    Blend,
    DilateTime,
    DropEvents,
    EventSet,
    JitterChannels,
    ShiftChannels,
)
from eventjax.data._event_epoch import EventEpoch


UNITS = 30


def make_example(size, seed, low=0.0, high=100.0):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(low, high, size)).astype(np.float32)
    times[1::5] = times[: len(times[1::5]) * 5 : 5]  # ties
    return np.sort(times), rng.integers(0, UNITS, size).astype(np.uint16)


def plain_shift(times, units, rng, largest):
    shift = int(rng.uniform(-largest, largest))
    pairs = [(t, int(u) + shift) for t, u in zip(times, units)]
    return [(t, u) for t, u in pairs if 0 <= u < UNITS]


def plain_dilate(times, units, rng, a, b):
    factor = np.float32(np.exp(rng.uniform(np.log(a), np.log(b))))
    return [(t * factor, int(u)) for t, u in zip(times, units)]


def plain_jitter(times, units, rng, std):
    pairs = [
        (t, round(float(int(u) + rng.normal(0, std)))) for t, u in zip(times, units)
    ]
    return [(t, u) for t, u in pairs if 0 <= u < UNITS]


def plain_drop(times, units, rng, p):
    return [(t, int(u)) for t, u in zip(times, units) if rng.random() >= p]


CASES = {
    "shift": (ShiftChannels(12), plain_shift, (12,)),
    "no shift": (ShiftChannels(0), plain_shift, (0,)),
    "dilate": (DilateTime(0.5, 1.5), plain_dilate, (0.5, 1.5)),
    "jitter": (JitterChannels(4.0), plain_jitter, (4.0,)),
    "drop": (DropEvents(0.3), plain_drop, (0.3,)),
    "drop none": (DropEvents(0.0), plain_drop, (0.0,)),
    "drop all": (DropEvents(1.0), plain_drop, (1.0,)),
}


@pytest.mark.parametrize("augment, plain, settings", CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [0, 1, 200])
def test_against_plain_code(augment, plain, settings, size):
    for seed in range(5):
        example = make_example(size, seed)
        before = [x.copy() for x in example]
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        times, units = augment(*example, rngs[0], UNITS)
        expected = plain(*example, rngs[1], *settings)
        assert times.dtype == np.float32
        assert units.dtype == np.uint16
        np.testing.assert_array_equal(times, np.float32([t for t, _ in expected]))
        np.testing.assert_array_equal(units, [u for _, u in expected])
        # The example itself, which may be on disk, is left as it is.
        for x, y in zip(before, example):
            np.testing.assert_array_equal(x, y)


def test_shifts_are_cut_towards_zero():
    example = np.zeros(1, np.float32), np.array([500], np.uint16)
    rng = np.random.default_rng(0)
    shifts = np.array(
        [int(ShiftChannels(40)(*example, rng, 700)[1][0]) - 500 for _ in range(20_000)]
    )
    assert (shifts.min(), shifts.max()) == (-39, 39)
    counts = np.bincount(shifts + 39, minlength=79)
    assert abs(counts[39] - 500) < 100  # 0: twice as likely
    assert np.all(abs(np.delete(counts, 39) - 250) < 80)


def plain_blend(first, second, rng, keep, step):
    """One event after the other."""
    shifts = [(0, 0.0)] * 2
    if len(first[0]) and len(second[0]):
        means = [
            [sum(map(float, part)) / len(part) for part in example]
            for example in (first, second)
        ]
        (t1, u1), (t2, u2) = means
        shifts = [
            (int((u2 - u1) / 2), int((t2 - t1) / 2 / step) * step),
            (int((u1 - u2) / 2), int((t1 - t2) / 2 / step) * step),
        ]
    out = []
    for (times, units), (du, dt), p in zip((first, second), shifts, keep):
        kept = rng.random(len(times)) < p
        for t, u, k in zip(times, units, kept):
            t, u = t + np.float32(dt), int(u) + du
            if k and t >= 0 and 0 <= u < UNITS:
                out.append((t, u))
    return sorted(out, key=lambda event: event[0])  # stable


@pytest.mark.parametrize("keep", [(0.5, 0.5), (1.0, 1.0), (0.0, 0.9)])
@pytest.mark.parametrize("step", [1.0, 0.25])
@pytest.mark.parametrize("sizes", [(150, 200), (1, 3), (0, 4), (4, 0), (0, 0)])
def test_blend_against_plain_code(keep, step, sizes):
    for seed in range(4):
        first = make_example(sizes[0], 2 * seed, 0, 60)
        second = make_example(sizes[1], 2 * seed + 1, 20, 140)
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        blend = Blend(keep, time_step=step)
        times, units = blend(first, second, rngs[0], UNITS)
        expected = plain_blend(first, second, rngs[1], keep, step)
        assert (times.dtype, units.dtype) == (np.float32, np.uint16)
        np.testing.assert_array_equal(times, np.float32([t for t, _ in expected]))
        np.testing.assert_array_equal(units, [u for _, u in expected])


def test_blend_moves_both_to_the_middle():
    first = np.float32([10, 20]), np.uint16([3, 5])  # means 15 ms and 4
    second = np.float32([40, 61]), np.uint16([8, 9])  # means 50.5 ms and 8.5
    times, units = Blend((1.0, 1.0))(first, second, np.random.default_rng(0), UNITS)
    # Half of the difference is 17.75 ms and 2.25, cut to 17 and 2.
    assert list(zip(times, units)) == [(23, 6), (27, 5), (37, 7), (44, 7)]


def test_pairs_are_of_one_class():
    label = np.repeat([3, 0, 1], [1, 40, 10])
    np.random.default_rng(1).shuffle(label)
    pairs = Blend(total=6051).pairs(label, np.random.default_rng(2))
    assert len(pairs.label) == 6000
    np.testing.assert_array_equal(label[pairs.first], pairs.label)
    np.testing.assert_array_equal(label[pairs.second], pairs.label)
    # The class of a random example, so as likely as it is frequent.
    expected = 6000 * np.array([40, 10, 0, 1]) / 51
    assert np.all(abs(np.bincount(pairs.label) - expected) < 4 * np.sqrt(expected + 1))
    # With replacement, all examples of a class alike and one by one.
    for chosen in (pairs.first, pairs.second):
        counts = np.bincount(chosen, minlength=51)[label == 0]
        assert np.all(abs(counts - 6000 / 51) < 50)
    same = np.mean((pairs.first == pairs.second)[pairs.label == 0])
    assert abs(same - 1 / 40) < 0.01


def make_set(counts, label, high=100.0):
    examples = [make_example(n, i, high=high) for i, n in enumerate(counts)]
    return EventSet(
        np.concatenate([times for times, _ in examples]),
        np.concatenate([units for _, units in examples]),
        np.concatenate([[0], np.cumsum(counts)]),
        np.array(label),
        np.zeros(len(counts), np.int64),
        num_units=UNITS,
        num_classes=3,
    )


SET = make_set([20, 30, 0, 25, 40, 10], [0, 1, 1, 0, 2, 1])


def _epoch(augment, number=0, t1=200.0, seed=5):
    return EventEpoch(SET, t1, augment, seed, number)


def _assert_equal(one, two):
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_later_step_sees_what_an_earlier_one_made():
    blend = Blend((0.5, 0.7), total=20)
    shifted = _epoch([ShiftChannels(9)])
    both = _epoch([ShiftChannels(9), blend])
    np.testing.assert_array_equal(both.label[:6], SET.label)
    pairs = blend.pairs(SET.label, both._rng(1))
    np.testing.assert_array_equal(both.label[6:], pairs.label)
    for i in range(6):
        _assert_equal(both.example(i), shifted.example(i))
    for i in range(6, 20):
        # What is blended are examples of this very epoch.
        first = shifted.example(int(pairs.first[i - 6]))
        second = shifted.example(int(pairs.second[i - 6]))
        rng = both._rng(1, i)
        _assert_equal(both.example(i), blend(first, second, rng, UNITS))


def test_order_of_augmentations():
    blended = _epoch([Blend(total=12)])
    both = _epoch([Blend(total=12), ShiftChannels(9)])
    np.testing.assert_array_equal(both.label, blended.label)
    for i in range(12):
        shift = ShiftChannels(9)(*blended.example(i), both._rng(1, i), UNITS)
        _assert_equal(both.example(i), shift)


def test_two_blends():
    epoch = _epoch([Blend(), Blend()])
    assert len(epoch.label) == 24
    for i in range(24):
        times, _ = epoch.example(i)
        assert np.all(np.diff(times) >= 0)


def test_epochs_and_seeds_differ_and_repeat():
    def times(**settings):
        epoch = _epoch([DilateTime(0.5, 1.0)], **settings)
        return np.concatenate([epoch.example(i)[0] for i in range(6)])

    np.testing.assert_array_equal(times(), times())
    for settings in (dict(number=1), dict(seed=6)):
        assert not np.array_equal(times(), times(**settings))
    # One example after another does not matter.
    epoch = _epoch([DilateTime(0.5, 1.0)])
    backwards = [epoch.example(i)[0] for i in reversed(range(6))]
    np.testing.assert_array_equal(times(), np.concatenate(backwards[::-1]))
    # Neither do examples share their random numbers.
    factors = [epoch.example(i)[0][-1] / SET[i][0][-1] for i in (0, 1, 3, 4, 5)]
    assert len(set(factors)) == 5


def test_cropped_before_and_after():
    epoch = EventEpoch(SET, 50.0, [DilateTime(1.4, 1.5)], 0, 0)
    lost = 0
    for i in range(6):
        times, _ = epoch.example(i)
        assert np.all(times < 50)
        lost += np.sum(SET[i][0] < 50) - len(times)
    assert lost > 5
    # An event that was beyond the end does not come back.
    epoch = EventEpoch(SET, 50.0, [DilateTime(0.5, 0.5)], 0, 0)
    for i in range(6):
        np.testing.assert_array_equal(
            epoch.example(i)[0], SET[i][0][SET[i][0] < 50] * np.float32(0.5)
        )


def test_bound_on_the_size_of_blends():
    assert Blend((0.5, 0.5)).most(0) == 0
    assert Blend((1.0, 1.0)).most(100) == 200
    assert Blend((0.0, 0.2)).most(100) == 100
    assert 8000 < Blend((0.5, 0.5)).most(8000) < 8600
    largest, rng = 400, np.random.default_rng(0)
    kept = rng.binomial(2 * largest, 0.5, 1_000_000)
    assert largest < kept.max() <= Blend().most(largest) < 2 * largest


WRONG_SETTINGS = [
    (lambda: ShiftChannels(-1), "`largest` must be finite and at least 0, got -1"),
    (lambda: JitterChannels(np.nan), "`std` must be finite"),
    (lambda: JitterChannels(np.inf), "`std` must be finite"),
    (lambda: DropEvents(1.5), "`probability` must be from 0 to 1, got 1.5"),
    (lambda: DilateTime(0.0, 1.0), "positive and ascend, got 0.0 and 1.0"),
    (lambda: DilateTime(1.2, 0.8), "positive and ascend, got 1.2 and 0.8"),
    (lambda: Blend((0.5, 1.2)), "`keep` must be two probabilities"),
    (lambda: Blend(total=0), "`total` must be at least 1"),
    (lambda: Blend(time_step=0.0), "`time_step` must be positive"),
    (lambda: Blend(total=5).size(6), "there are, 6, .* got 5"),
]


@pytest.mark.parametrize("make, message", WRONG_SETTINGS)
def test_wrong_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
