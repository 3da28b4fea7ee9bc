"""Which of two groups of runs does better, beside what a paper claims."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.stats

from ._row import Record


@dataclasses.dataclass(frozen=True)
class Ordering:
    """That one group, `row/group`, does better than another; `claim` is whose."""

    better: str
    worse: str
    claim: str


def stored(results: Path, path: str) -> dict[str, Record]:
    """Records of a group, `row/group`, by seed, in a paper's folder of results."""
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((results / path).glob("seed*.json"))
    }


def differences(orderings: Sequence[Ordering], results: Path, metric: str) -> list[str]:
    """Lines of a table of paired differences over the seeds that both groups have, of a
    metric in points; none if nothing is stored."""
    rows = []
    for x in orderings:
        one, two = (
            {
                seed: run["metrics"][metric]
                for seed, run in stored(results, path).items()
            }
            for path in (x.better, x.worse)
        )
        found = np.array([one[seed] - two[seed] for seed in one if seed in two])
        if len(found) == 0:
            continue
        text = f"{found.mean():+.2f}"
        if len(found) > 1:
            quantile = scipy.stats.t.ppf(0.975, len(found) - 1)
            half = quantile * found.std(ddof=1) / len(found) ** 0.5
            text += f" ({found.mean() - half:+.2f} to {found.mean() + half:+.2f})"
        rows.append(f"| {x.better} - {x.worse} | {text} | {len(found)} | {x.claim} |")
    if not rows:
        return []
    return [
        "",
        f"Differences in points of {metric}, paired by seed, with 95 % intervals of "
        "Student's t, and what is claimed:",
        "",
        "| difference | points | seeds | claim |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def mean_of(
    tests: Sequence[Mapping[str, float]], key: str, factor: float = 100, digits: int = 2
) -> str:
    """Mean and standard deviation over runs, in per cent by default."""
    values = factor * np.array([test[key] for test in tests])
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
