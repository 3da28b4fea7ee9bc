"""What the rows that train on MNIST have in common."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import eventjax as ej
from paper_repro._orderings import differences, mean_of, Ordering
from paper_repro._panels import draw_panels, Panels
from paper_repro._row import for_seeds, Job, Record, Row

from .._config import Settings
from .._train import METRIC, train


RESULTS = Path(__file__).parents[1] / "results"


def trained_row(
    name: str,
    title: str,
    settings: Mapping[str, Settings],
    orderings: Sequence[Ordering] = (),
    *,
    seeds: int,
    panels: Panels | None = None,
) -> Row:
    """A row whose groups are networks that are trained. Learning curves are drawn, or
    `panels`, see `draw_panels`."""
    picture = f"{name}.png"

    def smoke(data: Path) -> Sequence[Job]:
        del data  # see `_data`
        return [Job(group, "seed0", _tiny(x)) for group, x in settings.items()]

    def details(records: Mapping[str, Mapping[str, Record]]) -> str:
        lines = [*table(records), *differences(orderings, RESULTS, METRIC), ""]
        return "\n".join([*lines, f"![{name}]({RESULTS.name}/{name}/{picture})", ""])

    def draw(folder: Path) -> None:
        if panels is not None:
            draw_panels(folder, panels, picture)
            return
        runs = {
            group: folder / group / "seed0.json"
            for group in settings
            if (folder / group / "seed0.json").exists()
        }
        if runs:
            ej.plot.compare_curves(runs, save=folder / picture)

    return Row(
        name=name,
        title=title,
        jobs=lambda count: for_seeds(settings, count),
        train=train,
        smoke=smoke,
        seeds=seeds,
        needs="MNIST in <data>/mnist",
        details=details,
        draw=draw,
    )


def _tiny(config: Settings) -> Settings:
    short = dict(free=40.0, nudged=30.0, epochs=1, batch=10, hidden=(5,))
    return dataclasses.replace(config, **short)


def table(records: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Accuracies, and how layers fare at the end of the free phase."""
    out = [
        "Test pictures, of the epoch that was best on validation data, mean and standard "
        "deviation over seeds. Of each layer, outputs last: mean rate as a share of the "
        "largest possible, and shares of values that are silent (no spike in the free "
        "phase) and saturated (above 0.9).",
        "",
        "| group | seeds | training pictures | epochs | accuracy % | rate | silent | "
        "saturated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group, runs in records.items():
        tests = [run["test"] for run in runs.values()]
        config = next(iter(runs.values()))["config"]
        layers = range(1, len(config["hidden"]) + 2)
        cells = [
            ", ".join(
                mean_of(tests, f"layer {k}: {what}", 1, 3).split(" ")[0] for k in layers
            )
            for what in ("rate", "silent", "saturated")
        ]
        out.append(
            f"| {group} | {len(tests)} | {config['train_size']} | {config['epochs']} | "
            f"{mean_of(tests, 'accuracy', 100, 2)} | {' | '.join(cells)} |"
        )
    return [*out, ""]
