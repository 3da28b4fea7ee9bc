"""Batches of arrays in memory: shuffled for training, padded for evaluation."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ._picture_augment import PictureAugmentation


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Batches for training, in an order that depends on seed and epoch alone.

    Any epoch can be had at any time: a run that resumes in epoch 7 sees what it would
    have seen. (The order may change with a new version of NumPy.)

    ```python
    train = ej.data.Batches(ej.data.yin_yang(5000, 42), 150, seed=0, drop_last=True)
    for epoch in range(3):
        for batch in train.epoch(epoch):
            batch["features"]              # of shape (150, 4), 33 times
    ```

    **Arguments:**

    - `arrays`: arrays by name, all of the same length along their first axis, the
        example.
    - `batch_size`: examples per batch, at least 1.
    - `seed`: an integer of at least 0 for a new order each epoch, or `None` for the
        arrays' own order.
    - `augment`: for arrays by name one after the other what changes them, such as
        `{"image": (RandomCrop(4), FlipLeftRight())}`: functions of a batch's array and
        of a random generator, drawn anew for each batch of each epoch.
    - `drop_last`: what becomes of the examples left over when `batch_size` does not
        divide their number. `True`: they are left out of this epoch, and all batches
        have one shape, so that a jitted step compiles once. `False`: they come as a
        last, smaller batch. (For evaluation, `padded_batches` does neither.)

    **Raises:** `ValueError` for no arrays, arrays of different or zero length, a
    `batch_size` below 1 or (with `drop_last`) above the number of examples, a negative
    `seed`, or `augment` without a `seed` or of an array that does not exist.
    """

    arrays: Mapping[str, np.ndarray]
    batch_size: int
    _: dataclasses.KW_ONLY
    seed: int | None
    drop_last: bool
    augment: Mapping[str, Sequence[PictureAugmentation]] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self):
        size = _common_length(self.arrays)
        check_batch_size(self.batch_size)
        if self.drop_last and self.batch_size > size:
            raise ValueError(
                f"There would be no batch at all: `batch_size` is {self.batch_size}, "
                f"but there are only {size} examples, and `drop_last` is True. Use a "
                "smaller `batch_size` or `drop_last=False`."
            )
        if self.seed is not None and self.seed < 0:
            raise ValueError(
                f"`seed` must be at least 0, or None not to shuffle, got {self.seed}."
            )
        unknown = [name for name in self.augment if name not in self.arrays]
        if unknown:
            raise ValueError(
                f"`augment` names {unknown}, but there are only {list(self.arrays)}."
            )
        if self.augment and self.seed is None:
            raise ValueError(
                "`augment` draws at random, so it needs a `seed`, got None."
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(_common_length(self.arrays), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of one epoch.

        **Arguments:**

        - `number`: which epoch, from 0.

        **Returns:** an iterator of dictionaries like `arrays`, of copies, with a first
        axis of `batch_size`.

        **Raises:** `ValueError` if `number` is negative.
        """
        if number < 0:
            raise ValueError(f"`number` of an epoch must be at least 0, got {number}.")
        order = np.arange(_common_length(self.arrays))
        if self.seed is not None:
            np.random.default_rng([self.seed, number]).shuffle(order)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return (
            self._augmented(
                _take(self.arrays, order[start : start + self.batch_size]),
                number,
                start,
            )
            for start in starts
        )

    def _augmented(
        self, batch: dict[str, np.ndarray], epoch: int, start: int
    ) -> dict[str, np.ndarray]:
        """Whatever order batches are asked for, each has its own random numbers."""
        for name, changes in self.augment.items():
            rng = np.random.default_rng([self.seed, epoch, start])
            for change in changes:
                batch[name] = change(batch[name], rng)
        return batch


def padded_batches(
    arrays: Mapping[str, np.ndarray], batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Every example once, in order, in batches of one shape: for evaluation by a jitted
    function.

    The last batch is filled up with copies of the last example. The mask tells which
    examples are real: leave the others out of every sum and mean.

    ```python
    correct = 0
    for batch, is_real in ej.data.padded_batches(test, 256):
        correct += (predict(batch["image"]) == batch["label"])[is_real].sum()
    ```

    **Arguments:**

    - `arrays`: arrays by name, all of the same length along their first axis, the
        example.
    - `batch_size`: examples per batch, at least 1.

    **Returns:** an iterator of pairs: a dictionary like `arrays`, of copies, with a
    first axis of `batch_size`; and a bool array of shape `(batch_size,)`, true for real
    examples.

    **Raises:** `ValueError` for no arrays, arrays of different or zero length, or a
    `batch_size` below 1.
    """
    size = _common_length(arrays)
    check_batch_size(batch_size)
    all_indices = (
        np.arange(start, start + batch_size) for start in range(0, size, batch_size)
    )
    return (
        (_take(arrays, np.minimum(indices, size - 1)), indices < size)
        for indices in all_indices
    )


def _take(
    arrays: Mapping[str, np.ndarray], indices: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: array[indices] for name, array in arrays.items()}


def _common_length(arrays: Mapping[str, np.ndarray]) -> int:
    if not arrays:
        raise ValueError("`arrays` must hold at least one array, got none.")
    scalars = [name for name, array in arrays.items() if array.ndim == 0]
    if scalars:
        raise ValueError(
            "Each of `arrays` needs a first axis, the example, but these have no axis: "
            f"{', '.join(scalars)}."
        )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "All of `arrays` must have the same length along their first axis, got "
            f"{lengths}."
        )
    size = next(iter(lengths.values()))
    if size == 0:
        raise ValueError("`arrays` must hold at least one example, got none.")
    return size


def check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
