"""Does runs that have not been done."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax

from ._registry import chosen, find
from ._row import Job, Paper, Record, Row, Where
from ._store import load, result_file, save


WORK = Path("runs/paper_repro")


def run(
    name: str,
    *,
    seeds: int | None,
    data_dir: Path | None,
    again: bool,
    progress: bool,
    work: Path = WORK,
    results: Path | None = None,
) -> list[str]:
    """Do all runs that a name means, but for those whose result is stored.

    **Arguments:** as for `__main__.Run`, and `work`, where runs leave what they need to be
    resumed, and `results`, where results go instead of the paper's folder.

    **Returns:** a line for each row that could not be run, which says why.
    """
    missing = []
    for paper, row, rest in find(name):
        jobs = chosen(row, row.jobs(row.seeds if seeds is None else seeds), rest)
        for job in jobs:
            path = result_file(paper, row, job, results)
            where = Where(
                work / paper.name / row.name / job.path, data_dir, progress=progress
            )
            if again:
                shutil.rmtree(where.folder, ignore_errors=True)
            elif path.exists():
                other = _other_data(row, load(path, job), where)
                if other is None:
                    print(f"{_name(paper, row, job)}: stored already")
                    continue
                print(f"{_name(paper, row, job)}: stored {other}")
                shutil.rmtree(where.folder, ignore_errors=True)
            try:
                _do(paper, row, job, where, path)
            except FileNotFoundError as error:
                if row.needs is None:
                    raise
                missing.append(
                    f"{paper.name}/{row.name}: not run: needs {row.needs}\n{error}"
                )
                break
    return missing


def _other_data(row: Row, record: Record, where: Where) -> str | None:
    """In words, if a record is of other data than are there now."""
    if row.found is None:
        return None
    before, now = record.get("dataset"), row.found(where)
    return None if now in (None, before) else f"of {before}, but here is {now}"


def smoke(name: str, *, progress: bool) -> None:
    """Try the whole path of each row on tiny made-up data, in a temporary folder."""
    # The programs are large and run for a moment only.
    with _compiling_fast():
        _smoke(name, progress)


@contextlib.contextmanager
def _compiling_fast() -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _smoke(name: str, progress: bool) -> None:
    for paper, row, _ in find(name):
        with tempfile.TemporaryDirectory(prefix="paper_repro-") as folder:
            root = Path(folder)
            for job in row.smoke(root / "data"):
                where = Where(
                    root / "runs" / row.name / job.path,
                    root / "data",
                    root / "prepared",
                    progress=progress,
                    smoke=True,
                )
                path = result_file(paper, row, job, root / "results")
                _do(paper, row, job, where, path)
                load(path, job)


def _do(paper: Paper, row: Row, job: Job, where: Where, path: Path) -> None:
    name = _name(paper, row, job)
    print(f"{name}: starts", flush=True)
    record = row.train(job.config, where)
    save(path, paper, row, job, record, where.folder)
    figures = ", ".join(f"{k} {v:.4g}" for k, v in record["metrics"].items())
    print(f"{name}: {figures}", flush=True)


def _name(paper: Paper, row: Row, job: Job) -> str:
    return f"{paper.name}/{row.name}/{job.path}"
