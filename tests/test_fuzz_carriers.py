"""Spikes, first spikes and frames of any values, what makes them and what they become:
nothing is lost or put right on the way, and what cannot be is refused."""

import functools as ft

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import given, strategies as st

import eventjax as ej
import eventjax.data as data
from eventjax.encoders._latency import check_form as check_values


SAMPLES, PLACES, SOURCES, STEPS = 2, 6, 4, 5
TINY = 1e-30  # XLA takes numbers that are subnormal for zero


def few_and_many(few: int, many: int, **drawn):
    """A property as a test, and as a slow one of more examples."""

    def make(check):
        @pytest.mark.parametrize(
            "examples", [few, pytest.param(many, marks=pytest.mark.slow)]
        )
        def test(examples):
            fuzzed(examples, anew=examples == many)(given(**drawn)(check))()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return make


# Few different times, so that many are the same, and any others.
times_of = st.one_of(
    st.sampled_from([0.0, 1.0, 1.5, 7.0]),
    st.floats(0, 1e6, allow_subnormal=False),
)
events = st.lists(st.tuples(times_of, st.integers(0, SOURCES - 1)), max_size=PLACES)
ragged = st.lists(events, min_size=SAMPLES, max_size=SAMPLES)
dense = st.lists(
    st.lists(times_of | st.just(np.inf), min_size=PLACES, max_size=PLACES),
    min_size=SAMPLES,
    max_size=SAMPLES,
)
unit = st.lists(
    st.lists(
        st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
        min_size=SOURCES,
        max_size=SOURCES,
    ),
    min_size=SAMPLES,
    max_size=SAMPLES,
)


def pairs(sample) -> tuple[np.ndarray, np.ndarray]:
    times, sources = zip(*sample) if sample else ((), ())
    return np.array(times, float), np.array(sources, np.int64)


def make(drawn) -> ej.Spikes:
    return ej.Spikes.from_ragged([pairs(x) for x in drawn], PLACES, float)


def by_time(sample) -> list:
    """Sorted by Python, which keeps the order of equal times."""
    return sorted(sample, key=lambda event: event[0])


def lists(spikes: ej.Spikes) -> list[list]:
    return [list(zip(*(x.tolist() for x in sample))) for sample in spikes.to_ragged()]


def check_form(spikes: ej.Spikes) -> None:
    """Sorted, and empty places are `+inf` with the source 0, behind all others."""
    times, sources = np.asarray(spikes.times), np.asarray(spikes.sources)
    assert (times[..., 1:] >= times[..., :-1]).all()
    assert (sources[times == np.inf] == 0).all()


def equal(one, two) -> None:
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(x, y)


# Event lists


@few_and_many(100, 5000, drawn=ragged)
def test_lists_and_back(drawn):
    spikes = make(drawn)
    check_form(spikes)
    assert lists(spikes) == [by_time(x) for x in drawn]
    equal(ej.Spikes.from_ragged(spikes.to_ragged(), PLACES, float), spikes)
    np.testing.assert_array_equal(spikes.count(), [len(x) for x in drawn])


per_source = jax.jit(lambda x: x.counts_per_source(SOURCES))
firsts = jax.jit(lambda x: x.first(SOURCES))


@few_and_many(15, 1000, drawn=ragged)
def test_counts_and_first_spikes_of_lists(drawn):
    spikes = make(drawn)
    counts, first = per_source(spikes), firsts(spikes)
    for k, sample in enumerate(drawn):
        for n in range(SOURCES):
            mine = [t for t, source in sample if source == n]
            assert counts[k, n] == len(mine)
            assert first.times[k, n] == min(mine, default=np.inf)
            assert first.fired[k, n] == bool(mine)
    equal(spikes.counts_per_source(SOURCES), counts)
    equal(spikes.first(SOURCES), first)
    check_form(first.to_spikes())
    equal(first.to_spikes().first(SOURCES), first)


merged = jax.jit(lambda x, y: x.merge(y))


@few_and_many(40, 1000, one=ragged, two=ragged)
def test_merged_lists(one, two):
    both = merged(make(one), make(two))
    check_form(both)
    assert lists(both) == [by_time(x + y) for x, y in zip(one, two)]
    equal(make(one).merge(make(two)), both)


sorted_dense = jax.jit(ej.Spikes.from_dense)


@few_and_many(40, 1000, drawn=dense)
def test_dense_times_and_back(drawn):
    times = jnp.asarray(drawn)
    spikes = sorted_dense(times)
    check_form(spikes)
    equal(spikes, ej.Spikes.from_dense(times))
    there = [[(t, n) for n, t in enumerate(x) if t < np.inf] for x in drawn]
    assert lists(spikes) == [by_time(x) for x in there]
    np.testing.assert_array_equal(spikes.first(PLACES).times, times)


