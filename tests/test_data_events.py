"""Sets of events: what they accept, how they are cut, and that they survive the disk."""

import json

import numpy as np
import pytest

from eventjax.data import EventSet
from eventjax.data._event_set import joined
from eventjax.data._event_store import write_store


def make_events(counts=(3, 0, 5, 4, 2), speaker=(0, 2, 0, 1, 2), seed=0, num_units=9):
    rng = np.random.default_rng(seed)
    # Whole ms, so that there are ties.
    times = [np.sort(rng.integers(0, 20, n)).astype(np.float32) for n in counts]
    size = sum(counts)
    return EventSet(
        np.concatenate(times),
        rng.integers(0, num_units, size).astype(np.uint16),
        np.concatenate([[0], np.cumsum(counts)]),
        np.arange(len(counts)) % 3,
        np.array(speaker),
        num_units=num_units,
        num_classes=3,
        label_names=("a", "b", "c"),
    )


def as_lists(events):
    return [
        (times.tolist(), units.tolist(), int(label), int(speaker))
        for (times, units), label, speaker in zip(events, events.label, events.speaker)
    ]


def assert_checked(events):
    """All that is derived from a good set is a good set, every event included."""
    EventSet(**vars(events))


def test_what_it_knows_of_itself():
    events = make_events()
    assert len(events) == 5
    np.testing.assert_array_equal(events.counts, [3, 0, 5, 4, 2])
    expected = [max(times, default=0) for times, *_ in as_lists(events)]
    np.testing.assert_array_equal(events.durations, expected)
    assert events.durations.dtype == np.float32
    assert events.speakers == [0, 1, 2]
    np.testing.assert_array_equal(events.class_counts, [2, 2, 1])
    with pytest.raises(IndexError, match="no example 5 among 5"):
        events[5]


def test_arrays_are_read_only_and_the_callers_stay_writable():
    times = np.zeros(1, np.float32)
    one = np.zeros(1, np.int64)
    units, offsets = np.zeros(1, np.uint16), np.array([0, 1])
    events = EventSet(times, units, offsets, one, one, num_units=1, num_classes=1)
    with pytest.raises(ValueError, match="read-only"):
        events.times[0] = 1
    times[0] = 2


@pytest.mark.parametrize(
    "which, expected",
    [
        ([4, 0, 1, 2, 2], [4, 0, 1, 2, 2]),
        ([], []),
        (np.array([True, False, False, True, True]), [0, 3, 4]),
        (np.zeros(5, bool), []),
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, 2), [0, 2, 4]),
        (slice(3, 3), []),
        (np.uint8([3, 1]), [3, 1]),
    ],
)
def test_select(which, expected):
    events = make_events()
    out = events.select(which)
    whole = as_lists(events)
    assert as_lists(out) == [whole[i] for i in expected]
    assert_checked(out)


def test_neighbours_share_memory():
    events = make_events()
    assert np.shares_memory(events.select(slice(2, 4)).times, events.times)
    assert np.shares_memory(events.select([2, 3]).units, events.units)


@pytest.mark.parametrize(
    "which, message",
    [
        (np.ones(4, bool), r"there are 5, it has the shape \(4,\)"),
        ([0, 5, -1], r"from 0 to 4, got 5 \(2 of 3"),
        (np.array([0.5]), "array of float64"),
        (np.array([[1]]), r"shape \(1, 1\)"),
    ],
)
def test_wrong_selection(which, message):
    with pytest.raises(ValueError, match=message):
        make_events().select(which)


@pytest.mark.parametrize("t1", [0.5, 7.0, 7.5, 19.0, 100.0])
def test_crop(t1):
    events = make_events()
    out = events.crop(t1)
    for (times, units), (t, u) in zip(events, out, strict=True):
        np.testing.assert_array_equal(t, times[times < t1])
        np.testing.assert_array_equal(u, units[times < t1])
    assert_checked(out)
    np.testing.assert_array_equal(out.label, events.label)


