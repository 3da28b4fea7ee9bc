"""Runs what papers report, and says how it came out.

python -m paper_repro list
python -m paper_repro run eventprop/yin_yang --seeds 5
python -m paper_repro report
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from ._registry import find, papers
from ._report import lines, markdown
from ._runner import run, smoke
from ._store import stored_records


@dataclasses.dataclass(frozen=True)
class List:
    """Show all papers and rows, what they need, and how many runs are stored."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Do the runs of a row that have not been done.

    A run that was cut off goes on from its last epoch; one whose result is stored is not
    run again. At the end call `report`.
    """

    row: tyro.conf.Positional[str]
    """<paper>/<row>; <paper> alone means all its rows. A group of the row, and a single
    run, may follow: eventprop/spoken_digits/exp_rec_shift/speaker0."""
    seeds: int | None = None
    """How many seeds, from 0; by default as many as the row says."""
    smoke: bool = False
    """Try the whole path on tiny made-up data in a temporary folder. Stores nothing."""
    data_dir: Path | None = None
    """Folder of raw data; by default the environment variable EVENTJAX_DATA_DIR."""
    again: bool = False
    """Run again what is stored, from the start."""
    quiet: bool = False
    """Show no progress bar."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Write RESULTS.md of each paper from what is stored, or print it as JSON."""

    json: bool = False
    """Print one JSON line per figure, and write nothing."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def main(command: List | Run | Report) -> int:
    if isinstance(command, List):
        _list()
        return 0
    if isinstance(command, Report):
        _report(command.json)
        return 0
    try:
        list(find(command.row))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if command.smoke:
        smoke(command.row, progress=not command.quiet)
        return 0
    missing = run(
        command.row,
        seeds=command.seeds,
        data_dir=command.data_dir,
        again=command.again,
        progress=not command.quiet,
    )
    for line in missing:
        print(line, file=sys.stderr)
    return 1 if missing else 0


def _list() -> None:
    for paper in papers():
        print(f"{paper.name}: {paper.title}")
        for row in paper.rows:
            stored = sum(len(x) for x in stored_records(paper, row).values())
            total = len(row.jobs(row.seeds))
            needs = "" if row.needs is None else f"; needs {row.needs}"
            print(f"  {paper.name}/{row.name}: {row.title}")
            print(f"    {stored} of {total} runs stored{needs}")


def _report(as_json: bool) -> None:
    for paper in papers():
        if as_json:
            for line in lines(paper):
                print(json.dumps(line.as_json()))
            continue
        path = paper.folder / "RESULTS.md"
        for row in paper.rows:
            if row.draw is not None and stored_records(paper, row):
                row.draw(paper.folder / "results" / row.name)
        path.write_text(markdown(paper), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Command, description=__doc__)))
