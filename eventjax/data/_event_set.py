"""Sets of recordings made of events, such as spoken words as spikes of an ear."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._event_checks import are_right, check_events, check_structure, TYPES
from ._event_store import damaged_store, mapped_from, read_store, write_store
from ._folder import PathLike


# With 2**16 units these have numbers of 64 bits.
_MOST_BINS = 1 << 40


@dataclasses.dataclass(frozen=True, eq=False)
class EventSet:
    """Examples of unequal numbers of events, in flat arrays: example `i` has the events
    from `offsets[i]` up to, not including, `offsets[i + 1]`.

    The arrays may be memory-mapped; they are seen as read-only.

    ```python
    train = ej.data.load_events("shd", data_dir="~/data")
    times, units = train[0]                 # of the first example
    rest, held_out = train.leave_one_out(train.speakers[0])
    ```

    **Arguments:**

    - `times`: float32 of shape `(events,)`: when, in ms, ascending within an example. Of
        events at the same time, the order is kept by all that is done here.
    - `units`: uint16 of shape `(events,)`: which input channel.
    - `offsets`: int64 of shape `(examples + 1,)`, from 0 to the number of events.
    - `label`: int64 of shape `(examples,)`, from 0 to `num_classes - 1`.
    - `speaker`: int64 of shape `(examples,)`: who or what was recorded, -1 if unknown.
    - `num_units`: the number of input channels.
    - `num_classes`: the number of classes.
    - `label_names`: a name for each class, if known.
    - `check`: whether to look at each event. `False` is for events that are known to be
        right, where looking would cost reading all of a large file.

    **Raises:** `ValueError` for arrays of another type or of lengths that do not agree,
    offsets, labels, speakers or units out of range, and times that are not finite,
    negative or not sorted.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    label: np.ndarray
    speaker: np.ndarray
    _: dataclasses.KW_ONLY
    num_units: int
    num_classes: int
    label_names: tuple[str, ...] | None = None
    check: dataclasses.InitVar[bool] = True

    def __post_init__(self, check):
        for name in TYPES:
            # A plain view, because slices of a memory map cost several times as much.
            view = np.asarray(getattr(self, name)).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        check_structure(self)
        if check:
            check_events(self.times, self.units, self.offsets, self.num_units)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.label)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Times in ms and units of one example, each of shape `(events,)`.

        **Raises:** `RuntimeError` if the set is mapped from a folder that is damaged, so
        that events cannot be what they are there.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index} among {len(self)}.")
        here = slice(self.offsets[index], self.offsets[index + 1])
        times, units = self.times[here], self.units[here]
        if not are_right(times, units, self.num_units):
            self._refuse(index, times, units)
        return times, units

    @property
    def counts(self) -> np.ndarray:
        """How many events each example has: int64 of shape `(examples,)`."""
        return np.diff(self.offsets)

    @property
    def durations(self) -> np.ndarray:
        """When the last event of each example is, in ms, 0 if it has none: float32 of
        shape `(examples,)`."""
        out = np.zeros(len(self), np.float32)
        there = self.counts > 0
        out[there] = self.times[self.offsets[1:][there] - 1]
        return out

    @property
    def speakers(self) -> list[int]:
        """All speakers, ascending, without -1, which stands for unknown."""
        return [int(x) for x in np.unique(self.speaker) if x >= 0]

    @property
    def class_counts(self) -> np.ndarray:
        """How many examples each class has: int64 of shape `(num_classes,)`."""
        return np.bincount(self.label, minlength=self.num_classes)

    def select(self, which: np.ndarray | Sequence[int] | slice) -> "EventSet":
        """Some of the examples.

        **Arguments:**

        - `which`: indices, in any order; or a bool array of shape `(examples,)`; or a
            slice.

        **Returns:** an `EventSet`. It shares memory with this one if the examples are
        neighbours in their order here.

        **Raises:** `ValueError` for a mask of another length, or indices that there are
        not.
        """
        indices = _indices(which, len(self))
        starts, stops = _runs(indices)
        offsets = np.concatenate([[0], np.cumsum(self.counts[indices])])
        places = [slice(*self.offsets[[a, b]]) for a, b in zip(starts, stops)]
        return self._with(
            _gather(self.times, places),
            _gather(self.units, places),
            offsets,
            label=self.label[indices],
            speaker=self.speaker[indices],
        )

    def crop(self, t1: float) -> "EventSet":
        """Only the events before `t1`, in ms.

        **Raises:** `ValueError` unless `t1` is positive.
        """
        check_positive(t1=t1)
        counts = counts_before(self, t1)
        if np.array_equal(counts, self.counts):
            return self
        starts = self.offsets[:-1]
        places = [slice(a, a + n) for a, n in zip(starts, counts)]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return self._with(
            _gather(self.times, places), _gather(self.units, places), offsets
        )

    def binned(self, dt: float) -> "EventSet":
        r"""At most one event per unit and bin of `dt` ms, at the bin's left edge.

        A bin reaches from $k \, dt$ up to, not including, $(k + 1) \, dt$, where edges
        are rounded as times are. Events of a bin are sorted by unit. Cropped at `t1`
        before, this is the input of Nowotny, Turner and Knight, with `dt` of 1 or 2 ms.

        **Raises:** `ValueError` unless `dt` is positive, and for 2**40 bins or more.
        """
        check_positive(dt=dt)
        if len(self.times) and self.durations.max() / dt > _MOST_BINS:
            raise ValueError(
                f"Events reach to {self.durations.max()} ms, more than {_MOST_BINS} bins "
                f"of `dt`, {dt} ms: crop the set, or give a larger `dt`."
            )
        parts, bins = [], []
        for times, units in self:
            k = _bins(times, dt)
            found = np.unique(k * self.num_units + units)
            k, unit = np.divmod(found, self.num_units)
            bins.append(_edges(k, dt))
            parts.append(unit.astype(np.uint16))
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in parts], dtype=int)])
        times = np.concatenate([np.empty(0, np.float32), *bins])
        units = np.concatenate([np.empty(0, np.uint16), *parts])
        return self._with(times, units, offsets)

    def leave_one_out(self, speaker: int) -> tuple["EventSet", "EventSet"]:
        """Examples of all other speakers, and examples of `speaker`.

        **Raises:** `ValueError` if there are examples whose speaker is unknown, or none
        of `speaker`, or none of others.
        """
        if len(self) and self.speaker.min() < 0:
            raise ValueError(
                f"The speakers of {int(np.sum(self.speaker < 0))} of {len(self)} examples "
                "are unknown, so none can be left out. Select those that are known."
            )
        if speaker not in self.speakers:
            raise ValueError(
                f"There is no speaker {speaker}: the speakers are {self.speakers}."
            )
        held_out = self.speaker == speaker
        if held_out.all():
            raise ValueError(f"All {len(self)} examples are of speaker {speaker}.")
        return self.select(~held_out), self.select(held_out)

    def save(self, folder: PathLike) -> None:
        """Write the set to a new folder: five `.npy` files and `meta.json`. The folder is
        complete, or it is not there.

        **Raises:** `FileExistsError` if there is such a folder already.
        """
        write_store(folder, [self])

    @classmethod
    def open(cls, folder: PathLike, mmap: bool = True) -> "EventSet":
        """A set that was saved.

        **Arguments:**

        - `folder`: where it is.
        - `mmap`: whether to leave events on disk until they are needed. If so, sizes,
            offsets, labels and speakers are checked now, events when they are asked for.

        **Raises:** `FileNotFoundError` if there is no such folder; `RuntimeError` if it
        is damaged.
        """
        contents = read_store(folder, mmap)
        try:
            return cls(**contents, check=not mmap)
        except ValueError as error:
            raise damaged_store(folder, error) from error

    def _refuse(self, index: int, times: np.ndarray, units: np.ndarray) -> None:
        """Raise an error that names the fault, and the folder if there is one."""
        try:
            check_events(times, units, np.array([0, len(times)]), self.num_units)
        except ValueError as error:
            # `example 0` there is the only one that was looked at.
            reason = str(error).replace("example 0", f"example {index}")
            folder = mapped_from(times)
            if folder is None:
                raise ValueError(reason) from error
            raise damaged_store(folder, reason) from error

    def _with(self, times, units, offsets, **changed) -> "EventSet":
        """The same set with other events, which are known to be right."""
        return dataclasses.replace(
            self, times=times, units=units, offsets=offsets, check=False, **changed
        )


