"""The Yin-Yang generator against the published set."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from eventjax.data import yin_yang


SPLITS = {"train": (5000, 42), "validation": (1000, 41), "test": (1000, 40)}

# sha256 of the published features (float64) and labels (int64), little-endian.
SHA256 = {
    "train": (
        "f5a4054d56f2a058f8250fba7ff9720458e1625db7af78a295e45701745b2228",
        "534d12acda4f9dbc7208a99d3646115a4aa7d74ca31d6d23f822079a568559b7",
    ),
    "validation": (
        "5eac358bdf2122763dce3703a79f3005e56e46a4db25ec329a07333d0f7b8093",
        "5a4c2f605814a620f514c1091f10441ce562cd81e902ce701b3cf94ae7576f7d",
    ),
    "test": (
        "7bab3ed668ed4992679cff6339fe21bfe7d0c921ddc6187eaa3bc6ef34b888d7",
        "daa0f8f4e3b37b1ddec2afee22f09afb768f0e575f3f568e7469f1ebc6af73c1",
    ),
}


def _sha256(array, dtype):
    return hashlib.sha256(array.astype(dtype, order="C").tobytes()).hexdigest()


@pytest.mark.parametrize("split", SPLITS)
def test_equals_published_hashes(split):
    samples = yin_yang(*SPLITS[split])
    assert samples["features"].dtype == np.float64
    assert samples["label"].dtype == np.int64
    assert _sha256(samples["features"], "<f8") == SHA256[split][0]
    assert _sha256(samples["label"], "<i8") == SHA256[split][1]


@pytest.mark.parametrize("split", SPLITS)
def test_equals_published_files(split):
    folder = os.environ.get("EVENTJAX_DATA_DIR")
    if folder is None:
        pytest.skip("EVENTJAX_DATA_DIR is not set")
    published = Path(folder) / "yin_yang_publication"
    if not published.is_dir():
        pytest.skip("no folder yin_yang_publication in EVENTJAX_DATA_DIR")
    samples = yin_yang(*SPLITS[split])
    features = np.load(published / f"{split}_samples.npy")
    label = np.load(published / f"{split}_labels.npy")
    assert features.dtype == samples["features"].dtype
    assert features.tobytes() == samples["features"].tobytes()
    assert label.dtype == samples["label"].dtype
    assert label.tobytes() == samples["label"].tobytes()


def test_geometry():
    samples = yin_yang(2000, 0)
    x, y = samples["features"][:, 0], samples["features"][:, 1]
    np.testing.assert_array_equal(samples["features"][:, 2], 1 - x)
    np.testing.assert_array_equal(samples["features"][:, 3], 1 - y)
    assert np.hypot(x - 0.5, y - 0.5).max() <= 0.5

    to_dot = np.minimum(np.hypot(x - 0.25, y - 0.5), np.hypot(x - 0.75, y - 0.5))
    np.testing.assert_array_equal(samples["label"] == 2, to_dot < 0.1)
    # Turning the picture by half a turn swaps yin and yang: so do these places.
    left_lobe = (np.hypot(x - 0.25, y - 0.5) < 0.24) & (to_dot > 0.1)
    right_lobe = (np.hypot(x - 0.75, y - 0.5) < 0.24) & (to_dot > 0.1)
    assert set(samples["label"][left_lobe]) == {1}
    assert set(samples["label"][right_lobe]) == {0}
    # A third each, within five standard deviations of a binomial count.
    counts = np.bincount(samples["label"], minlength=3)
    assert np.all(np.abs(counts - 2000 / 3) < 5 * np.sqrt(2000 * 2 / 9))


def test_a_shorter_set_is_the_start_of_a_longer_one():
    short, long = yin_yang(10, 7), yin_yang(20, 7)
    np.testing.assert_array_equal(short["features"], long["features"][:10])
    assert not np.array_equal(yin_yang(10, 8)["features"], short["features"])


@pytest.mark.parametrize(
    "size, seed, message",
    [
        (0, 1, "`size` must be at least 1, got 0"),
        (5, -1, "`seed` must be from 0 to 2\\*\\*32 - 1, got -1"),
        (5, 2**32, "`seed` must be from 0"),
    ],
)
def test_wrong_arguments(size, seed, message):
    with pytest.raises(ValueError, match=message):
        yin_yang(size, seed)