dropped = jax.jit(lambda x, key: ej.encoders.drop_spikes(x, 0.5, key=key))


@few_and_many(15, 1000, drawn=ragged, seed=st.integers(0, 1000))
def test_dropping_leaves_order(drawn, seed):
    spikes, key = make(drawn), jr.key(seed)
    fewer = dropped(spikes, key)
    check_form(fewer)
    kept = np.asarray(jr.bernoulli(key, 0.5, spikes.times.shape))
    expected = [
        [event for event, keep in zip(sample, k) if keep]
        for sample, k in zip(lists(spikes), kept)
    ]
    assert lists(fewer) == expected
    equal(ej.encoders.drop_spikes(spikes, 0.5, key=key), fewer)
    equal(ej.encoders.drop_spikes(spikes, 0.0, key=key), spikes)


# Frames

rasters = st.lists(
    st.lists(
        st.lists(st.sampled_from([0, 0, 1, 3]), min_size=SOURCES, max_size=SOURCES),
        min_size=STEPS,
        max_size=STEPS,
    ),
    min_size=SAMPLES,
    max_size=SAMPLES,
)
grids = dict(
    dt=st.sampled_from([1.0, 0.1, 0.7]) | st.floats(1e-3, 1e3),
    t0=st.sampled_from([0.0, 0.3, -2.0, 1e4]) | st.floats(-1e4, 1e4),
)


@few_and_many(20, 2000, counts=rasters, dtype=st.sampled_from(["f4", "f8"]), **grids)
def test_frames_and_back(counts, dtype, dt, t0):
    """A spike at the start of a step lies in it, however that is rounded."""
    if dtype == "f4" and abs(t0) > 1e4 * dt:
        return  # the steps of the grid are too small for times of so few digits
    frames = ej.Frames(jnp.asarray(counts, dtype), dt, t0)
    spikes = frames.to_spikes(3 * STEPS * SOURCES)
    check_form(spikes)
    again = ej.Frames.from_spikes(spikes, SOURCES, dt, t0 + STEPS * dt, t0)
    equal(again, frames)
    times = np.asarray(frames.first().times)
    np.testing.assert_allclose(
        times, spikes.first(SOURCES).times, rtol=1e-6, atol=1e-6 * abs(t0) + TINY
    )


@few_and_many(
    20, 2000, drawn=ragged, dt=grids["dt"], steps=st.sampled_from([1, 3, 2.5])
)
def test_frames_hold_all_spikes_before_their_end(drawn, dt, steps):
    """Also those that are rounded to the end of the last step."""
    t1 = steps * dt
    drawn = [[*x[: PLACES - 1], (float(np.nextafter(t1, 0)), 0)] for x in drawn]
    frames = ej.Frames.from_spikes(make(drawn), SOURCES, dt, t1)
    expected = [sum(t < t1 for t, _ in sample) for sample in drawn]
    np.testing.assert_array_equal(frames.counts.sum(axis=(1, 2)), expected)


# Encoders


encode = jax.jit(
    ft.partial(ej.encoders.latency, t_zero=20.0, t_one=0.0, threshold=0.25)
)
encode_all = jax.jit(ft.partial(ej.encoders.latency, t_zero=0.0, t_one=30.0, bias=7.5))
encode_first = jax.jit(ft.partial(ej.encoders.first_spikes, window=4.0))


def close(one: ej.Spikes, two: ej.Spikes) -> None:
    """The same spikes; the order of those within rounding of each other is open."""
    np.testing.assert_allclose(one.times, two.times, rtol=1e-14, atol=1e-14)
    for x, y in zip(lists(one), lists(two), strict=True):
        assert sorted(n for _, n in x) == sorted(n for _, n in y)


@few_and_many(60, 2000, drawn=unit)
def test_encoders_with_and_without_jit(drawn):
    values = jnp.asarray(drawn)
    found = encode(values)
    check_form(found)
    close(found, ej.encoders.latency(values, 20.0, 0.0, threshold=0.25))
    for k, sample in enumerate(lists(found)):
        assert sorted(n for _, n in sample) == [
            n for n, x in enumerate(drawn[k]) if x > 0.25
        ]
        for t, n in sample:
            np.testing.assert_allclose(t, 20.0 * (1 - drawn[k][n]), atol=1e-13)
    found = encode_all(values)
    check_form(found)
    assert (found.count() == SOURCES + 1).all()
    close(found, ej.encoders.latency(values, 0.0, 30.0, bias=7.5))
    first = encode_first(values)
    np.testing.assert_array_equal(first.fired, values > 0)
    equal(ej.encoders.first_spikes(values, 4.0).fired, first.fired)
    check_form(first.to_spikes())


