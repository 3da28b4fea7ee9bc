"""What the rows of speech have in common: settings, tables and orderings."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row

from .._config import Phones
from .._train import METRIC, train


RESULTS = Path(__file__).parents[1] / "results"
SEEDS = 5
# For the small sample, chosen in some ten trials by validation accuracy with seed 0
ALIF = Phones(batch=16, epochs=30, learning_rate=0.005)
LIF = dataclasses.replace(ALIF, neuron="lif")
STDP = dataclasses.replace(ALIF, neuron="stdp_alif")
IZHIKEVICH = dataclasses.replace(
    ALIF, neuron="izhikevich", gain=10.0, learning_rate=0.05
)
# Quantiles 0.975 of Student's t by degrees of freedom (0 stands for none)
_T = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_T_FAR = 1.96


@dataclasses.dataclass(frozen=True)
class Ordering:
    """That one group, `row/group`, does better than another; `claim` is whose."""

    better: str
    worse: str
    claim: str


def speech_row(
    name: str,
    title: str,
    settings: Mapping[str, Phones],
    orderings: Sequence[Ordering] = (),
    *,
    seeds: int = SEEDS,
    smoke: Sequence[str] | None = None,
) -> Row:
    """A row whose groups are networks for phones; those in `smoke` are tried, by default
    the first."""
    tried = list(settings)[:1] if smoke is None else smoke

    def trial(data: Path) -> Sequence[Job]:
        if not (data / "timit").is_dir():
            ej.data.write_example_timit(data)
        return [Job(group, "seed0", _tiny(settings[group])) for group in tried]

    def details(records: Mapping[str, Mapping[str, Record]]) -> str:
        return "\n".join([*_table(name, records), *_orderings(orderings)]) + "\n"

    return Row(
        name=name,
        title=title,
        jobs=lambda count: [
            dataclasses.replace(job, pictures=("confusion.png", "learning_curve.png"))
            if job.replicate == "seed0"
            else job
            for job in for_seeds(settings, count)
        ],
        train=train,
        smoke=trial,
        seeds=seeds,
        needs="TIMIT in <data>/timit, or its sample in <data>/timit_sample_nltk",
        details=details,
    )


def _tiny(config: Phones) -> Phones:
    return dataclasses.replace(
        config, sizes=(4,) * len(config.sizes), epochs=1, batch=4
    )


def _table(name: str, records: Mapping[str, Mapping[str, Record]]) -> list[str]:
    first = next(run for runs in records.values() for run in runs.values())
    sets = {
        run.get("dataset", "?") for runs in records.values() for run in runs.values()
    }
    majority = 100 * first["test"]["majority"]
    out = [
        f"Set: {', '.join(sorted(sets))}. Accuracy in per cent of test data, of the epoch "
        "that was best on validation data, mean and standard deviation over seeds. By "
        "utterance (mean of their shares of right frames), by frame, by frame of the 39 "
        "folded classes, and by phone (log-probabilities summed over its frames); the most "
        f"frequent phone is {majority:.1f} % of frames. Rate: spikes of a neuron per step.",
        "",
        "| group | seeds | by utterance | by frame | by frame, 39 classes | by phone | "
        "rate |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = (
        "utterance_accuracy",
        "frame_accuracy",
        "folded_accuracy",
        "phone_accuracy",
    )
    for group, runs in records.items():
        tests = [run["test"] for run in runs.values()]
        cells = [_mean(tests, key) for key in names]
        rate = np.mean([test["rate"] for test in tests])
        out.append(f"| {group} | {len(tests)} | {' | '.join(cells)} | {rate:.3f} |")
    for group, runs in records.items():
        if "seed0" in runs:
            out += [
                "",
                f"Confusion of phone classes, {group}, seed 0:",
                "",
                f"![confusion, {group}](results/{name}/{group}/seed0-confusion.png)",
            ]
    return out


def _mean(tests: Sequence[Mapping[str, float]], key: str) -> str:
    values = 100 * np.array([test[key] for test in tests])
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def _orderings(orderings: Sequence[Ordering]) -> list[str]:
    """Paired differences over the seeds that both groups have."""
    rows = []
    for x in orderings:
        one, two = _accuracies(x.better), _accuracies(x.worse)
        both = [seed for seed in one if seed in two]
        if not both:
            continue
        found = np.array([one[seed] - two[seed] for seed in both])
        text = f"{found.mean():+.2f}"
        if len(found) > 1:
            factor = _T[len(found) - 1] if len(found) <= len(_T) else _T_FAR
            half = factor * found.std(ddof=1) / len(found) ** 0.5
            text += f" ({found.mean() - half:+.2f} to {found.mean() + half:+.2f})"
        rows.append(f"| {x.better} - {x.worse} | {text} | {len(found)} | {x.claim} |")
    if not rows:
        return []
    return [
        "",
        "Differences in points (by utterance), paired by seed, with 95 % intervals of "
        "Student's t, and what is claimed:",
        "",
        "| difference | points | seeds | claim |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def _accuracies(path: str) -> dict[str, float]:
    """By seed, of what is stored."""
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8"))["metrics"][METRIC]
        for file in sorted((RESULTS / path).glob("seed*.json"))
    }
