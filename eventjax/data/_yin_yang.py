"""The Yin-Yang set: three classes in the plane, generated from a seed."""

import math

import numpy as np


R_BIG = 0.5
R_SMALL = 0.1
CLASS_NAMES = ("yin", "yang", "dot")

# Size and seed of each published split.
SPLITS = {"train": (5000, 42), "validation": (1000, 41), "test": (1000, 40)}


def yin_yang(size: int, seed: int) -> dict[str, np.ndarray]:
    """Samples of the Yin-Yang set, drawn afresh from a seed.

    The published splits are `yin_yang(5000, 42)` for training, `yin_yang(1000, 41)`
    for validation and `yin_yang(1000, 40)` for testing, equal to the authors' files
    bit for bit. How a coordinate becomes a spike time is left to the caller: see
    `eventjax.encoders`.

    ```python
    train = ej.data.yin_yang(5000, 42)
    train["features"].shape        # (5000, 4)
    ```

    **Arguments:**

    - `size`: the number of samples, at least 1.
    - `seed`: seed of a `numpy.random.RandomState`, whose stream is the same in all
        versions of NumPy.

    **Returns:** a dictionary of

    - `"features"`: float64 of shape `(size, 4)`: `(x, y, 1 - x, 1 - y)`, without unit,
        each in [0, 1].
    - `"label"`: int64 of shape `(size,)`: 0 yin, 1 yang, 2 dot, equally likely.

    **Raises:** `ValueError` if `size` is below 1 or `seed` outside 0 to 2**32 - 1.

    ??? cite "Reference"
        Kriener, Göltz, Petrovici: The Yin-Yang dataset. NICE 2022.
        https://arxiv.org/abs/2102.08211. Geometry and published arrays:
        https://github.com/lkriener/yin_yang_data_set, MIT licence.
    """
    if size < 1:
        raise ValueError(f"`size` must be at least 1, got {size}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be from 0 to 2**32 - 1, got {seed}.")
    rng = np.random.RandomState(seed)
    features = np.empty((size, 4), np.float64)
    label = np.empty(size, np.int64)
    for i in range(size):
        label[i] = rng.randint(3)
        x, y = _draw_point(rng, label[i])
        features[i] = x, y, 1 - x, 1 - y
    return {"features": features, "label": label}


def _draw_point(rng, wanted) -> np.ndarray:
    """A point of the wanted class, uniform, by rejection: the order and number of the
    draws are part of the set."""
    while True:
        x, y = point = rng.rand(2) * 2 * R_BIG
        if _distance(x, y, R_BIG) <= R_BIG and _class_of(x, y) == wanted:
            return point


def _class_of(x, y) -> int:
    to_right = _distance(x, y, 1.5 * R_BIG)
    to_left = _distance(x, y, 0.5 * R_BIG)
    if to_right < R_SMALL or to_left < R_SMALL:
        return 2
    # Yang is what lies above the middle line, less the big lobe on the right, plus the
    # big lobe on the left. The very rim of the right dot counts as yang, too.
    on_right_rim = to_right == R_SMALL
    in_left_lobe = R_SMALL < to_left <= 0.5 * R_BIG
    above = y > R_BIG and to_right > 0.5 * R_BIG
    return int(on_right_rim or in_left_lobe or above)


def _distance(x, y, centre_x: float):
    """To a point on the middle line."""
    return math.sqrt((x - centre_x) ** 2 + (y - R_BIG) ** 2)
