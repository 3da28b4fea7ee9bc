"""Made-up sequences: what is asked for is what was shown."""

import numpy as np
import pytest

import eventjax as ej


SIZE, FRAMES = 40, 30


def test_adding():
    made = ej.data.adding(SIZE, FRAMES, 0)
    value, mark = made["frames"][..., 0], made["frames"][..., 1]
    np.testing.assert_array_equal(mark.sum(axis=1), 2)
    np.testing.assert_array_equal(mark[:, : FRAMES // 2].sum(axis=1), 1)
    np.testing.assert_allclose(
        made["target"][:, -1], (value * mark).sum(axis=1), rtol=1e-6
    )
    assert not np.any(made["target"][:, :-1])
    assert 0 <= value.min() and value.max() < 1
    np.testing.assert_array_equal(made["asked"].sum(axis=1), 1)


def test_copying():
    made = ej.data.copying(SIZE, FRAMES, 1)
    assert made["frames"].shape == (SIZE, FRAMES, 9)
    shown = made["frames"][:, :5].argmax(axis=2)
    np.testing.assert_array_equal(made["label"][:, -5:], shown)
    assert set(shown.reshape(-1)) == set(range(8))
    np.testing.assert_array_equal(made["frames"].sum(axis=(1, 2)), 6)
    np.testing.assert_array_equal(made["frames"][:, -6, 8], 1)
    np.testing.assert_array_equal(made["asked"], made["label"] >= 0)


def test_delayed_xor():
    made = ej.data.delayed_xor(SIZE, FRAMES, 2)
    bit, mark = made["frames"][..., 0], made["frames"][..., 1] == 1
    assert set(np.unique(bit)) == {-1, 1}
    for k in range(SIZE):
        one, two = np.flatnonzero(mark[k])
        assert one < FRAMES // 10 and two >= FRAMES - FRAMES // 10
        assert made["label"][k, -1] == (bit[k, one] != bit[k, two])
    assert 0.2 < made["label"][:, -1].mean() < 0.8
    np.testing.assert_array_equal(made["asked"], made["label"] >= 0)


@pytest.mark.parametrize("draw", [ej.data.adding, ej.data.copying, ej.data.delayed_xor])
def test_a_seed_is_a_set(draw):
    one, two, other = draw(3, 25, 4), draw(3, 25, 4), draw(3, 25, 5)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert np.any(one["frames"] != other["frames"]) and np.all(one["valid"])
    for bad, text in (
        ((0, 25, 4), "size"),
        ((3, 19, 4), "frames"),
        ((3, 25, -1), "seed"),
    ):
        with pytest.raises(ValueError, match=f"`{text}` must be at least"):
            draw(*bad)
