"""Batches of utterances of unequal length: few shapes, little padding, and pieces that grow
longer while a network trains."""

import dataclasses
import functools as ft
from collections.abc import Iterator, Sequence

import numpy as np

from ._batches import check_batch_size
from ._pieces import cut, Pieces
from ._prefetch import prefetched
from ._utterances import Utterances


@dataclasses.dataclass(frozen=True, eq=False)
class UtteranceBatches:
    """Batches of pieces of utterances for training, in an order that depends on seed and
    epoch alone.

    In each stage, utterances are cut into pieces of a number of frames. What is left of
    one goes to its last piece, which has from a quarter to five quarters of that number.
    Pieces are padded to one of five widths, the quarters of the number, and like widths
    make a batch. What is left over of a width goes to the next wider one. So a jitted step
    compiles once for each of `shapes`, and a piece has less than a quarter of the number of
    frames as padding, but for what was left over.

    ```python
    train = ej.data.UtteranceBatches(
        utterances, 64, seed=0, drop_last=True, stages=((5, 100), (4, 200), (7, 1000))
    )
    for batch in train.epoch(0):
        batch["frames"], batch["label"], batch["valid"]     # [64, up to 125, ...]
    ```

    **Arguments:**

    - `utterances`: the set.
    - `batch_size`: pieces per batch, at least 1.
    - `seed`: an integer of at least 0 for a new order each epoch, or `None` for the
        narrowest first, in the set's own order.
    - `drop_last`: whether the pieces left over at the end, fewer than `batch_size`, are
        left out of this epoch (`True`) or come as a smaller batch.
    - `stages`: pairs of a number of epochs and one of frames. The last stage goes on for as
        long as there are epochs. By default utterances are whole.
    - `prefetch`: how many batches are made before they are asked for; 0 for no thread.

    **Raises:** `ValueError` for a `batch_size` below 1 or (with `drop_last`) above the
    number of pieces in a stage, a negative `seed` or `prefetch`, or a stage of no epoch or
    fewer than 4 frames.

    ??? cite

        Ponghiran and Roy's code cuts so; it has epochs of 100, 200, 400, 800 and 1,000
        frames. It does not sort by width.
    """

    utterances: Utterances
    batch_size: int
    _: dataclasses.KW_ONLY
    seed: int | None
    drop_last: bool
    stages: Sequence[tuple[int, int]] = ()
    prefetch: int = 2

    def __post_init__(self):
        check_batch_size(self.batch_size)
        if self.seed is not None and self.seed < 0:
            raise ValueError(
                f"`seed` must be at least 0, or None not to shuffle, got {self.seed}."
            )
        if self.prefetch < 0:
            raise ValueError(f"`prefetch` must be at least 0, got {self.prefetch}.")
        for epochs, frames in self.stages:
            if epochs < 1 or frames < 4:
                raise ValueError(
                    "Each of `stages` must be at least 1 epoch and 4 frames, got "
                    f"{(epochs, frames)}."
                )
        for limit, pieces in self._pieces.items():
            if not pieces.num_batches(self.batch_size, self.drop_last):
                among = "" if limit is None else f" of up to {limit} frames"
                raise ValueError(
                    f"There would be no batch at all: `batch_size` is {self.batch_size}, "
                    f"but there are only {len(pieces)} pieces{among}, and `drop_last` is "
                    "True. Use a smaller `batch_size` or `drop_last=False`."
                )

    def __len__(self) -> int:
        """The number of batches in an epoch: the mean over the epochs of all stages,
        rounded up, since cutting makes more of them. Of one epoch see `num_batches`."""
        if not self.stages:
            return self.num_batches(0)
        epochs = [n for n, _ in self.stages]
        counts = [self._count(limit) for _, limit in self.stages]
        return -(-sum(n * x for n, x in zip(epochs, counts)) // sum(epochs))

    def limit(self, number: int) -> int | None:
        """The number of frames that utterances are cut to in an epoch, counted from 0;
        `None` where they are whole."""
        limit = None
        for epochs, limit in self.stages:
            number -= epochs
            if number < 0:
                break
        return limit

    def num_batches(self, number: int) -> int:
        """The number of batches in an epoch, counted from 0."""
        return self._count(self.limit(number))

    @property
    def shapes(self) -> dict[int | None, tuple[int, ...]]:
        """The widths of batches, ascending, for each number of frames that utterances are
        cut to. All batches have `batch_size` pieces, but for a last, smaller one."""
        return {limit: pieces.widths for limit, pieces in self._pieces.items()}

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of one epoch.

        **Arguments:**

        - `number`: which epoch, from 0.

        **Returns:** an iterator of dictionaries of

        - `"frames"`: float32 `[batch_size, width, features]`, zero on padding.
        - `"label"`: int32 `[batch_size, width]`, -1 on padding.
        - `"valid"`: bool `[batch_size, width]`, false on padding, which comes last.
        - `"utterance"`: int64 `[batch_size]`, which one a piece is of.

        **Raises:** `ValueError` if `number` is negative.
        """
        if number < 0:
            raise ValueError(f"`number` of an epoch must be at least 0, got {number}.")
        pieces = self._pieces[self.limit(number)]
        rng = None if self.seed is None else np.random.default_rng([self.seed, number])
        chosen = _together(pieces, self.batch_size, rng)
        if self.drop_last and len(chosen[-1][0]) < self.batch_size:
            chosen.pop()
        if rng is not None:
            chosen = [chosen[k] for k in rng.permutation(len(chosen))]
        make = lambda k: _batch(self.utterances, pieces, *chosen[k])
        return prefetched(make, len(chosen), self.prefetch)

    @ft.cached_property
    def _pieces(self) -> dict[int | None, Pieces]:
        limits = dict.fromkeys(frames for _, frames in self.stages) or {None: None}
        return {limit: cut(self.utterances.lengths, limit) for limit in limits}

    def _count(self, limit: int | None) -> int:
        return self._pieces[limit].num_batches(self.batch_size, self.drop_last)


def padded_utterance_batches(
    utterances: Utterances, batch_size: int, *, limit: int | None = None
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Every piece once, the narrowest first, in batches of few shapes: for evaluation by a
    jitted function.

    The last batch of each width is filled up with copies of its last piece. The mask tells
    which are real: leave the others out of every sum and mean.

    **Arguments:**

    - `utterances`: the set.
    - `batch_size`: pieces per batch, at least 1.
    - `limit`: the number of frames that utterances are cut to, as in `UtteranceBatches`,
        at least 4. By default they are whole, in one of four widths.

    **Returns:** an iterator of pairs: a dictionary as that of `UtteranceBatches.epoch`, and
    a bool array of shape `(batch_size,)`, true for real pieces.

    **Raises:** `ValueError` for a `batch_size` below 1 or a `limit` below 4.
    """
    check_batch_size(batch_size)
    if limit is not None and limit < 4:
        raise ValueError(f"`limit` must be at least 4 frames, or None, got {limit}.")
    pieces, places = cut(utterances.lengths, limit), np.arange(batch_size)
    all_chosen = (
        (members[start : start + batch_size], width)
        for bucket, width in enumerate(pieces.widths)
        for members in [np.flatnonzero(pieces.bucket == bucket)]
        for start in range(0, len(members), batch_size)
    )
    return (
        (
            _batch(
                utterances, pieces, chosen[np.minimum(places, len(chosen) - 1)], width
            ),
            places < len(chosen),
        )
        for chosen, width in all_chosen
    )


def _together(
    pieces: Pieces, size: int, rng: np.random.Generator | None
) -> list[tuple[np.ndarray, int]]:
    """Places of pieces that make a batch, and the width of it. Only the last batch may have
    fewer pieces than `size`."""
    out, left = [], np.empty(0, np.int64)
    for bucket, width in enumerate(pieces.widths):
        members = np.flatnonzero(pieces.bucket == bucket)
        if rng is not None:
            rng.shuffle(members)
        members = np.concatenate([left, members])
        full = len(members) // size * size
        out += [(members[k : k + size], width) for k in range(0, full, size)]
        left = members[full:]
    return [*out, (left, pieces.widths[-1])] if len(left) else out


def _batch(
    utterances: Utterances, pieces: Pieces, chosen: np.ndarray, width: int
) -> dict[str, np.ndarray]:
    shape = (len(chosen), width)
    frames = np.zeros((*shape, utterances.features), np.float32)
    label = np.full(shape, -1, np.int32)
    length = pieces.stop[chosen] - pieces.start[chosen]
    first = utterances.offsets[pieces.utterance[chosen]] + pieces.start[chosen]
    for row, (begin, size) in enumerate(zip(first, length)):
        frames[row, :size] = utterances.frames[begin : begin + size]
        label[row, :size] = utterances.label[begin : begin + size]
    return {
        "frames": frames,
        "label": label,
        "valid": np.arange(width)[None] < length[:, None],
        "utterance": pieces.utterance[chosen],
    }
