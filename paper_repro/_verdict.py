"""Whether what we got is what a paper reports."""

import dataclasses
import statistics
from collections.abc import Sequence

from ._targets import Target


RULE = (
    "A figure is **within** if it differs from the paper's by no more than the largest of: "
    "the paper's standard deviation, twice our standard error (standard deviation over the "
    "square root of the number of runs), and the tolerance stated with the target. "
    "Otherwise it is **below** or **above**. Standard deviations are those of a sample."
)


@dataclasses.dataclass(frozen=True)
class Ours:
    """Mean and standard deviation of our runs; of one run there is no deviation."""

    mean: float
    std: float | None
    runs: int


def summary(values: Sequence[float]) -> Ours:
    std = statistics.stdev(values) if len(values) > 1 else None
    return Ours(statistics.fmean(values), std, len(values))


def verdict(target: Target, ours: Ours) -> str:
    """`within`, `below` or `above`, or `no figure` if the paper's is not known."""
    if target.mean is None:
        return "no figure"
    # Rounded, or the last bit would decide where the difference is the limit.
    difference = round(ours.mean - target.mean, 9)
    error = 0.0 if ours.std is None else 2 * ours.std / ours.runs**0.5
    limit = round(max(target.std or 0.0, error, target.tolerance), 9)
    if abs(difference) <= limit:
        return "within"
    return "below" if difference < 0 else "above"
