"""Changes of pictures in training: what they may do, seeds, errors."""

import numpy as np
import pytest

import eventjax as ej


RNG = np.random.default_rng
PICTURES = RNG(0).integers(1, 256, (200, 2, 6, 5), np.uint8)  # nowhere 0


def test_crop_moves_pictures_by_every_distance():
    moved = ej.data.RandomCrop(1)(PICTURES, RNG(1))
    assert moved.shape == PICTURES.shape and moved.dtype == np.uint8
    framed = np.pad(PICTURES, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = set()
    for before, after in zip(framed, moved):
        fits = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.array_equal(before[:, y : y + 6, x : x + 5], after)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 9


def test_flip_mirrors_about_half():
    flipped = ej.data.FlipLeftRight()(PICTURES, RNG(1))
    mirrored = [np.array_equal(x, y[..., ::-1]) for x, y in zip(flipped, PICTURES)]
    same = [np.array_equal(x, y) for x, y in zip(flipped, PICTURES)]
    assert np.all(np.logical_xor(mirrored, same))
    assert 70 < sum(mirrored) < 130


def test_cutout_clears_a_square_in_all_channels():
    cut = ej.data.Cutout(3)(PICTURES, RNG(1))
    gone = cut == 0
    np.testing.assert_array_equal(cut[~gone], PICTURES[~gone])
    np.testing.assert_array_equal(gone[:, 0], gone[:, 1])
    sizes = gone[:, 0].sum((1, 2))
    assert sizes.max() == 9 and sizes.min() >= 4  # part of it may lie outside
    rows, columns = gone[:, 0].any(2).sum(1), gone[:, 0].any(1).sum(1)
    np.testing.assert_array_equal(rows * columns, sizes)


def batches(**changes):
    options = {"seed": 3, "drop_last": True} | changes
    arrays = {"image": PICTURES, "label": np.arange(200)}
    change = ej.data.RandomCrop(2), ej.data.FlipLeftRight()
    return ej.data.Batches(arrays, 50, augment={"image": change}, **options)


def test_batches_change_pictures_anew_each_epoch_and_alike_each_time():
    def pictures(epoch: int) -> dict[int, np.ndarray]:
        found = {}
        for batch in batches().epoch(epoch):
            found |= dict(zip(batch["label"].tolist(), batch["image"]))
        return found

    one, again, other = pictures(0), pictures(0), pictures(1)
    assert all(np.array_equal(one[k], again[k]) for k in range(200))
    differ = [not np.array_equal(one[k], other[k]) for k in range(200)]
    assert sum(differ) > 150
    assert (PICTURES > 0).all()  # those given stay as they are


def test_bad_settings():
    with pytest.raises(ValueError, match="`border`.*got 0"):
        ej.data.RandomCrop(0)
    with pytest.raises(ValueError, match="`size`.*got 0"):
        ej.data.Cutout(0)
    with pytest.raises(ValueError, match="axis of channels"):
        ej.data.FlipLeftRight()(PICTURES[:, 0], RNG(0))
    with pytest.raises(ValueError, match="needs a `seed`"):
        batches(seed=None)
    with pytest.raises(ValueError, match=r"names \['picture'\]"):
        ej.data.Batches(
            {"image": PICTURES},
            5,
            seed=0,
            drop_last=True,
            augment={"picture": (ej.data.FlipLeftRight(),)},
        )
