"""New recordings from pairs of recordings of the same class."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ._augment import Events, move, pick


# How likely a blended example may be to need more places than were reserved for it. It
# would be an error, not a loss.
_OVERFLOW = 1e-12


class Pairs(NamedTuple):
    """The examples to be added to an epoch: which two are blended, and their class. Three
    arrays of int64 of shape `(added,)`."""

    first: np.ndarray
    second: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class Blend:
    """Examples that are blends of two of the same class are added to those that there
    are, until there are `total` in an epoch.

    The class is that of an example drawn at random; two examples of it are drawn, with
    replacement, whoever spoke. Both are moved so that their mean channel and mean time
    become the average of the two, by whole channels and whole `time_step`s, cut towards
    0. Then each event is kept with the probability given for its example, and the rest is
    merged in the order of time. Events that leave the channels or the recording are
    dropped. Nowotny, Turner and Knight: `Blend((0.5, 0.5))`, with half as many epochs.

    **Arguments:**

    - `keep`: the probability to keep an event of the first and of the second example.
    - `total`: examples in an epoch, those that there are included. By default twice as
        many as there are.
    - `time_step`: in ms. The authors' code cuts to whole numbers; that their unit is 1 ms
        is UNCONFIRMED.
    """

    keep: tuple[float, float] = (0.5, 0.5)
    total: int | None = None
    time_step: float = 1.0

    def __post_init__(self):
        if len(self.keep) != 2 or not all(0 <= p <= 1 for p in self.keep):
            raise ValueError(
                f"`keep` must be two probabilities, from 0 to 1, got {self.keep}."
            )
        if self.total is not None and self.total < 1:
            raise ValueError(f"`total` must be at least 1, got {self.total}.")
        if not 0 < self.time_step < np.inf:
            raise ValueError(
                f"`time_step` must be positive, in ms, got {self.time_step}."
            )

    def size(self, size: int) -> int:
        """How many examples there are in an epoch, of a set of `size`.

        **Raises:** `ValueError` if `total` is less than there are.
        """
        if self.total is None:
            return 2 * size
        if self.total < size:
            raise ValueError(
                f"`total` of a Blend must be at least the number of examples that there "
                f"are, {size}, because blends are added to them; got {self.total}."
            )
        return self.total

    def pairs(self, label: np.ndarray, rng: np.random.Generator) -> Pairs:
        """Draw the examples to be added to those of the classes `label`."""
        added = self.size(len(label)) - len(label)
        chosen = label[rng.integers(len(label), size=added)]
        # Examples sorted by class: those of a class are neighbours.
        order = np.argsort(label, kind="stable")
        counts = np.bincount(label)
        start, count = (np.cumsum(counts) - counts)[chosen], counts[chosen]
        first, second = order[start + rng.integers(count, size=(2, added))]
        return Pairs(first, second, chosen)

    def __call__(
        self, first: Events, second: Events, rng: np.random.Generator, num_units: int
    ) -> Events:
        """The blend of two examples, times in ms."""
        merged = []
        by_channels, by_time = self._half_way(first, second)
        for (times, units), sign, p in zip((first, second), (1, -1), self.keep):
            times, units = pick(rng.random(len(times)) < p, times, units)
            times = times + np.float32(sign * by_time)
            merged.append(move(times, units, sign * by_channels, num_units))
        times, units = (np.concatenate(pair) for pair in zip(*merged))
        # Two sorted lists, so that this is a merge; ties keep their order.
        order = np.argsort(times, kind="stable")
        order = order[np.searchsorted(times, np.float32(0), sorter=order) :]
        return times[order], units[order]

    def most(self, largest: int) -> int:
        """The most events that an example of an epoch has, all but surely, if the largest
        of those that there are has `largest`: it may be blended with itself.

        By Hoeffding's bound on the number of events kept.
        """
        mean = sum(self.keep) * largest
        margin = math.sqrt(largest * math.log(1 / _OVERFLOW))
        surely = largest * sum(p > 0 for p in self.keep)
        return max(largest, min(surely, math.ceil(mean + margin)))

    def _half_way(self, first: Events, second: Events) -> tuple[int, float]:
        """How far the first moves, in channels and in ms; the second moves as far back."""
        if not len(first[0]) or not len(second[0]):
            return 0, 0.0
        time, unit = (
            (float(two.mean(dtype=np.float64)) - float(one.mean(dtype=np.float64))) / 2
            for one, two in zip(first, second)
        )
        return int(unit), int(time / self.time_step) * self.time_step
