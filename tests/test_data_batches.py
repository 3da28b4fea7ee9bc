"""Batches: every example where it should be, in an order that can be had again."""

import numpy as np
import pytest

from eventjax.data import Batches, padded_batches


def _arrays(size):
    return {"x": np.arange(2 * size).reshape(size, 2), "label": np.arange(size)}


@pytest.mark.parametrize(
    "drop_last, sizes", [(True, [4, 4]), (False, [4, 4, 3])], ids=["drop", "keep"]
)
@pytest.mark.parametrize("seed", [None, 0])
def test_last_batch(drop_last, sizes, seed):
    data = Batches(_arrays(11), 4, seed=seed, drop_last=drop_last)
    batches = list(data.epoch(0))
    assert len(data) == len(batches)
    assert [len(batch["label"]) for batch in batches] == sizes
    seen = np.concatenate([batch["label"] for batch in batches])
    assert len(set(seen)) == sum(sizes)
    for batch in batches:
        # Arrays are shuffled together.
        np.testing.assert_array_equal(batch["x"][:, 0], 2 * batch["label"])


@pytest.mark.parametrize("drop_last", [True, False])
def test_no_rest(drop_last):
    data = Batches(_arrays(12), 4, seed=0, drop_last=drop_last)
    assert [len(batch["x"]) for batch in data.epoch(0)] == [4, 4, 4]
    assert len(data) == 3


def _order(data, epoch):
    return np.concatenate([batch["label"] for batch in data.epoch(epoch)])


def test_order_depends_on_seed_and_epoch_alone():
    data = Batches(_arrays(50), 8, seed=3, drop_last=False)
    later = _order(data, 7)
    # Epochs in between, half-read iterators and new objects change nothing.
    next(data.epoch(7))
    np.testing.assert_array_equal(_order(data, 7), later)
    again = Batches(_arrays(50), 8, seed=3, drop_last=False)
    np.testing.assert_array_equal(_order(again, 7), later)

    assert not np.array_equal(_order(data, 0), later)
    other = Batches(_arrays(50), 8, seed=4, drop_last=False)
    assert not np.array_equal(_order(other, 7), later)
    # Seed and epoch are two numbers, not their sum.
    assert not np.array_equal(_order(other, 6), later)


def test_without_seed_the_order_stays():
    data = Batches(_arrays(9), 4, seed=None, drop_last=False)
    np.testing.assert_array_equal(_order(data, 5), np.arange(9))


def test_batches_are_copies():
    arrays = _arrays(8)
    batch = next(Batches(arrays, 8, seed=None, drop_last=True).epoch(0))
    batch["x"][:] = -1
    assert arrays["x"].min() == 0


@pytest.mark.parametrize("size, num_batches", [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_padded(size, num_batches):
    pairs = list(padded_batches(_arrays(size), 4))
    assert len(pairs) == num_batches
    for batch, is_real in pairs:
        assert batch["x"].shape == (4, 2)
        assert batch["label"].shape == is_real.shape == (4,)
        assert is_real.dtype == bool
        assert np.all(batch["label"][~is_real] == size - 1)
    real = np.concatenate([batch["label"][is_real] for batch, is_real in pairs])
    np.testing.assert_array_equal(real, np.arange(size))


WRONG_ARRAYS = [
    ({}, "at least one array"),
    ({"x": np.zeros((3, 2)), "label": np.zeros(4)}, r"\{'x': 3, 'label': 4\}"),
    ({"x": np.zeros(3), "label": np.array(1)}, "have no axis: label"),
    ({"x": np.zeros((0, 2))}, "at least one example"),
]


@pytest.mark.parametrize("arrays, message", WRONG_ARRAYS)
def test_wrong_arrays(arrays, message):
    with pytest.raises(ValueError, match=message):
        Batches(arrays, 2, seed=0, drop_last=False)
    # At the call, not at the first batch.
    with pytest.raises(ValueError, match=message):
        padded_batches(arrays, 2)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_wrong_batch_size(batch_size):
    message = f"`batch_size` must be at least 1, got {batch_size}"
    with pytest.raises(ValueError, match=message):
        Batches(_arrays(5), batch_size, seed=0, drop_last=False)
    with pytest.raises(ValueError, match=message):
        padded_batches(_arrays(5), batch_size)


def test_no_batch_at_all():
    with pytest.raises(ValueError, match="`batch_size` is 6, but there are only 5"):
        Batches(_arrays(5), 6, seed=0, drop_last=True)
    data = Batches(_arrays(5), 6, seed=0, drop_last=False)
    assert [len(batch["x"]) for batch in data.epoch(0)] == [5]


def test_negative_seed_and_epoch():
    with pytest.raises(ValueError, match="`seed` must be at least 0.*got -1"):
        Batches(_arrays(5), 2, seed=-1, drop_last=True)
    data = Batches(_arrays(5), 2, seed=0, drop_last=True)
    with pytest.raises(ValueError, match="`number` .*at least 0, got -1"):
        data.epoch(-1)
