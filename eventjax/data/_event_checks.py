"""What must hold of a set of events."""

from typing import Any

import numpy as np


TYPES = {
    "times": np.float32,
    "units": np.uint16,
    "offsets": np.int64,
    "label": np.int64,
    "speaker": np.int64,
}
# Looked at together, so that what is looked at needs little memory of its own.
_EVENTS_AT_ONCE = 1 << 22


def check_structure(events: Any) -> None:
    """Types, lengths, offsets, labels and speakers of an `EventSet`: all but its events.

    **Raises:** `ValueError`.
    """
    for name, dtype in TYPES.items():
        array = getattr(events, name)
        if array.dtype != dtype or array.ndim != 1:
            raise ValueError(
                f"`{name}` must be of type {np.dtype(dtype)} and have one axis, got "
                f"{array.dtype} and the shape {array.shape}."
            )
    times, units, offsets = events.times, events.units, events.offsets
    label, speaker = events.label, events.speaker
    if len(times) != len(units):
        raise ValueError(
            f"Each event needs a time and a unit: got {len(times)} `times` and "
            f"{len(units)} `units`."
        )
    if not len(offsets) == len(label) + 1 == len(speaker) + 1:
        raise ValueError(
            "There must be a label and a speaker per example, and one offset more: got "
            f"{len(label)} `label`, {len(speaker)} `speaker`, {len(offsets)} `offsets`."
        )
    if offsets[0] != 0 or offsets[-1] != len(times) or np.any(np.diff(offsets) < 0):
        raise ValueError(
            f"`offsets` must ascend from 0 to the number of events, {len(times)}; they go "
            f"from {offsets[0]} to {offsets[-1]}, with {int(np.sum(np.diff(offsets) < 0))} "
            "steps down."
        )
    _check_meta(events.num_units, events.num_classes, events.label_names)
    _check_range("label", label, 0, events.num_classes - 1)
    _check_range("speaker", speaker, -1, np.iinfo(np.int32).max)


def are_right(times: np.ndarray, units: np.ndarray, num_units: int) -> bool:
    """Whether events can be those of one example: quick, and silent about what is wrong."""
    if len(times) == 0:
        return True
    ascending = not (times[1:] < times[:-1]).any()
    finite = times[0] >= 0 and times[-1] < np.inf and not np.isnan(times).any()
    return bool(ascending and finite and units.max() < num_units)


def check_events(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, num_units: int
) -> None:
    """Every event of an `EventSet`.

    **Raises:** `ValueError` that names the first example with a fault.
    """
    for start in range(0, len(times), _EVENTS_AT_ONCE):
        stop = start + _EVENTS_AT_ONCE
        t = times[start:stop]
        wrong = ~((t >= 0) & (t < np.inf))
        if wrong.any():
            _raise(
                "Times must be finite and at least 0, in ms", t, wrong, start, offsets
            )
        # With the last of the piece before, so that no pair is left out.
        first = max(start - 1, 0)
        t = times[first:stop]
        falls = np.flatnonzero(t[1:] < t[:-1]) + first + 1
        falls = falls[offsets[np.searchsorted(offsets, falls)] != falls]
        if falls.size:
            example = _example_of(int(falls[0]), offsets)
            raise ValueError(
                f"Times must ascend within an example, in ms: example {example} has "
                f"{times[falls[0] - 1]} before {times[falls[0]]}."
            )
        u = units[start:stop]
        wrong = u >= num_units
        if wrong.any():
            _raise(f"Units must be from 0 to {num_units - 1}", u, wrong, start, offsets)


def _check_meta(num_units, num_classes, label_names) -> None:
    if not 1 <= num_units <= 1 << 16:
        raise ValueError(f"`num_units` must be from 1 to 65536, got {num_units}.")
    if num_classes < 1:
        raise ValueError(f"`num_classes` must be at least 1, got {num_classes}.")
    names = () if label_names is None else label_names
    if label_names is not None and not len(names) == len(set(names)) == num_classes:
        raise ValueError(
            f"`label_names` must be {num_classes} different names, one per class, got "
            f"{label_names}."
        )


def _check_range(name: str, values: np.ndarray, low: int, high: int) -> None:
    wrong = np.flatnonzero((values < low) | (values > high))
    if wrong.size:
        raise ValueError(
            f"`{name}` must be from {low} to {high}, got {values[wrong[0]]} for example "
            f"{wrong[0]} ({wrong.size} of {len(values)} are wrong)."
        )


def _raise(what, values, wrong, start, offsets):
    first = int(np.argmax(wrong))
    raise ValueError(
        f"{what}: example {_example_of(start + first, offsets)} has {values[first]}."
    )


def _example_of(event: int, offsets: np.ndarray) -> int:
    return int(np.searchsorted(offsets, event, side="right")) - 1
