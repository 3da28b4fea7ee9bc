"""Changes of single recordings, drawn anew each epoch, that leave their class as it is.

Each is called with the times (float32, ms, ascending) and units of one example, a random
generator and the number of units, and returns times and units of the changed example in
the same form.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np


Events = tuple[np.ndarray, np.ndarray]


@runtime_checkable
class Augmentation(Protocol):
    """What `EventBatches` takes for an augmentation: any function of this form."""

    def __call__(
        self,
        times: np.ndarray,
        units: np.ndarray,
        rng: np.random.Generator,
        num_units: int,
    ) -> Events: ...


@dataclasses.dataclass(frozen=True)
class ShiftChannels:
    """All events of an example move by the same number of channels, up or down: a voice
    that is higher or lower. Events that leave the channels are dropped.

    The shift is a number drawn uniformly from (-`largest`, `largest`) and cut to a whole
    number towards 0, so that 0 is twice as likely as any other. Nowotny, Turner and
    Knight: `ShiftChannels(40)`.

    **Arguments:**

    - `largest`: in channels, at least 0.
    """

    largest: int

    def __post_init__(self):
        _check_at_least_zero(largest=self.largest)

    def __call__(self, times, units, rng, num_units) -> Events:
        """A changed example. `times` in ms."""
        shift = int(rng.uniform(-self.largest, self.largest))
        return move(times, units, int(_within(shift, num_units)), num_units)


@dataclasses.dataclass(frozen=True)
class DilateTime:
    r"""All times of an example are multiplied by the same factor: slower or faster speech.

    The factor's logarithm is drawn uniformly: $\exp(U(\ln a, \ln b))$. Nowotny, Turner
    and Knight tried this and left it out.

    **Arguments:**

    - `smallest`, `largest`: $a$ and $b$, without unit, $0 < a \le b$.
    """

    smallest: float
    largest: float

    def __post_init__(self):
        if not 0 < self.smallest <= self.largest < np.inf:
            raise ValueError(
                "Factors must be positive and ascend, got "
                f"{self.smallest} and {self.largest}."
            )

    def __call__(self, times, units, rng, num_units) -> Events:
        """A changed example. `times` in ms."""
        factor = np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest)))
        return times * np.float32(factor), units


@dataclasses.dataclass(frozen=True)
class JitterChannels:
    """Each event moves by a number of channels of its own, normally distributed and
    rounded to the nearest whole number. Events that leave the channels are dropped.

    Nowotny, Turner and Knight tried this and left it out; how they rounded is
    UNCONFIRMED.

    **Arguments:**

    - `std`: standard deviation in channels, at least 0.
    """

    std: float

    def __post_init__(self):
        _check_at_least_zero(std=self.std)

    def __call__(self, times, units, rng, num_units) -> Events:
        """A changed example. `times` in ms."""
        moves = np.rint(rng.normal(0.0, self.std, len(units)))
        return move(times, units, _within(moves, num_units), num_units)


@dataclasses.dataclass(frozen=True)
class DropEvents:
    """Each event is left out with the same probability, one by one.

    Nowotny, Turner and Knight tried this with 0.1 and left it out.

    **Arguments:**

    - `probability`: from 0 to 1.
    """

    probability: float

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(
                f"`probability` must be from 0 to 1, got {self.probability}."
            )

    def __call__(self, times, units, rng, num_units) -> Events:
        """A changed example. `times` in ms."""
        return pick(rng.random(len(times)) >= self.probability, times, units)


def move(
    times: np.ndarray, units: np.ndarray, by: int | np.ndarray, num_units: int
) -> Events:
    """Events whose unit plus `by` is one of the units, with that."""
    moved = units.astype(np.int32) + by
    times, moved = pick((moved >= 0) & (moved < num_units), times, moved)
    return times, moved.astype(np.uint16)


def _within(moves: int | np.ndarray, num_units: int) -> np.ndarray:
    """As 32 bits hold it: who goes further than that leaves the channels all the same."""
    return np.asarray(np.clip(moves, -num_units, num_units)).astype(np.int32)


def pick(mask: np.ndarray, times: np.ndarray, units: np.ndarray) -> Events:
    """Events that a mask leaves: several times as fast as by indexing with it."""
    places = np.flatnonzero(mask)
    return times[places], units[places]


def _check_at_least_zero(**values: float | int) -> None:
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"`{name}` must be finite and at least 0, got {value}.")
