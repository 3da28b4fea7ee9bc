"""From targets and stored results to lines: for people in RESULTS.md, or as JSON."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ._row import Paper, Record, Row
from ._store import stored_records
from ._targets import Target, targets_of
from ._verdict import Ours, RULE, summary, verdict


@dataclasses.dataclass(frozen=True)
class Line:
    """One figure of the paper beside ours, which is `None` if there is none."""

    paper: str
    row: Row
    group: str
    target: Target
    ours: Ours | None
    machine: str

    @property
    def verdict(self) -> str:
        if self.ours is not None:
            return verdict(self.target, self.ours)
        return (
            "not run" if self.row.needs is None else f"not run: needs {self.row.needs}"
        )

    def as_json(self) -> dict[str, Any]:
        ours = self.ours
        return {
            "paper": self.paper,
            "row": self.row.name,
            "group": self.group,
            "metric": self.target.metric,
            "paper_mean": self.target.mean,
            "paper_std": self.target.std,
            "ours_mean": None if ours is None else ours.mean,
            "ours_std": None if ours is None else ours.std,
            "seeds": 0 if ours is None else ours.runs,
            "verdict": self.verdict,
            "machine": self.machine,
        }


def lines(paper: Paper) -> list[Line]:
    """All lines of a paper, in the order of its rows and targets."""
    records = {row.name: stored_records(paper, row) for row in paper.rows}
    rows = {row.name: row for row in paper.rows}
    out = []
    for target in targets_of(paper):
        mine = records[target.row]
        groups = [target.group] if target.group else _groups_with(mine, target)
        for group in groups:
            found = _with_metric(mine.get(group, {}), target)
            ours = summary(list(found.values())) if found else None
            machines = dict.fromkeys(
                machine_of(mine[group][replicate]) for replicate in found
            )
            out.append(
                Line(
                    paper.name, rows[target.row], group, target, ours,
                    "; ".join(machines),
                )
            )  # fmt: skip
    return out


def _groups_with(mine: Mapping[str, Mapping[str, Record]], target: Target) -> list[str]:
    """The groups that have a target's metric; one without a name if there are none."""
    out = [group for group, records in mine.items() if _with_metric(records, target)]
    return out or [""]


def _with_metric(records: Mapping[str, Record], target: Target) -> dict[str, float]:
    """The metric of each run. A group that does not have it has it in no run."""
    out = {
        replicate: record["metrics"][target.metric]
        for replicate, record in records.items()
        if target.metric in record["metrics"]
    }
    if out and len(out) < len(records):
        lacking = ", ".join(name for name in records if name not in out)
        raise ValueError(f"{target.row}: {lacking} has no metric `{target.metric}`.")
    if records and not out and target.group:
        raise ValueError(
            f"{target.row}/{target.group}: the runs have no metric `{target.metric}`."
        )
    return out


def machine_of(record: Record) -> str:
    machine = record["machine"]
    devices = [x for x in machine.get("devices", []) if x != "cpu"]
    if devices:
        return ", ".join(dict.fromkeys(devices))
    return f"{machine['cores']} cores of {machine['cpu']}"


def markdown(paper: Paper) -> str:
    """All of RESULTS.md."""
    table = lines(paper)
    out = [
        f"# Results: {paper.title}",
        "",
        "Written by `python -m paper_repro report`; do not edit. What was run, what "
        "deviates and what is unconfirmed is in [README.md](README.md).",
        "",
        RULE,
        "",
        "| row | metric | paper | ours | difference | verdict | machine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_table_row(line) for line in table),
        "",
        "Mean ± standard deviation (number of runs).",
        "",
        *_notes(table),
    ]
    if paper.claims:
        out += [paper.claims, ""]
    for row in paper.rows:
        records = stored_records(paper, row)
        if row.details is not None and records:
            out += [f"## {row.name}", "", row.details(records).strip(), ""]
    return "\n".join(out).rstrip() + "\n"


def _table_row(line: Line) -> str:
    target, ours = line.target, line.ours
    name = f"{line.row.name}/{line.group}" if line.group else line.row.name
    difference = ""
    if ours is not None and target.mean is not None:
        difference = f"{ours.mean - target.mean:+.2f}"
    cells = [
        name,
        target.metric,
        _figure(target.mean, target.std, target.seeds),
        "" if ours is None else _figure(ours.mean, ours.std, ours.runs),
        difference,
        line.verdict,
        line.machine,
    ]
    # A word in angle brackets would be taken for HTML, and not be seen.
    return f"| {' | '.join(cells)} |".replace("<", "&lt;")


def _figure(mean: float | None, std: float | None, count: int | None) -> str:
    if mean is None:
        return "unknown"
    text = f"{mean:.2f}"
    text += "" if std is None else f" ± {std:.2f}"
    return text if count is None else f"{text} ({count})"


def _notes(table: list[Line]) -> Iterator[str]:
    """Where each figure comes from, once for each target."""
    for target in dict.fromkeys(line.target for line in table):
        name = f"{target.row}/{target.group}" if target.group else target.row
        text = f"- {name}, {target.metric}: {target.source}."
        if target.tolerance:
            text += f" Tolerance {target.tolerance:g}."
        yield f"{text} {target.note}".rstrip()
    yield ""
