"""The examples of one epoch, augmented, each made when it is asked for."""

from collections.abc import Sequence

import numpy as np

from ._augment import Augmentation, Events
from ._blend import Blend, Pairs
from ._event_set import counts_before, EventSet


class EventEpoch:
    """What a set becomes if each of its examples is cropped at `t1` and all are augmented
    step by step, as one set: a later step sees what an earlier one made of an example,
    and sees the same whenever it looks at it.

    Random numbers of an example depend on the seed, the epoch, the step and the
    example's place in the set, not on the order in which examples are made.
    """

    def __init__(
        self,
        events: EventSet,
        t1: float,
        augment: Sequence[Augmentation | Blend],
        seed: int | None,
        number: int,
    ):
        self._events, self._augment = events, augment
        self._t1 = np.float32(t1)
        self._key = (seed, number)
        self.label = events.label
        self._pairs: dict[int, Pairs] = {}
        self._sizes = [len(events)]
        for step, change in enumerate(augment):
            if isinstance(change, Blend):
                pairs = change.pairs(self.label, self._rng(step))
                self._pairs[step] = pairs
                self.label = np.concatenate([self.label, pairs.label])
            self._sizes.append(len(self.label))

    def example(self, i: int) -> Events:
        """Times in ms and units of example `i`, which is of the class `label[i]`."""
        return self._after(len(self._augment), i)

    @property
    def sizes(self) -> np.ndarray:
        """About how many events each example has: of a blend as many as it keeps on
        average, and without what other augmentations add and drop."""
        sizes = counts_before(self._events, float(self._t1))
        for step, change in enumerate(self._augment):
            if isinstance(change, Blend):
                pairs, (keep, keep_second) = self._pairs[step], change.keep
                blends = keep * sizes[pairs.first] + keep_second * sizes[pairs.second]
                sizes = np.concatenate([sizes, blends])
        return sizes

    def _after(self, steps: int, i: int) -> Events:
        """An example as it is after some steps."""
        if steps == 0:
            return self._crop(self._events[i])
        step, change = steps - 1, self._augment[steps - 1]
        if not isinstance(change, Blend):
            times, units = self._after(step, i)
        elif i < self._sizes[step]:
            return self._after(step, i)
        else:
            pairs, added = self._pairs[step], i - self._sizes[step]
            times = self._after(step, int(pairs.first[added]))
            units = self._after(step, int(pairs.second[added]))
        rng = self._rng(step, i)
        return self._crop(change(times, units, rng, self._events.num_units))

    def _crop(self, example: Events) -> Events:
        times, units = example
        stop = np.searchsorted(times, self._t1)
        return times[:stop], units[:stop]

    def _rng(self, *place: int) -> np.random.Generator:
        seed, number = self._key
        source = np.random.SeedSequence(seed, spawn_key=(number, *place))
        return np.random.default_rng(source)


def pack(
    examples: Sequence[Events], indices: np.ndarray, capacity: int
) -> dict[str, np.ndarray]:
    """Examples of one number of places each: `times` float32 of shape
    `(examples, capacity)`, in ms, +inf where there is no event, and `sources` int32, 0
    there.

    **Raises:** `ValueError` for an example that has more events; `indices` are for its
    message.
    """
    shape = (len(examples), capacity)
    batch = {
        "times": np.full(shape, np.inf, np.float32),
        "sources": np.zeros(shape, np.int32),
    }
    for row, (times, units) in enumerate(examples):
        if len(times) > capacity:
            raise ValueError(
                f"Example {indices[row]} has {len(times)} events, but `capacity` is "
                f"{capacity}: give a larger `capacity`."
            )
        batch["times"][row, : len(times)] = times
        batch["sources"][row, : len(times)] = units
    return batch
