"""Fuzz the solvers, and store how much was looked at and what was found.

Runs the slow tests of `tests/test_fuzz_solvers.py` and `tests/test_fuzz_neurons.py` with a
seed, each on as many random networks as asked for; hours with many.

    python -m experiments.fuzz
    python -m experiments.fuzz --seed 1 --examples 1000 --only refractory
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import tyro

import eventjax as ej


ROOT = Path(__file__).resolve().parents[1]
TESTS = [ROOT / "tests" / f"test_fuzz_{x}.py" for x in ("solvers", "neurons")]
# The tests read the first, and write to the file that the second names.
EXAMPLES, TALLY = "EVENTJAX_FUZZ_EXAMPLES", "EVENTJAX_FUZZ_TALLY"


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int = 0
    examples: int = 150
    """Networks for each test; the tests under `DiffraxEvent` take fewer."""
    only: str = ""
    """A part of the names of tests, as `-k` of pytest takes it."""
    output: Path = ROOT / "experiments" / "results" / "fuzz" / "solvers.json"


def _outcomes(report: Path) -> tuple[list[str], list[str]]:
    """Names of tests that passed, and of those that did not, from pytest's report."""
    passed, failed = [], []
    for case in ET.parse(report).iter("testcase"):
        bad = any(case.find(x) is not None for x in ("failure", "error"))
        (failed if bad else passed).append(case.get("name", ""))
    return passed, failed


def run(settings: Settings) -> dict[str, Any]:
    """In a process of its own: pytest checks types only of what it is first to import."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report, tally = Path(folder, "report.xml"), Path(folder, "tally.json")
        command = [sys.executable, "-m", "pytest", *map(str, TESTS)]
        command += ["-m", "slow", "-q"]
        command += ["--numprocesses", "0", f"--junitxml={report}"]
        command += ["-k", settings.only] if settings.only else []
        command.append(f"--hypothesis-seed={settings.seed}")
        names = {EXAMPLES: str(settings.examples), TALLY: str(tally)}
        subprocess.run(command, cwd=ROOT, env=os.environ | names, check=False)
        if not tally.exists():
            raise RuntimeError(
                "no test ran, see above: does `--only "
                f"{settings.only}` name any, and is Hypothesis installed?"
            )
        seen = json.loads(tally.read_text(encoding="utf-8"))
        passed, failed = _outcomes(report)
    return {
        "seed": settings.seed,
        "examples": settings.examples,
        "only": settings.only,
        **ej.train.environment(),
        "seconds": round(time.perf_counter() - begin),
        **seen,
        "passed": passed,
        "failed": failed,
    }


if __name__ == "__main__":
    settings = tyro.cli(Settings, description=__doc__)
    results = run(settings)
    ej.train.save_json(settings.output, results)
    print(
        f"{results['networks']} networks, {results['patterns']} spike patterns, "
        f"{results['spikes']} spikes, {results['runs']} runs: "
        f"{len(results['failed'])} of {len(results['passed'] + results['failed'])} tests "
        f"failed; stored in {settings.output}"
    )
    sys.exit(bool(results["failed"]))
