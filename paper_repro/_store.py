"""One JSON file for each run that has come to its end."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import eventjax as ej

from ._row import Job, Paper, Record, Row


# Where data and output lie makes no difference to what a run does.
_PLACES = ("data_dir", "output")


def result_file(paper: Paper, row: Row, job: Job, root: Path | None = None) -> Path:
    folder = paper.folder / "results" if root is None else root
    return folder / row.name / f"{job.path}.json"


def config_of(job: Job) -> dict[str, Any]:
    """All settings of a run as they come back from JSON."""
    values = json.loads(json.dumps(dataclasses.asdict(job.config), default=str))
    return {name: value for name, value in values.items() if name not in _PLACES}


def save(
    path: Path, paper: Paper, row: Row, job: Job, record: Record, folder: Path
) -> None:
    """Store a run's record and those pictures in its folder that are to be kept.

    The commit of `eventjax.train.environment` says by itself that files had been changed;
    here that is a flag of its own.
    """
    commit = record["commit"]
    dirty = None if commit is None else commit.endswith("-dirty")
    head = {
        "paper": paper.name,
        "row": row.name,
        "group": job.group,
        "replicate": job.replicate,
        "metrics": record["metrics"],
        "commit": None if commit is None else commit.removesuffix("-dirty"),
        "dirty": dirty,
        "config": config_of(job),
    }
    rest = {name: value for name, value in record.items() if name not in head}
    for name in job.pictures:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, picture_file(path, name))
    ej.train.save_json(path, {**head, **rest})


def picture_file(result: Path, name: str) -> Path:
    """Where a picture of a run is kept."""
    return result.with_name(f"{result.stem}-{name}")


def load(path: Path, job: Job) -> Record:
    """A stored record.

    **Raises:** `ValueError` if it cannot be read, lacks a part, or is of other settings
    than the row has now.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        differ = list(_differences(record["config"], job))
        missing = [x for x in ("metrics", "machine", "commit") if x not in record]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Remove it.") from error
    if missing:
        raise ValueError(
            f"{path} is damaged: it has no {', '.join(missing)}. Remove it."
        )
    if differ:
        raise ValueError(
            f"{path} is of a run with other settings than the row has now: "
            f"{'; '.join(differ)}. Run it with --again, or remove the file."
        )
    return record


def _differences(stored: Mapping[str, Any], job: Job) -> Iterator[str]:
    now = config_of(job)
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(job.config)
        if field.default is not dataclasses.MISSING
    }
    for name in dict.fromkeys([*now, *stored]):
        if name in _PLACES:
            continue
        if name not in stored and name in now:
            # A setting that came later: runs before had its default.
            before = json.loads(json.dumps(defaults.get(name), default=str))
            if now[name] != before:
                yield f"{name} is {now[name]}, and was not there"
        elif stored[name] != now.get(name):
            yield f"{name} was {stored[name]}, now {now.get(name)}"


def stored_records(paper: Paper, row: Row) -> dict[str, dict[str, Record]]:
    """All records of a row by group and replicate, however many seeds there are.

    **Raises:** `ValueError` for a file that is not a run of the row.
    """
    folder = paper.folder / "results" / row.name
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not files:
        return {}
    jobs = {job.path: job for job in row.jobs(_seeds_in(files, row))}
    out: dict[str, dict[str, Record]] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name not in jobs:
            raise ValueError(f"{path} is not a run of the row {row.name}: remove it.")
        job = jobs[name]
        out.setdefault(job.group, {})[job.replicate] = load(path, job)
    order = dict.fromkeys(job.group for job in jobs.values())
    return {group: out[group] for group in order if group in out}


def _seeds_in(files: list[Path], row: Row) -> int:
    """How many seeds it takes for every file to be one of the row's runs."""
    seeds = [
        int(path.stem.removeprefix("seed")) + 1
        for path in files
        if path.stem.removeprefix("seed").isdigit()
    ]
    return max([row.seeds, *seeds])