# Sets of events


def make_set(drawn) -> data.EventSet:
    samples = [pairs(by_time([(np.float32(t), n) for t, n in x])) for x in drawn]
    counts = [len(t) for t, _ in samples]
    return data.EventSet(
        np.concatenate([t for t, _ in samples]).astype(np.float32),
        np.concatenate([n for _, n in samples]).astype(np.uint16),
        np.concatenate([[0], np.cumsum(counts)]),
        np.arange(len(drawn)) % 2,
        np.arange(len(drawn)),
        num_units=SOURCES,
        num_classes=2,
    )


many = st.lists(events, min_size=1, max_size=7)


@few_and_many(
    60, 2000, drawn=many, size=st.integers(1, 7), seed=st.integers(0, 9) | st.none()
)
def test_batches_hold_every_example_once(drawn, size, seed):
    events = make_set(drawn)
    batches = data.EventBatches(
        events, size, t1=1e7, seed=seed, drop_last=False, prefetch=0
    )
    found = []
    for batch in batches.epoch(3):
        spikes = ej.Spikes(jnp.asarray(batch["times"]), jnp.asarray(batch["sources"]))
        check_form(spikes)
        found += list(zip(batch["label"].tolist(), lists(spikes)))
    mine = [
        (int(label), list(zip(t.tolist(), n.tolist())))
        for label, (t, n) in zip(events.label, events)
    ]
    assert sorted(found) == sorted(mine)
    padded = data.padded_event_batches(events, size, 1e7)
    assert sum(int(real.sum()) for _, real in padded) == len(drawn)


changes = st.sampled_from(
    [
        data.ShiftChannels(0),
        data.ShiftChannels(2),
        data.ShiftChannels(10**12),
        data.DilateTime(0.5, 2.0),
        data.JitterChannels(1.0),
        data.JitterChannels(1e15),
        data.DropEvents(0.5),
        data.DropEvents(1.0),
        data.Blend((0.5, 0.5)),
    ]
)


@few_and_many(60, 2000, drawn=many, augment=st.lists(changes, max_size=3))
def test_augmented_examples_are_right(drawn, augment):
    events = make_set(drawn)
    batches = data.EventBatches(
        events, 1, t1=1e5, seed=0, drop_last=False, augment=augment, prefetch=0
    )
    for batch in batches.epoch(0):
        spikes = ej.Spikes(jnp.asarray(batch["times"]), jnp.asarray(batch["sources"]))
        check_form(spikes)
        times, sources = spikes.to_ragged()[0]
        assert ((times >= 0) & (times < 1e5)).all()
        assert ((sources >= 0) & (sources < SOURCES)).all()


@few_and_many(60, 2000, drawn=many, dt=st.sampled_from([1.0, 0.1, 2.0, 0.7]))
def test_bins_are_those_of_bins(drawn, dt):
    once = make_set(drawn).binned(dt)
    equal([list(once.binned(dt))], [list(once)])
    for (times, units), (t, n) in zip(once, make_set(drawn), strict=True):
        assert len(set(zip(times.tolist(), units.tolist()))) == len(times) <= len(t)
        assert set(units.tolist()) == set(n.tolist())


# What was found, and what is refused


def test_dense_lists_have_no_source_in_empty_places():
    spikes = ej.Spikes.from_dense(jnp.asarray([jnp.inf, 2.0, jnp.inf]))
    np.testing.assert_array_equal(spikes.sources, [1, 0, 0])


@pytest.mark.parametrize(
    "times, sources, message",
    [
        ([1.0, np.nan], [0, 1], "finite in float32.*nan in sample 1"),
        ([1.0, np.inf], [0, 1], "finite in float32.*inf in sample 1"),
        ([1e39], [0], "finite in float32.*1e\\+39"),
        ([1.0], [-1], "from 0 on, got -1 in sample 1"),
        ([1.0], [1 << 31], "32 bits.*got 2147483648"),
        ([1.0], [0.5], "integers, got float64 in sample 1"),
        ([1.0], [0, 1], "one length, got shapes"),
        ([[1.0]], [[0]], "one length, got shapes"),
        (1.0, 0, "one length, got shapes"),
        ([1.0] * 3, [0] * 3, "Sample 1 has 3 spikes, but `capacity` is 2"),
    ],
)
def test_lists_that_would_not_be_kept_as_they_are(times, sources, message):
    good = np.array([1.0]), np.array([0])
    bad = np.array(times), np.array(sources)
    with pytest.raises(ValueError, match=message):
        ej.Spikes.from_ragged([good, bad], capacity=2)