@pytest.mark.parametrize("dt", [0.1, 0.7, 1.0, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("whole", [False, True])
def test_binned_against_a_histogram(dt, whole):
    rng = np.random.default_rng(1)
    counts = [200, 0, 150]
    times = [np.sort(rng.uniform(0, 20, n)).astype(np.float32) for n in counts]
    if whole:  # on the edges, where rounding decides
        times = [(np.rint(t / dt) * dt).astype(np.float32) for t in times]
    events = EventSet(
        np.concatenate(times),
        rng.integers(0, 9, 350).astype(np.uint16),
        np.array([0, 200, 200, 350]),
        np.zeros(3, np.int64),
        np.zeros(3, np.int64),
        num_units=9,
        num_classes=1,
    )
    out = events.binned(dt)
    edges = (np.arange(1000) * dt).astype(np.float32)
    for (t, u), (times, units) in zip(out, events, strict=True):
        full = np.zeros((1000, 9), bool)
        for time, unit in zip(times, units):
            full[np.flatnonzero(edges <= time)[-1], unit] = True
        k, unit = np.nonzero(full)
        np.testing.assert_array_equal(t, edges[k])
        np.testing.assert_array_equal(u, unit)
    assert_checked(out)
    assert as_lists(out.binned(dt)) == as_lists(out)


def test_leave_one_out():
    events = make_events()
    for speaker in events.speakers:
        rest, held_out = events.leave_one_out(speaker)
        assert set(held_out.speaker) == {speaker}
        assert speaker not in rest.speaker
        assert sorted(as_lists(rest) + as_lists(held_out)) == sorted(as_lists(events))


def test_who_cannot_be_left_out():
    with pytest.raises(ValueError, match=r"no speaker 7: the speakers are \[0, 1, 2\]"):
        make_events().leave_one_out(7)
    with pytest.raises(ValueError, match="All 5 examples are of speaker 3"):
        make_events(speaker=[3] * 5).leave_one_out(3)
    unknown = make_events(speaker=[-1, 0, 1, -1, 0])
    assert unknown.speakers == [0, 1]
    with pytest.raises(ValueError, match="speakers of 2 of 5 examples are unknown"):
        unknown.leave_one_out(0)


@pytest.mark.parametrize("name", ["crop", "binned"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_times_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match="must be positive, in ms"):
        getattr(make_events(), name)(value)


def _changed(name, place, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


def _replaced(name, value):
    return lambda arrays: arrays.update({name: value})


WRONG_SETS = {
    "type": (
        _replaced("times", np.zeros(14)),
        "`times` must be .*float32.*got float64",
    ),
    "axes": (_replaced("label", np.zeros((5, 1), int)), r"`label` .*shape \(5, 1\)"),
    "events": (
        _replaced("units", np.zeros(13, np.uint16)),
        "14 `times` and 13 `units`",
    ),
    "labels": (_replaced("label", np.zeros(4, int)), "4 `label`, 5 `speaker`, 6 `offs"),
    "offsets start": (_changed("offsets", 0, 1), "ascend from 0 .* 14; .*from 1 to 14"),
    "offsets end": (_changed("offsets", -1, 13), "go from 0 to 13"),
    "offsets fall": (_changed("offsets", 1, 4), "with 1 steps down"),
    "label": (
        _changed("label", 2, 3),
        "`label` must be from 0 to 2, got 3 for example 2",
    ),
    "speaker": (_changed("speaker", 1, -2), "`speaker` must be from -1 .*got -2"),
    "nan": (_changed("times", 4, np.nan), "finite.*example 2 has nan"),
    "infinite": (_changed("times", 7, np.inf), "finite.*example 2 has inf"),
    "negative": (_changed("times", 0, -1.0), "at least 0.*example 0 has -1.0"),
    "unsorted": (
        _changed("times", 9, 40.0),
        "ascend within .*example 3 has 40.0 before",
    ),
    "unit": (_changed("units", 13, 9), "Units must be from 0 to 8: example 4 has 9"),
    "names": (
        _replaced("label_names", ("a", "b")),
        "`label_names` must be 3 different",
    ),
    "twice": (_replaced("label_names", ("a", "b", "a")), "must be 3 different"),
    "units": (_replaced("num_units", 1 << 17), "`num_units` must be from 1 to 65536"),
    "classes": (_replaced("num_classes", 0), "`num_classes` must be at least 1"),
}


@pytest.mark.parametrize("change, message", WRONG_SETS.values(), ids=WRONG_SETS)
@pytest.mark.parametrize("at_once", [1 << 22, 4, 1])
def test_wrong_sets(change, message, at_once, monkeypatch):
    # The same faults are found where events are looked at in small pieces.
    monkeypatch.setattr("eventjax.data._event_checks._EVENTS_AT_ONCE", at_once)
    arrays = {**vars(make_events())}
    change(arrays)
    with pytest.raises(ValueError, match=message):
        EventSet(**arrays)


def test_good_sets_pass_in_small_pieces(monkeypatch):
    for at_once in range(1, 16):
        monkeypatch.setattr("eventjax.data._event_checks._EVENTS_AT_ONCE", at_once)
        assert_checked(make_events())


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("counts", [(3, 0, 5, 4, 2), (0,) * 5])
def test_saved_and_opened(tmp_path, mmap, counts):
    events = make_events(counts)
    events.save(tmp_path / "sets" / "one")
    again = EventSet.open(tmp_path / "sets" / "one", mmap=mmap)
    assert as_lists(again) == as_lists(events)
    assert (again.num_units, again.num_classes) == (9, 3)
    assert again.label_names == ("a", "b", "c")
    assert [x.name for x in (tmp_path / "sets").iterdir()] == ["one"]
    # What is on disk is plain NumPy.
    times = np.load(tmp_path / "sets" / "one" / "times.npy")
    np.testing.assert_array_equal(times, events.times)


def test_written_in_parts(tmp_path):
    parts = [make_events(seed=0), make_events((1, 2, 0, 0, 9), seed=1), make_events()]
    write_store(tmp_path / "set", parts)
    assert as_lists(EventSet.open(tmp_path / "set")) == as_lists(joined(parts))
    assert as_lists(joined(parts)) == sum(map(as_lists, parts), [])


def test_never_overwritten(tmp_path):
    make_events().save(tmp_path / "set")
    with pytest.raises(FileExistsError, match="is there already"):
        make_events(seed=1).save(tmp_path / "set")
    assert as_lists(EventSet.open(tmp_path / "set")) == as_lists(make_events())


def _stops(error):
    yield make_events()
    raise error


@pytest.mark.parametrize(
    "parts, error",
    [
        (lambda: _stops(ZeroDivisionError()), ZeroDivisionError),
        (lambda: _stops(KeyboardInterrupt()), KeyboardInterrupt),
        (lambda: [make_events(), make_events(num_units=10)], ValueError),
        (lambda: [], ValueError),
    ],
)
def test_a_failed_write_leaves_nothing(tmp_path, parts, error):
    with pytest.raises(error):
        write_store(tmp_path / "set", parts())
    assert list(tmp_path.iterdir()) == []


def _cut(folder):
    path = folder / "times.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _remove(folder):
    (folder / "speaker.npy").unlink()


def _empty(folder):
    (folder / "units.npy").write_bytes(b"")


def _spoil_meta(folder):
    (folder / "meta.json").write_text('{"format": 1')


def _other_format(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "format": 2}))


def _other_label(folder):
    np.save(folder / "label.npy", np.full(5, 3))


def _other_events(folder):
    np.save(folder / "times.npy", np.zeros(3, np.float32))


@pytest.mark.parametrize(
    "damage",
    [_cut, _remove, _empty, _spoil_meta, _other_format, _other_label, _other_events],
)
@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_folder(tmp_path, damage, mmap):
    make_events().save(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(RuntimeError, match="is damaged: .* Delete that folder"):
        EventSet.open(tmp_path / "set", mmap=mmap)


def test_events_are_checked_when_they_are_read(tmp_path):
    make_events().save(tmp_path / "set")
    times = np.load(tmp_path / "set" / "times.npy")
    times[3] = np.nan
    np.save(tmp_path / "set" / "times.npy", times)
    with pytest.raises(RuntimeError, match="is damaged: .*finite"):
        EventSet.open(tmp_path / "set", mmap=False)


def test_absent_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no event set"):
        EventSet.open(tmp_path / "nowhere")
