"""Batches of events: each where it should be, none lost, and made in time."""

import threading
import time

import numpy as np
import pytest

from eventjax.data import (
    Blend,
    DropEvents,
    EventBatches,
    EventSet,
    padded_event_batches,
    ShiftChannels,
)
from eventjax.data._prefetch import prefetched
from eventjax.train._fit import EpochBatches


UNITS, SIZE = 50, 23


def make_events(size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 90, size)
    times = [np.sort(rng.uniform(0, 100, n)).astype(np.float32) for n in counts]
    return EventSet(
        np.concatenate(times),
        rng.integers(0, UNITS, counts.sum()).astype(np.uint16),
        np.concatenate([[0], np.cumsum(counts)]),
        np.arange(size) % 4,
        np.zeros(size, np.int64),
        num_units=UNITS,
        num_classes=4,
    )


EVENTS = make_events()
AUGMENT = (ShiftChannels(5), DropEvents(0.1), Blend((0.5, 0.5)))


def make_batches(events=EVENTS, batch_size=5, **settings):
    defaults = dict(t1=80.0, seed=3, drop_last=False)
    return EventBatches(events, batch_size, **{**defaults, **settings})


def assert_same(one, two):
    one, two = list(one), list(two)
    assert len(one) == len(two)
    for x, y in zip(one, two):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def no_thread_is_left():
    return not any(x.name.startswith("eventjax") for x in threading.enumerate())


def assert_form(batch, size, capacity):
    assert set(batch) == {"times", "sources", "label"}
    assert batch["times"].shape == batch["sources"].shape == (size, capacity)
    assert batch["label"].shape == (size,)
    assert batch["times"].dtype == np.float32
    assert batch["sources"].dtype == batch["label"].dtype == np.int32
    there = np.isfinite(batch["times"])
    # Sorted, with all that is empty at the end.
    assert np.all(batch["times"][:, 1:] >= batch["times"][:, :-1])
    assert np.all(batch["times"][~there] == np.inf)
    assert np.all(batch["sources"][~there] == 0)


def test_every_event_is_there():
    seen = []
    for batch in make_batches().epoch(2):
        assert_form(batch, len(batch["label"]), make_batches().capacity)
        for times, sources, label in zip(*batch.values()):
            there = np.isfinite(times)
            seen.append((times[there].tolist(), sources[there].tolist(), int(label)))
    cropped = EVENTS.crop(80.0)
    expected = [
        (t.tolist(), u.tolist(), int(k)) for (t, u), k in zip(cropped, EVENTS.label)
    ]
    assert sum(len(t) for t, *_ in expected) > 500
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("drop_last, sizes", [(True, [5] * 4), (False, [5] * 4 + [3])])
def test_last_batch(drop_last, sizes):
    batches = make_batches(drop_last=drop_last)
    assert len(batches) == len(sizes)
    assert [len(batch["label"]) for batch in batches.epoch(0)] == sizes


def test_blends_are_added():
    batches = make_batches(augment=AUGMENT)
    assert batches.num_examples == 2 * SIZE
    assert len(batches) == 10
    assert sum(len(batch["label"]) for batch in batches.epoch(0)) == 2 * SIZE
    for batch in batches.epoch(0):
        assert_form(batch, len(batch["label"]), batches.capacity)
    assert make_batches(augment=(Blend(total=31),)).num_examples == 31


def test_seed_and_epoch_alone_decide():
    batches = make_batches(augment=AUGMENT)
    later = list(batches.epoch(4))
    next(batches.epoch(4))
    assert_same(batches.epoch(4), later)
    assert_same(make_batches(augment=AUGMENT, prefetch=0).epoch(4), later)
    assert_same(make_batches(augment=AUGMENT, prefetch=9).epoch(4), later)
    for other in (batches.epoch(3), make_batches(augment=AUGMENT, seed=4).epoch(4)):
        assert not np.array_equal(next(other)["times"], later[0]["times"])
    # Not even the size of batches matters.
    small = list(make_batches(augment=AUGMENT, batch_size=1).epoch(4))
    joined = np.concatenate([batch["times"] for batch in small])
    np.testing.assert_array_equal(joined, np.concatenate([x["times"] for x in later]))