def test_lists_of_nothing():
    for spikes in (
        ej.Spikes.from_ragged([]),
        ej.Spikes.from_ragged([], capacity=0),
        ej.Spikes(jnp.zeros((2, 0)), jnp.zeros((2, 0), jnp.int32)),
    ):
        found = [x for sample in spikes.to_ragged() for x in sample[0]]
        assert found == [] and len(spikes.to_ragged()) == len(spikes.times)
    with pytest.raises(ValueError, match="`capacity` is -1"):
        ej.Spikes.from_ragged([], capacity=-1)


@pytest.mark.parametrize("source", [-1, 4])
def test_sources_that_there_are_not(source):
    """Arrays would leave one out, and take the other for the last."""
    spikes = ej.Spikes(jnp.asarray([1.0, jnp.inf]), jnp.asarray([source, 9]))
    for use in (
        lambda: spikes.counts_per_source(4),
        lambda: spikes.first(4),
        lambda: ej.Frames.from_spikes(spikes, 4, 1.0, 5.0),
    ):
        with pytest.raises(ValueError, match=f"from 0 to 3.*got {source}"):
            use()


def test_times_that_cannot_be_are_not_lost():
    spikes = ej.Spikes(jnp.asarray([1.0, jnp.nan, jnp.inf]), jnp.asarray([0, 1, 0]))
    fewer = ej.encoders.drop_spikes(spikes, 0.0, key=jr.key(0))
    np.testing.assert_array_equal(fewer.times, spikes.times)
    assert len(spikes.to_ragged()[0][0]) == 2
    with pytest.raises(ValueError, match="some are nan"):
        ej.Frames.from_spikes(spikes, 2, 1.0, 5.0)


@pytest.mark.parametrize("dt, t0, t1", [(0.1, 0.3, 1.0), (0.7, 0.0, 2.1)])
def test_steps_at_the_edge_of_rounding(dt, t0, t1):
    """0.3 + 5 * 0.1 lies in step 5, and the last time before 2.1 in the last step."""
    start = np.float64(t0) + 2 * dt
    times = np.array([start, np.nextafter(t1, 0.0)])
    spikes = ej.Spikes(jnp.asarray(times), jnp.asarray([0, 0]))
    counts = ej.Frames.from_spikes(spikes, 1, dt, t1, t0).counts
    np.testing.assert_array_equal(counts.sum(), 2)
    assert counts[2, 0] >= 1 and counts[-1, 0] >= 1


@pytest.mark.parametrize("count", [0.5, -1.0, np.nan, np.inf])
def test_counts_that_are_no_spikes(count):
    frames = ej.Frames(jnp.asarray([[0.0, count]]), 1.0)
    with pytest.raises(ValueError, match="whole numbers of at least 0"):
        frames.to_spikes(4)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(dt=0.0, t1=1.0), "`dt` must be positive"),
        (dict(dt=-1.0, t1=1.0), "`dt` must be positive"),
        (dict(dt=1.0, t1=0.0), "after `t0`"),
        (dict(dt=1.0, t1=np.inf), "finite and after"),
        (dict(dt=1.0, t1=1.0, t0=np.nan), "`t0` finite"),
    ],
)
def test_grids_that_cannot_be(settings, message):
    spikes = ej.Spikes(jnp.asarray([0.5]), jnp.asarray([0]))
    with pytest.raises(ValueError, match=message):
        ej.Frames.from_spikes(spikes, 1, **settings)
    if "dt" in message:
        with pytest.raises(ValueError, match=message):
            ej.Frames(jnp.zeros((1, 1)), settings["dt"])


def test_values_of_a_wrong_type_are_refused_under_jit():
    """Pixels from 0 to 255 would be taken for times from 0 to 255 windows."""
    pixels = jnp.arange(4, dtype=jnp.uint8)
    with pytest.raises(ValueError, match="floats in \\[0, 1\\], got uint8"):
        jax.jit(lambda x: check_values(x) or x)(pixels)
    with pytest.raises(ValueError, match="`threshold` must be a number"):
        ej.encoders.latency(np.zeros(2), 0.0, 1.0, threshold=np.nan)


def test_bins_without_number():
    events = make_set([[(1e6, 0)]])
    with pytest.raises(ValueError, match="more than .* bins"):
        events.binned(1e-7)
