"""A gradient step of the recurrent network of the paper's size beside spyx, a library that
steps through time on a grid of 1 ms. It reads what the benchmark has stored.

    python -m experiments.benchmark W2 --peers --store
    python -m paper_repro run eventprop/speed_memory
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import tables
from paper_repro._row import Job, Record, Row, Where


MEASURED = Path(__file__).parents[3] / "experiments/benchmark/results"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A file of the benchmark; which commit it is of says whether it is still the same."""

    file: str
    commit: str | None
    seed: int = 0


def jobs(seeds: int) -> list[Job]:
    if seeds != 1:
        raise ValueError(f"speed_memory reads one measurement, got `seeds` {seeds}.")
    files = sorted(MEASURED.glob("W2-*.json"))
    return [_job(path) for path in files] or [
        Job("cpu", "seed0", Measurement("W2-cpu.json", None))
    ]


def _job(path: Path) -> Job:
    commit = json.loads(path.read_text(encoding="utf-8"))["commit"]
    platform = path.stem.partition("-")[2]
    return Job(platform, "seed0", Measurement(path.name, commit))


def train(config: Measurement, where: Where) -> Record:
    del where
    stored = json.loads((MEASURED / config.file).read_text(encoding="utf-8"))
    ours = _row(stored["rows"], "eventjax", config.file)
    spyx = _row(stored["rows"], "spyx", config.file)
    machine = dict(ours["machine"])
    machine["devices"] = [machine.pop("device")]
    return {
        "metrics": {
            "times faster than spyx": spyx["grad_ms"] / ours["grad_ms"],
            "times less memory than spyx": spyx["peak_mb"] / ours["peak_mb"],
        },
        "seed": config.seed,
        "commit": stored["commit"] + ("-dirty" if stored["dirty"] else ""),
        "versions": ours["versions"],
        "machine": machine,
        "rows": [ours, spyx],
        "workload": stored["spec"],
    }


def _row(rows: list[dict[str, Any]], library: str, file: str) -> dict[str, Any]:
    """The first measurement of a library."""
    for row in rows:
        if row["library"].partition(",")[0] == library and not row.get("failed"):
            return row
    raise ValueError(f"{file} has no measurement of {library}: measure with --peers.")


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """The tables of the benchmark, as they are in README.md."""
    del records
    made = tables.tables()
    parts = {
        "W2, recurrence after 1 ms and after 5 ms": made["speed W2"](),
        "W2F, without recurrence": made["speed W2F"](),
        "How a gradient step of W2 grows": made["scaling"](),
    }
    text = "\n\n".join(f"{name}:\n\n{table}" for name, table in parts.items())
    return text.replace("(experiments/", "(../../experiments/")


def smoke(data: Path) -> Sequence[Job]:
    del data
    return [_job(MEASURED / "W1-cpu.json")]  # of another network, in the same form


ROW = Row(
    name="speed_memory",
    title="speed and memory of a gradient step beside spyx at 1 ms",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=1,
    needs="W2 of the benchmark in experiments/benchmark/results",
    details=details,
)
