"""What the rows have in common: settings for the sample, tables and orderings."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import eventjax as ej
from paper_repro._orderings import differences, mean_of, Ordering
from paper_repro._panels import draw_panels, Panels
from paper_repro._row import for_seeds, Job, Record, Row
from paper_repro._speech_frames import found

from .._config import Settings
from .._train import METRIC, train


RESULTS = Path(__file__).parents[1] / "results"
SEEDS = 5
# For the small sample: there are 80 sentences to train on
# A decay of conventional layers above 1 grows beyond all bounds in so many frames
SPEECH = Settings(
    gain=0.5, batch=16, epochs=30, learning_rate=2e-3, clip=1.0, limit_decay=True
)
KINDS = ("conventional", "v1", "v2", "gru", "lstm")


def trained_row(
    name: str,
    title: str,
    settings: Mapping[str, Settings],
    orderings: Sequence[Ordering],
    *,
    tried: Sequence[str],
    needs: str | None,
    seeds: int = SEEDS,
    panels: Panels | None = None,
) -> Row:
    """A row whose groups are networks that are trained; those in `tried` are tried, and
    `panels` are drawn, see `draw_panels`."""
    picture = f"{name}.png"

    def trial(data: Path) -> Sequence[Job]:
        if needs is not None and not (data / "timit").is_dir():
            ej.data.write_example_timit(data)
        return [Job(group, "seed0", _tiny(settings[group])) for group in tried]

    def details(records: Mapping[str, Mapping[str, Record]]) -> str:
        lines = [*table(records), *differences(orderings, RESULTS, METRIC)]
        if panels is not None:
            lines += ["", f"![a dot for each run]({RESULTS.name}/{name}/{picture})"]
        return "\n".join(lines) + "\n"

    def draw(folder: Path) -> None:
        if panels is not None:
            draw_panels(folder, panels, picture)

    return Row(
        name=name,
        title=title,
        jobs=lambda count: for_seeds(settings, count),
        train=train,
        smoke=trial,
        seeds=seeds,
        needs=needs,
        details=details,
        draw=draw,
        found=None if needs is None else found,
    )


def _tiny(config: Settings) -> Settings:
    return dataclasses.replace(
        config, units=4, layers=1, epochs=1, batch=4, frames=20, examples=8, memory=None
    )


def table(records: Mapping[str, Mapping[str, Record]]) -> list[str]:
    sets = {run["dataset"] for runs in records.values() for run in runs.values()}
    out = [
        f"Set: {', '.join(sorted(sets))}. Test data, of the epoch that was best on "
        "validation data, mean and standard deviation over seeds. Always: accuracy of "
        "the most frequent answer. Active: share of values that are not zero, in the "
        "encoder, if there is one, and in each layer. Parameters, in thousands: the "
        "weight matrices of the recurrent layers, and all there are, with the readout. "
        "Multiplications of a frame, in thousands, as the paper's code counts them and "
        "corrected.",
        "",
        "| group | seeds | accuracy % | 39 classes % | phone error rate % | always % | "
        "mean square error | active % | matrices | all parameters | published | "
        "corrected |",
        f"|{' --- |' * 12}",
    ]
    for group, runs in records.items():
        tests = [run["test"] for run in runs.values()]
        active = np.mean([test["active"] for test in tests], axis=0)
        costs = [
            f"{np.mean([test['multiplications'][x] for test in tests]) / 1e3:.1f}"
            for x in ("published", "corrected")
        ]
        parameters = next(iter(runs.values()))["parameters"]  # the same for all seeds
        cells = [
            _mean(tests, "accuracy", 100),
            _mean(tests, "folded_accuracy", 100),
            _mean(tests, "phone_error_rate", 1, digits=2),
            _mean(tests, "majority", 100),
            _mean(tests, "error", 1, digits=4),
            ", ".join(f"{100 * x:.0f}" for x in active),
            f"{parameters['matrices'] / 1e3:.1f}",
            f"{sum(parameters.values()) / 1e3:.1f}",
            *costs,
        ]
        out.append(f"| {group} | {len(tests)} | {' | '.join(cells)} |")
    return out


def _mean(
    tests: Sequence[Mapping[str, float]], key: str, factor: float, digits: int = 2
) -> str:
    """Nothing for a number that these runs do not have."""
    return mean_of(tests, key, factor, digits) if key in tests[0] else ""
