"""Cutting utterances into pieces of a bounded length, and lengths to pad them to."""

import dataclasses

import numpy as np


# Widths of batches are multiples of this part of the limit, and a piece that is longer by
# no more than this part is kept whole.
_PART = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """Parts of utterances, each in the narrowest batch that it fits into.

    - `utterance`, `start`, `stop`: int64 of shape `(pieces,)`: which one it is of, and its
        first frame in it, and the one after its last.
    - `bucket`: of the same shape, a place in `widths`.
    - `widths`: the lengths that batches are padded to, ascending. Each has at least one
        piece.
    """

    utterance: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    bucket: np.ndarray
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.utterance)

    def num_batches(self, size: int, drop_last: bool) -> int:
        """How many batches of this size there are, where what a bucket leaves over goes to
        the next."""
        full, rest = divmod(len(self), size)
        return full if drop_last or rest == 0 else full + 1


def cut(lengths: np.ndarray, limit: int | None) -> Pieces:
    """Utterances of these lengths in pieces of `limit` frames, the last of which has from
    a quarter of it to five quarters; whole ones for `None`.

    Widths are the quarters of the limit up to five of them, without a limit the quarters of
    the longest utterance, rounded up.
    """
    if limit is None:
        count = np.ones(len(lengths), int)
        step, most = int(lengths.max()), _PART
    else:
        longest = limit + limit // _PART
        count = 1 + np.maximum(-((longest - lengths) // limit), 0)
        step, most = limit, _PART + 1
    utterance = np.repeat(np.arange(len(lengths)), count)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    number = np.arange(len(utterance)) - np.repeat(first, count)
    last = number == np.repeat(count, count) - 1
    start = number * step
    stop = np.where(last, lengths[utterance], start + step)
    widths = np.array([-(-k * step // _PART) for k in range(1, most + 1)])
    used, bucket = np.unique(np.searchsorted(widths, stop - start), return_inverse=True)
    return Pieces(utterance, start, stop, bucket, tuple(int(x) for x in widths[used]))
