"""What the rows of speech have in common: settings, tables and orderings."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from paper_repro._orderings import differences, mean_of, Ordering
from paper_repro._row import for_seeds, Job, Record, Row
from paper_repro._speech_frames import found

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
        return (
            "\n".join(
                [*_table(name, records), *differences(orderings, RESULTS, METRIC)]
            )
            + "\n"
        )

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
        found=found,
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
        cells = [mean_of(tests, key) for key in names]
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
