"""Measures eventjax, and other libraries beside it, on one workload.

    python -m experiments.benchmark W1 --peers
    python -m experiments.benchmark W2 --peers
    python -m experiments.benchmark W2F --peers
    python -m experiments.benchmark W3 --peers
    python -m experiments.benchmark WD --peers

All libraries get the same weights and input spikes from one file, and run one after
the other, each in a process and an environment of its own. One gradient step is the
value and the gradient of the loss with respect to all weights, without an optimiser;
times are medians after compilation and warm-up. See `_measure.py` for the method,
`workloads.py` for the workloads and `peers/` for how each library is used.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from experiments.benchmark import make_peers, workloads


ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = pathlib.Path(__file__).resolve().parent / "results"
OURS = "eventjax"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measure speed and memory of eventjax, alone or beside other libraries."""

    workload: tyro.conf.Positional[Literal["W1", "W2", "W2F", "W3", "WD"]] = "W1"
    """Which workload."""
    peers: bool = False
    """Measure the other libraries too; `make peers` installs them."""
    json: bool = False
    """Print one JSON line per measurement and no table."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""
    platform: str = "cpu"
    """Where to run, a name that JAX knows; the others are installed for the CPU."""
    batch: int | None = None
    """How many samples, if not as many as the workload has."""


def _is_peer(script: str) -> bool:
    return script.startswith("peers.")


def run(library: str, file: pathlib.Path, spec, platform: str) -> list[dict]:
    """Run a library's script and read its rows; a failure is a row that says so."""
    blank = {"library": library, "workload": type(spec).__name__, "batch": spec.batch}
    keys = ("fwd_ms", "grad_ms", "compile_s", "peak_mb", "spikes")
    blank |= dict.fromkeys(keys)
    interpreter, script = sys.executable, spec.scripts[library]
    if _is_peer(script):
        if not make_peers.is_made(library):
            note = "not measured: run `make peers` to install it"
            return [blank | {"note": note, "failed": True}]
        interpreter = str(make_peers.python(library))
    done = subprocess.run(
        [
            interpreter,
            "-m",
            f"experiments.benchmark.{script}",
            str(file),
        ],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    rows = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        errors = [x for x in lines if x.partition(":")[0].endswith("Error")]
        rows.append(
            blank | {"note": f"failed: {(errors or lines)[-1]}", "failed": True}
        )
    return rows


def of_variant(row: dict, variant: str) -> dict:
    """The row of a variant of the workload, to be put beside ours of the same variant; as
    it is if `variant` is empty."""
    if not variant:
        return row
    beside = row.get("beside", OURS)
    names = {"library": row["library"], "beside": beside}
    return row | {key: f"{name}, {variant}" for key, name in names.items()}


def table(rows: list[dict]) -> Table:
    """The rows as a table; "x" is the gradient step as a multiple of eventjax's, of that
    row of ours which runs the same network."""
    out = Table(
        title=f"{rows[0]['workload']}, batch {rows[0]['batch']}",
        caption=f"hidden spikes per sample, exactly: {rows[0]['exact_spikes']:.1f}",
    )
    columns = ("library", "forward ms", "gradient ms", "x", "CPU ms", "compile s")
    for name in (*columns, "MB", "spikes", "note"):
        is_text = name in ("library", "note")
        out.add_column(name, justify="left" if is_text else "right")
    times = {row["library"]: row["grad_ms"] for row in rows}

    def number(x, digits=1):
        return "-" if x is None else f"{x:.{digits}f}"

    for row in rows:
        ours = times.get(row.get("beside", OURS))
        ratio = row["grad_ms"] / ours if row["grad_ms"] and ours else None
        out.add_row(
            row["library"],
            number(row["fwd_ms"], 2),
            number(row["grad_ms"], 2),
            number(ratio),
            number(row.get("cpu_ms"), 2),
            number(row["compile_s"]),
            number(row["peak_mb"], 2),
            number(row["spikes"]),
            row["note"],
        )
    return out


def revision() -> dict[str, str | bool | None]:
    """The commit measured and whether there were changes on top of it."""

    def git(*arguments):
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--short")
    dirty = None if changes is None else changes != ""
    return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}


def store(config: Benchmark, spec, rows: list[dict]) -> pathlib.Path:
    """Write the measurements with everything needed to repeat them."""
    RESULTS.mkdir(exist_ok=True)
    batch = "" if config.batch is None else f"-batch{config.batch}"
    path = RESULTS / f"{config.workload}{batch}-{config.platform}.json"
    record = {"workload": config.workload, "spec": dataclasses.asdict(spec)}
    record |= revision() | {"rows": rows}
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def measured(config: Benchmark, spec, variant: str, console: Console) -> list[dict]:
    """The rows of all libraries for one variant of the workload."""
    spec = dataclasses.replace(spec, **spec.variants.get(variant, {}))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "workload.npz"
        with console.status("finding the exact answers ..."):
            workloads.save(spec, file)
        spikes = float(workloads.load(file)[1]["hidden_spikes"].mean())
        for library, script in spec.scripts.items():
            if _is_peer(script) and not config.peers:
                continue
            with console.status(f"measuring {library} ..."):
                new = run(library, file, spec, config.platform)
            new = [of_variant({"exact_spikes": spikes} | row, variant) for row in new]
            rows += new
            if config.json:
                for row in new:
                    print(json.dumps(row), flush=True)
    return rows


def main(config: Benchmark) -> int:
    """Measure, print and store; returns the number of libraries that failed."""
    spec = workloads.WORKLOADS[config.workload]()
    if config.batch is not None:
        spec = dataclasses.replace(spec, batch=config.batch)
    console = Console(stderr=True)
    rows = []
    for variant in ("", *spec.variants):
        rows += measured(config, spec, variant, console)
    if not config.json:
        wide = None if sys.stdout.isatty() else 160
        Console(width=wide).print(table(rows))
    if config.store:
        console.print(f"stored in {store(config, spec, rows).relative_to(ROOT)}")
    return sum(row.get("failed", False) for row in rows)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark, description=__doc__)))