def joined(sets: Sequence[EventSet]) -> EventSet:
    """Sets of the same kind, one after the other, in memory if there are several."""
    if len(sets) == 1:
        return sets[0]
    arrays = {
        name: np.concatenate([getattr(x, name) for x in sets])
        for name in TYPES
        if name != "offsets"
    }
    counts = np.concatenate([x.counts for x in sets])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return dataclasses.replace(sets[0], offsets=offsets, check=False, **arrays)


def counts_before(events: EventSet, t1: float) -> np.ndarray:
    """How many events of each example are before `t1`, in ms. Where all are, only the
    last is looked at."""
    counts, edge = events.counts, np.float32(t1)
    for i in np.flatnonzero(events.durations >= edge):
        counts[i] = np.searchsorted(events[int(i)][0], edge)
    return counts


def check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be positive, in ms, got {value}.")


def _indices(which, size: int) -> np.ndarray:
    if isinstance(which, slice):
        return np.arange(size)[which]
    which = np.asarray(which)
    if which.dtype == bool:
        if which.shape != (size,):
            raise ValueError(
                f"A mask needs one value per example: there are {size}, it has the shape "
                f"{which.shape}."
            )
        return np.flatnonzero(which)
    if which.size == 0:
        return np.empty(0, np.int64)
    if which.ndim != 1 or not np.issubdtype(which.dtype, np.integer):
        raise ValueError(
            "`which` must be a list of indices, a bool array or a slice, got an array of "
            f"{which.dtype} and shape {which.shape}."
        )
    wrong = which[(which < 0) | (which >= size)]
    if wrong.size:
        raise ValueError(
            f"Indices must be from 0 to {size - 1}, got {wrong[0]} ({wrong.size} of "
            f"{which.size} are wrong)."
        )
    return which.astype(np.int64)


def _runs(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First, and last plus one, of each run of neighbours: few slices instead of many."""
    if not indices.size:
        return indices, indices
    cuts = np.flatnonzero(np.diff(indices) != 1)
    starts = indices[np.concatenate([[0], cuts + 1])]
    stops = indices[np.concatenate([cuts, [indices.size - 1]])] + 1
    return starts, stops


def _gather(array: np.ndarray, places: list[slice]) -> np.ndarray:
    if len(places) == 1:
        return array[places[0]]
    return np.concatenate([array[:0], *(array[place] for place in places)])


def _bins(times: np.ndarray, dt: float) -> np.ndarray:
    """The largest k whose edge is not after the time; rounding may be off by one."""
    k = np.floor(times.astype(np.float64) / dt).astype(np.int64)
    k += _edges(k + 1, dt) <= times
    return k - (_edges(k, dt) > times)


def _edges(k: np.ndarray, dt: float) -> np.ndarray:
    return (k * float(dt)).astype(np.float32)
