"""Made-up sequences whose answer lies far back in them, drawn from a seed."""

import numpy as np


SYMBOLS = 8  # that `copying` may show
SHOWN = 5  # how many it does

_Sequences = dict[str, np.ndarray]


def adding(size: int, frames: int, seed: int) -> _Sequences:
    """Two of many numbers are marked, one in each half; the sum of these is asked for at
    the end. To say 1 always gives a mean square error of 1 / 6.

    **Arguments:**

    - `size`: number of sequences, at least 1.
    - `frames`: their length in frames, at least 20.
    - `seed`: an integer of at least 0.

    **Returns:** a dictionary of

    - `"frames"`: float32 `[size, frames, 2]`: a number in [0, 1), and 1 where it is marked.
    - `"target"`: float32 `[size, frames]`, the sum in the last frame, 0 before.
    - `"valid"`, `"asked"`: bool `[size, frames]`: true everywhere, and in the last frame.

    **Raises:** `ValueError` for values out of range.

    ??? cite

        Hochreiter and Schmidhuber, Neural Computation 9 (1997), in the form of Le, Jaitly
        and Hinton, arXiv 1504.00941.
    """
    rng = _generator(size, frames, seed)
    x = np.zeros((size, frames, 2), np.float32)
    x[..., 0] = rng.random((size, frames), np.float32)
    half, every = frames // 2, np.arange(size)
    places = (rng.integers(0, half, size), rng.integers(half, frames, size))
    total = np.zeros((size, frames), np.float32)
    for place in places:
        x[every, place, 1] = 1
        total[:, -1] += x[every, place, 0]
    return {"frames": x, "target": total, **_asked(size, frames, 1)}


def copying(size: int, frames: int, seed: int) -> _Sequences:
    """Five symbols are shown at the start, and asked for in the same order at the end,
    behind a cue. By chance one of eight is right.

    **Arguments:** see `adding`.

    **Returns:** a dictionary of

    - `"frames"`: float32 `[size, frames, 9]`: 1 for the symbol shown, the last for the cue.
    - `"label"`: int32 `[size, frames]`, the symbols, 0 to 7, in the last five frames, -1
        before.
    - `"valid"`, `"asked"`: bool `[size, frames]`: true everywhere, and in the last five
        frames.

    **Raises:** `ValueError` for values out of range.

    ??? cite

        Hochreiter and Schmidhuber, Neural Computation 9 (1997), in the form of Arjovsky,
        Shah and Bengio, ICML 2016, with fewer symbols.
    """
    rng = _generator(size, frames, seed)
    symbols = rng.integers(0, SYMBOLS, (size, SHOWN))
    x = np.zeros((size, frames, SYMBOLS + 1), np.float32)
    x[:, :SHOWN] = np.eye(SYMBOLS + 1, dtype=np.float32)[symbols]
    x[:, -SHOWN - 1, SYMBOLS] = 1
    label = np.full((size, frames), -1, np.int32)
    label[:, -SHOWN:] = symbols
    return {"frames": x, "label": label, **_asked(size, frames, SHOWN)}


def delayed_xor(size: int, frames: int, seed: int) -> _Sequences:
    """Two of many bits are marked, one in the first tenth and one in the last; whether they
    differ is asked for at the end. Neither alone says anything.

    **Arguments:** see `adding`.

    **Returns:** a dictionary of

    - `"frames"`: float32 `[size, frames, 2]`: a bit, -1 or 1, and 1 where it is marked.
    - `"label"`: int32 `[size, frames]`, 1 if they differ, else 0, in the last frame, -1
        before.
    - `"valid"`, `"asked"`: bool `[size, frames]`: true everywhere, and in the last frame.

    **Raises:** `ValueError` for values out of range.
    """
    rng = _generator(size, frames, seed)
    x = np.zeros((size, frames, 2), np.float32)
    x[..., 0] = 2 * rng.integers(0, 2, (size, frames)) - 1
    tenth, every = frames // 10, np.arange(size)
    first = rng.integers(0, tenth, size)
    last = rng.integers(frames - tenth, frames, size)
    x[every, first, 1] = x[every, last, 1] = 1
    label = np.full((size, frames), -1, np.int32)
    label[:, -1] = x[every, first, 0] != x[every, last, 0]
    return {"frames": x, "label": label, **_asked(size, frames, 1)}


def _generator(size: int, frames: int, seed: int) -> np.random.Generator:
    for name, value, least in (("size", size, 1), ("frames", frames, 20)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    return np.random.default_rng(seed)


def _asked(size: int, frames: int, last: int) -> _Sequences:
    asked = np.zeros((size, frames), bool)
    asked[:, -last:] = True
    return {"valid": np.ones((size, frames), bool), "asked": asked}
