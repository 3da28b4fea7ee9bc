"""Batches of sets of events: shuffled and augmented for training, padded for
evaluation."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ._augment import Augmentation
from ._batches import check_batch_size
from ._blend import Blend
from ._event_epoch import EventEpoch, pack
from ._event_set import check_positive, counts_before, EventSet
from ._prefetch import prefetched


# Capacities are multiples of this: sets that differ little share compiled programs.
_ROUND_TO = 32


@dataclasses.dataclass(frozen=True, eq=False)
class EventBatches:
    """Batches of events for training, in an order and with augmentations that depend on
    seed and epoch alone.

    Any epoch can be had at any time: a run that resumes in epoch 7 sees what it would
    have seen. (It may change with a new version of NumPy.) The next batches are made by a
    thread while the device works on one.

    ```python
    train = ej.data.EventBatches(
        events, 32, t1=1000.0, seed=0, drop_last=True,
        augment=(ej.data.ShiftChannels(40), ej.data.Blend((0.5, 0.5))),
    )
    for batch in train.epoch(0):
        spikes = ej.Spikes(batch["times"], batch["sources"])      # [32, train.capacity]
    ```

    **Arguments:**

    - `events`: the set.
    - `batch_size`: examples per batch, at least 1.
    - `t1`: events from here on are left out, in ms. They are before the first
        augmentation, and once more after each.
    - `seed`: an integer of at least 0 for a new order each epoch, or `None` for the set's
        own order, which cannot be had with augmentations.
    - `drop_last`: whether the examples left over when `batch_size` does not divide their
        number are left out of this epoch (`True`) or come as a last, smaller batch.
    - `capacity`: places for events per example. By default as many as are needed by the
        largest example, and by a `Blend` with a probability of 1 - 1e-12 per example,
        rounded up to a multiple of 32. The number that is used can be had by this name.
    - `augment`: `Augmentation`s and `Blend`s in the order in which they are done. Nowotny,
        Turner and Knight: `(ShiftChannels(40), Blend((0.5, 0.5)))`.
    - `like_size`: so many batches in a row are made of like examples: theirs are sorted by
        the number of events, cut into batches, and the batches shuffled. A batch takes as
        long as its largest example, so recordings of different lengths are trained on in
        less time; 1 is for batches drawn at random. Needs a `seed`.
    - `prefetch`: how many batches are made before they are asked for; 0 for no thread.

    **Raises:** `ValueError` for a set without examples, a `batch_size` below 1 or (with
    `drop_last`) above the number of examples, a `t1` that is not positive, a negative
    `seed` or `prefetch`, a `like_size` below 1, augmentations or a `like_size` above 1
    without a `seed`, or a `capacity` that is too small for an example as it is. An
    example that does not fit after augmentation is a `ValueError` when its batch is asked
    for: no event is ever cut off.
    """

    events: EventSet
    batch_size: int
    _: dataclasses.KW_ONLY
    t1: float
    seed: int | None
    drop_last: bool
    capacity: int | None = None
    augment: Sequence[Augmentation | Blend] = ()
    like_size: int = 1
    prefetch: int = 2

    def __post_init__(self):
        check_batch_size(self.batch_size)
        check_positive(t1=self.t1)
        _check_seed(self.seed, self.augment)
        _check_like_size(self.like_size, self.seed)
        if self.prefetch < 0:
            raise ValueError(f"`prefetch` must be at least 0, got {self.prefetch}.")
        capacity = _capacity(self.events, self.t1, self.capacity, self.augment)
        object.__setattr__(self, "capacity", capacity)
        size = self.num_examples
        if self.drop_last and self.batch_size > size:
            raise ValueError(
                f"There would be no batch at all: `batch_size` is {self.batch_size}, "
                f"but there are only {size} examples, and `drop_last` is "
                "True. Use a smaller `batch_size` or `drop_last=False`."
            )

    @property
    def num_examples(self) -> int:
        """How many examples an epoch has before any is left out, blends included."""
        size = len(self.events)
        for change in self.augment:
            size = change.size(size) if isinstance(change, Blend) else size
        return size

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(self.num_examples, self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of one epoch.

        **Arguments:**

        - `number`: which epoch, from 0.

        **Returns:** an iterator of dictionaries of

        - `"times"`: float32 of shape `(batch_size, capacity)`, in ms, ascending, +inf
            where there is no event.
        - `"sources"`: int32 of the same shape, the unit, 0 where there is no event.
        - `"label"`: int32 of shape `(batch_size,)`.

        **Raises:** `ValueError` if `number` is negative; while iterating, if an example
        does not fit.
        """
        if number < 0:
            raise ValueError(f"`number` of an epoch must be at least 0, got {number}.")
        epoch = EventEpoch(self.events, self.t1, self.augment, self.seed, number)
        order = np.arange(self.num_examples)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, number])
            rng.shuffle(order)
            if self.like_size > 1:
                order = self._by_size(order, epoch.sizes, rng)

        def make(k: int) -> dict[str, np.ndarray]:
            chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
            return _batch(epoch, chosen, self.capacity)

        return prefetched(make, len(self), self.prefetch)

    def _by_size(
        self, order: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The order with like examples together; a last, smaller batch is as it is."""
        full = len(order) // self.batch_size * self.batch_size
        parts = []
        for start in range(0, full, self.batch_size * self.like_size):
            group = order[start : min(start + self.batch_size * self.like_size, full)]
            group = group[np.argsort(sizes[group], kind="stable")]
            parts += [rng.permutation(group.reshape(-1, self.batch_size)).reshape(-1)]
        return np.concatenate([*parts, order[full:]])


def padded_event_batches(
    events: EventSet, batch_size: int, t1: float, capacity: int | None = None
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Every example once, in order, in batches of one shape: for evaluation by a jitted
    function.

    The last batch is filled up with copies of the last example. The mask tells which
    examples are real: leave the others out of every sum and mean.

    **Arguments:**

    - `events`, `batch_size`, `t1`, `capacity`: as for `EventBatches`.

    **Returns:** an iterator of pairs: a dictionary as from `EventBatches`, and a bool array
    of shape `(batch_size,)`, true for real examples.

    **Raises:** `ValueError` as for `EventBatches`.
    """
    check_batch_size(batch_size)
    check_positive(t1=t1)
    capacity = _capacity(events, t1, capacity, ())
    epoch = EventEpoch(events, t1, (), None, 0)
    size = len(events)
    all_indices = (
        np.arange(start, start + batch_size) for start in range(0, size, batch_size)
    )
    return (
        (_batch(epoch, np.minimum(indices, size - 1), capacity), indices < size)
        for indices in all_indices
    )


def _batch(
    epoch: EventEpoch, indices: np.ndarray, capacity: int
) -> dict[str, np.ndarray]:
    batch = pack([epoch.example(int(i)) for i in indices], indices, capacity)
    return {**batch, "label": epoch.label[indices].astype(np.int32)}


def _capacity(
    events: EventSet, t1: float, capacity: int | None, augment: Sequence
) -> int:
    if len(events) == 0:
        raise ValueError("`events` must hold at least one example, got none.")
    counts = counts_before(events, t1)
    largest = int(counts.max())
    if capacity is not None:
        if capacity < max(largest, 1):
            raise ValueError(
                f"`capacity` must be at least {max(largest, 1)}, the most events of an "
                f"example before {t1} ms (example {np.argmax(counts)}), got {capacity}."
            )
        return capacity
    for change in augment:
        largest = change.most(largest) if isinstance(change, Blend) else largest
    return -(-max(largest, 1) // _ROUND_TO) * _ROUND_TO


def _check_like_size(like_size: int, seed: int | None) -> None:
    if like_size < 1:
        raise ValueError(
            "`like_size` must be at least 1, the batches that are made of like examples, "
            f"got {like_size}."
        )
    if like_size > 1 and seed is None:
        raise ValueError(
            f"`like_size={like_size}` puts examples into another order and needs a `seed`, "
            "an integer of at least 0, got None."
        )


def _check_seed(seed: int | None, augment: Sequence) -> None:
    if seed is None and augment:
        raise ValueError(
            "Augmentations are drawn at random and need a `seed`, an integer of at least "
            "0, got None."
        )
    if seed is not None and seed < 0:
        raise ValueError(
            f"`seed` must be at least 0, or None not to shuffle, got {seed}."
        )
