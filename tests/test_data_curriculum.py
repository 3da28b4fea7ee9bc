"""Utterances of unequal length: pieces that grow, and batches of few shapes."""

import collections

import numpy as np
import pytest

from eventjax.data import (
    normalise_speakers,
    padded_utterance_batches,
    UtteranceBatches,
    Utterances,
)
from eventjax.data._pieces import cut


LENGTHS = [3, 40, 17, 90, 8, 125, 126, 61, 33, 200]


def made_up(lengths, features=2, seed=0):
    """The first feature of each frame is its place in the whole set."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    frames = rng.normal(2, 3, (total, features)).astype(np.float32)
    frames[:, 0] = np.arange(total)
    return Utterances(
        frames,
        rng.integers(0, 5, total).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        (np.arange(len(lengths)) % 3).astype(np.int32),
        num_classes=5,
    )


def plain_cut(length, limit):
    """As the paper's code does it, one piece after the other."""
    out, start = [], 0
    while length - start > limit + limit / 4:
        out.append((start, start + limit))
        start += limit
    return [*out, (start, length)]


@pytest.mark.parametrize("limit", [4, 5, 7, 16, 100, 1000])
def test_pieces(limit):
    lengths = np.array([*range(1, 60), *LENGTHS, 1250, 1251])
    pieces = cut(lengths, limit)
    bounds = collections.defaultdict(list)
    for k, *bound in zip(pieces.utterance, pieces.start, pieces.stop):
        bounds[k].append(tuple(bound))
    assert [bounds[k] for k in range(len(lengths))] == [
        plain_cut(length, limit) for length in lengths
    ]
    size, width = pieces.stop - pieces.start, np.array(pieces.widths)[pieces.bucket]
    assert (size <= width).all() and (width - size < -(-limit // 4)).all()
    assert len(pieces.widths) <= 5 and width.max() <= -(-5 * limit // 4)
    assert set(pieces.bucket) == set(range(len(pieces.widths)))


def test_whole_utterances():
    pieces = cut(np.array(LENGTHS), None)
    np.testing.assert_array_equal(pieces.utterance, range(10))
    np.testing.assert_array_equal(pieces.stop - pieces.start, LENGTHS)
    assert pieces.widths == (50, 100, 150, 200)


def frames_of(batches):
    """All valid frames, in the order of the set, after a look at each batch."""
    seen = []
    for batch, is_real in batches:
        valid = batch["valid"]
        assert not np.any(valid[:, 1:] & ~valid[:, :-1])
        assert (batch["frames"][~valid] == 0).all() and valid[:, 0].all()
        np.testing.assert_array_equal(batch["label"] == -1, ~valid)
        seen.append(batch["frames"][valid & is_real[:, None]][:, 0])
    return np.sort(np.concatenate(seen))


@pytest.mark.parametrize("seed", [None, 3])
def test_every_frame_once_in_stated_shapes(seed):
    utterances = made_up(LENGTHS)
    batches = UtteranceBatches(
        utterances, 4, seed=seed, drop_last=False, stages=((2, 20), (1, 50))
    )
    assert batches.shapes == {20: (5, 10, 15, 20, 25), 50: (13, 25, 38, 50, 63)}
    limits = [batches.limit(k) for k in range(5)]
    assert limits == [20, 20, 50, 50, 50]
    for number, limit in enumerate(limits):
        epoch = list(batches.epoch(number))
        assert len(epoch) == batches.num_batches(number)
        shapes = [x["valid"].shape for x in epoch]
        assert {width for _, width in shapes} <= set(batches.shapes[limit])
        rows = sorted(size for size, _ in shapes)
        assert rows[1:] == [4] * (len(rows) - 1) and 0 < rows[0] <= 4
        every = np.ones(4, bool)
        seen = frames_of((x, every[: len(x["valid"])]) for x in epoch)
        np.testing.assert_array_equal(seen, np.arange(sum(LENGTHS)))
        for batch in epoch:
            assert batch["frames"].dtype == np.float32
            assert batch["label"].dtype == np.int32
            for row, k in enumerate(batch["utterance"]):
                frames, label = utterances[int(k)]
                first = int(batch["frames"][row, 0, 0] - frames[0, 0])
                size = batch["valid"][row].sum()
                np.testing.assert_array_equal(
                    batch["frames"][row, :size], frames[first : first + size]
                )
                np.testing.assert_array_equal(
                    batch["label"][row, :size], label[first : first + size]
                )
    counts = [batches.num_batches(k) for k in range(3)]
    assert len(batches) == -(-sum(counts) // 3) and counts[0] > counts[2]


def test_what_is_left_over_is_left_out_or_not():
    utterances = made_up(LENGTHS)
    given = dict(seed=0, stages=((1, 20),))
    kept = UtteranceBatches(utterances, 4, drop_last=True, **given)
    full = UtteranceBatches(utterances, 4, drop_last=False, **given)
    shapes = {x["valid"].shape[0] for x in kept.epoch(0)}
    assert shapes == {4} and len(full) == len(kept) + 1
    pieces = sum(len(plain_cut(x, 20)) for x in LENGTHS)
    assert len(kept) == pieces // 4


def contents(batches, number):
    return [
        {k: x.tolist() for k, x in batch.items()} for batch in batches.epoch(number)
    ]


def test_seed_and_epoch_alone_decide():
    utterances = made_up(LENGTHS)

    def batches(seed, **how):
        return UtteranceBatches(
            utterances, 3, seed=seed, drop_last=True, stages=((9, 20),), **how
        )

    one = batches(0)
    later = contents(one, 5)
    assert contents(one, 0) != later
    assert contents(batches(0, prefetch=0), 5) == later
    assert contents(batches(1), 5) != later
    # Without a seed, the narrowest first, and every epoch the same
    still = batches(None)
    widths = [x["valid"].shape[1] for x in still.epoch(0)]
    assert widths == sorted(widths) and contents(still, 0) == contents(still, 7)
    assert [x["valid"].shape[1] for x in one.epoch(0)] != widths


@pytest.mark.parametrize("limit", [None, 20])
def test_evaluation_has_every_piece_once(limit):
    utterances = made_up(LENGTHS)
    batches = list(padded_utterance_batches(utterances, 4, limit=limit))
    np.testing.assert_array_equal(frames_of(batches), np.arange(sum(LENGTHS)))
    shapes = {x["frames"].shape for x, _ in batches}
    assert len(shapes) == (4 if limit is None else 5)
    assert {shape[0] for shape in shapes} == {4}
    batch, is_real = next(x for x in batches if not x[1].all())
    last = is_real.sum() - 1
    for filled in range(last + 1, 4):
        np.testing.assert_array_equal(batch["frames"][filled], batch["frames"][last])


def test_speakers_are_normalised_each():
    utterances = made_up(LENGTHS, features=3)
    normal = normalise_speakers(utterances)
    owner = np.repeat(utterances.speaker, utterances.lengths)
    for speaker in range(3):
        frames = normal.frames[owner == speaker].astype(float)
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(frames.std(axis=0), 1, rtol=1e-5)
    assert normal.label is not None and normal.frames.dtype == np.float32
    # A speaker's features depend on no other speaker
    first = made_up(LENGTHS, features=3)
    frames = first.frames.copy()
    frames[owner != 1] *= 7
    other = normalise_speakers(
        Utterances(frames, first.label, first.offsets, first.speaker, num_classes=5)
    )
    np.testing.assert_array_equal(other.frames[owner == 1], normal.frames[owner == 1])
    frames[owner == 2, 1] = 4
    constant = Utterances(
        frames, first.label, first.offsets, first.speaker, num_classes=5
    )
    with pytest.raises(ValueError, match="Feature 1 has one value, 4, .* speaker 2"):
        normalise_speakers(constant)


def test_from_padded():
    valid = np.arange(4)[None] < np.array([[4], [2]])
    part = {
        "frames": np.arange(16.0).reshape(2, 4, 2),
        "label": np.where(valid, 1, -1),
        "valid": valid,
    }
    utterances = Utterances.from_padded(part, 2)
    np.testing.assert_array_equal(utterances.lengths, [4, 2])
    np.testing.assert_array_equal(utterances[1][0], part["frames"][1, :2])
    with pytest.raises(ValueError, match="speakers of 2 of 2 utterances are unknown"):
        normalise_speakers(utterances)
    with pytest.raises(IndexError, match="no utterance 2 among 2"):
        utterances[2]
    with pytest.raises(ValueError, match="read-only"):
        utterances.frames[0] = 0
    with pytest.raises(ValueError, match="1 utterances without frames"):
        Utterances.from_padded({**part, "valid": valid & [[True], [False]]}, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(frames=np.zeros((6, 2))), "`frames` must be of type float32 with 2 axes"),
        (dict(label=np.zeros(5, np.int32)), "6 `frames` and 5 `label`"),
        (dict(label=np.full(6, 2, np.int32)), "0 to 1, got values from 2 to 2"),
        (dict(offsets=np.array([0, 2, 5])), "frames, 6; they go from 0 to 5"),
        (dict(speaker=np.zeros(3, np.int32)), "3 `speaker` and 3 `offsets`"),
        (
            dict(speaker=np.zeros(0, np.int32), offsets=np.zeros(1, np.int64)),
            "at least one utterance",
        ),
        (dict(frames=np.full((6, 2), np.nan, np.float32)), "must be finite"),
    ],
)
def test_wrong_utterances(change, message):
    given = dict(
        frames=np.zeros((6, 2), np.float32),
        label=np.zeros(6, np.int32),
        offsets=np.array([0, 2, 6]),
        speaker=np.zeros(2, np.int32),
        num_classes=2,
    )
    with pytest.raises(ValueError, match=message):
        Utterances(**{**given, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(batch_size=0), "`batch_size` must be at least 1"),
        (dict(batch_size=11), "only 10 pieces, and `drop_last`"),
        (
            dict(batch_size=11, stages=((1, 20), (1, 300))),
            "only 10 pieces of up to 300 frames",
        ),
        (dict(seed=-1), "`seed` must be at least 0"),
        (dict(prefetch=-1), "`prefetch` must be at least 0"),
        (dict(stages=((0, 100),)), r"got \(0, 100\)"),
        (dict(stages=((1, 3),)), r"4 frames, got \(1, 3\)"),
    ],
)
def test_wrong_batches(change, message):
    given = dict(batch_size=2, seed=0, drop_last=True)
    with pytest.raises(ValueError, match=message):
        UtteranceBatches(made_up(LENGTHS), **{**given, **change})


def test_wrong_epoch_and_limit():
    batches = UtteranceBatches(made_up(LENGTHS), 2, seed=0, drop_last=True)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        batches.epoch(-1)
    with pytest.raises(ValueError, match="`limit` must be at least 4"):
        padded_utterance_batches(made_up(LENGTHS), 2, limit=3)