def test_without_seed_the_order_stays():
    batches = make_batches(seed=None)
    label = np.concatenate([batch["label"] for batch in batches.epoch(7)])
    np.testing.assert_array_equal(label, EVENTS.label)


def test_capacity():
    largest = EVENTS.crop(80.0).counts.max()
    assert 32 < largest < 90
    assert make_batches().capacity == -(-largest // 32) * 32
    assert make_batches(augment=(ShiftChannels(5),)).capacity == make_batches().capacity
    assert make_batches(augment=AUGMENT).capacity > make_batches().capacity
    exact = make_batches(capacity=int(largest))
    assert exact.capacity == largest
    assert sum(np.isfinite(x["times"]).sum() for x in exact.epoch(0)) == len(
        EVENTS.crop(80.0).times
    )
    with pytest.raises(ValueError, match=rf"at least {largest}, .* got {largest - 1}"):
        make_batches(capacity=int(largest) - 1)


def test_a_silent_set():
    silent = EVENTS.crop(1e-6)
    assert len(silent.times) == 0
    batches = make_batches(silent, augment=AUGMENT)
    assert batches.capacity == 32
    for batch in batches.epoch(0):
        assert_form(batch, len(batch["label"]), 32)


def test_what_does_not_fit_is_an_error():
    # Both kept whole: a blend may have twice as many events as any example.
    largest = int(EVENTS.crop(80.0).counts.max())
    batches = make_batches(augment=(Blend((1.0, 1.0)),), capacity=largest)
    with pytest.raises(ValueError, match=f"events, but `capacity` is {largest}: give"):
        list(batches.epoch(0))
    assert no_thread_is_left()
    fits = make_batches(augment=(Blend((1.0, 1.0)),))
    assert len(list(fits.epoch(0))) == 10


def test_it_is_what_training_asks_for():
    assert isinstance(make_batches(), EpochBatches)


@pytest.mark.parametrize("size, num_batches", [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_padded(size, num_batches):
    events = make_events(size)
    pairs = list(padded_event_batches(events, 4, 80.0))
    assert len(pairs) == num_batches
    capacity = pairs[0][0]["times"].shape[1]
    for batch, is_real in pairs:
        assert_form(batch, 4, capacity)
        assert is_real.shape == (4,)
        for row in np.flatnonzero(~is_real):
            last = np.flatnonzero(is_real)[-1]
            np.testing.assert_array_equal(batch["times"][row], batch["times"][last])
    assert sum(is_real.sum() for _, is_real in pairs) == size
    rows = [row for batch, is_real in pairs for row in batch["times"][is_real]]
    for row, (times, _) in zip(rows, events.crop(80.0), strict=True):
        np.testing.assert_array_equal(row[np.isfinite(row)], times)
    with pytest.raises(ValueError, match="`capacity` must be at least"):
        padded_event_batches(make_events(), 4, t1=80.0, capacity=7)


WRONG_SETTINGS = [
    (dict(batch_size=0), "`batch_size` must be at least 1"),
    (dict(t1=0.0), "`t1` must be positive"),
    (dict(t1=np.nan), "`t1` must be positive"),
    (dict(seed=-1), "`seed` must be at least 0"),
    (dict(seed=None, augment=AUGMENT), "need a `seed`"),
    (dict(prefetch=-1), "`prefetch` must be at least 0"),
    (dict(batch_size=24, drop_last=True), "is 24, but there are only 23 examples"),
    (dict(events=EVENTS.select([])), "at least one example, got none"),
    (dict(augment=(Blend(total=22),)), "there are, 23, .* got 22"),
]


@pytest.mark.parametrize("settings, message", WRONG_SETTINGS)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make_batches(**settings)


def test_negative_epoch():
    with pytest.raises(ValueError, match="`number` .*at least 0, got -1"):
        make_batches().epoch(-1)


class Faulty(RuntimeError):
    pass


@pytest.mark.parametrize("ahead", [0, 1, 3, 20])
@pytest.mark.parametrize("at", [0, 4, 9])
def test_an_error_comes_where_the_result_would_have(ahead, at):
    def make(k):
        if k == at:
            raise Faulty("no result")
        return k

    seen = []
    with pytest.raises(Faulty, match="no result"):
        for k in prefetched(make, 10, ahead):
            seen.append(k)
    assert seen == list(range(at))
    assert no_thread_is_left()


def test_an_error_in_an_augmentation_reaches_the_caller():
    def fail(times, units, rng, num_units):
        raise Faulty("no augmentation")

    with pytest.raises(Faulty, match="no augmentation"):
        list(make_batches(augment=(fail,)).epoch(0))
    assert no_thread_is_left()


def test_augmentation_of_ones_own():
    def every_other(times, units, rng, num_units):
        return times[::2], units[::2]

    batches = list(make_batches(seed=0, augment=(every_other,)).epoch(0))
    plain = list(make_batches(seed=0).epoch(0))
    np.testing.assert_array_equal(
        batches[0]["times"][:, :16], plain[0]["times"][:, :32:2]
    )


@pytest.mark.parametrize("drop", ["close", "forget"])
def test_dropped_early(drop):
    iterator = make_batches(augment=AUGMENT).epoch(0)
    assert no_thread_is_left()  # none before it is needed
    next(iterator)
    assert not no_thread_is_left()
    if drop == "close":
        iterator.close()
    del iterator
    assert no_thread_is_left()


def test_made_before_they_are_asked_for_but_not_all():
    made = []
    iterator = prefetched(lambda k: made.append(k) or k, 10, 3)
    assert next(iterator) == 0
    deadline = time.monotonic() + 20
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2, 3]
    assert list(iterator) == list(range(1, 10))
    assert made == list(range(10))
    assert list(prefetched(lambda k: k, 0, 3)) == []


def test_like_sizes_share_a_batch_and_none_is_lost():
    batches = make_batches(make_events(43), like_size=4)
    seen, spread = [], []
    for batch in batches.epoch(0):
        counts = np.isfinite(batch["times"]).sum(1)
        seen += counts.tolist()
        spread += [np.ptp(counts)] * (len(counts) == 5)
    plain = [
        np.isfinite(batch["times"]).sum(1)
        for batch in make_batches(make_events(43)).epoch(0)
    ]
    assert sorted(seen) == sorted(np.concatenate(plain).tolist())
    assert np.mean(spread) < 0.5 * np.mean([np.ptp(x) for x in plain if len(x) == 5])
    assert_same(batches.epoch(0), batches.epoch(0))
    # The order of the batches is not that of their sizes, and is new in each epoch.
    means = [np.isfinite(b["times"]).sum(1).mean() for b in batches.epoch(0)]
    assert not all(a <= b for a, b in zip(means, means[1:4]))
    other = [b["label"].tolist() for b in batches.epoch(1)]
    assert other != [b["label"].tolist() for b in batches.epoch(0)]


def test_like_sizes_of_blends():
    events = make_events(16)
    batches = make_batches(events, 4, like_size=8, augment=(Blend((1.0, 1.0)),))
    counts = [np.isfinite(b["times"]).sum(1) for b in batches.epoch(0)]
    plain = make_batches(events, 4, augment=(Blend((1.0, 1.0)),))
    at_random = [np.isfinite(b["times"]).sum(1) for b in plain.epoch(0)]
    assert sum(np.ptp(c) for c in counts) < 0.5 * sum(np.ptp(c) for c in at_random)


@pytest.mark.parametrize("settings", [dict(like_size=0), dict(like_size=2, seed=None)])
def test_wrong_like_size(settings):
    with pytest.raises(ValueError, match="`like_size"):
        make_batches(**settings)
