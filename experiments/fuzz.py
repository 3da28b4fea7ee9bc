"""Fuzz the solvers, and store how much was looked at and what was found.

Runs the slow tests of `tests/test_fuzz_solvers.py` with a seed, each on as many random
networks as asked for; hours with many.

    python -m experiments.fuzz
    python -m experiments.fuzz --seed 1 --examples 1000 --only refractory
"""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tyro

import eventjax as ej


ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "test_fuzz_solvers.py"
EXAMPLES = "EVENTJAX_FUZZ_EXAMPLES"  # the tests read it


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int = 0
    examples: int = 150
    """Networks for each test; the tests under `DiffraxEvent` take fewer."""
    only: str = ""
    """A part of the names of tests, as `-k` of pytest takes it."""
    output: Path = ROOT / "experiments" / "results" / "fuzz" / "solvers.json"


class Outcomes:
    """A plugin of pytest that keeps what came of each test."""

    def __init__(self):
        self.passed: list[str] = []
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.failed.append(name)
        elif report.when == "call" and report.passed:
            self.passed.append(name)


def run(settings: Settings) -> dict[str, Any]:
    os.environ[EXAMPLES] = str(settings.examples)
    outcomes, begin = Outcomes(), time.perf_counter()
    arguments = [str(TESTS), "-m", "slow", "--numprocesses", "0", "-q"]
    arguments += ["-k", settings.only] if settings.only else []
    arguments.append(f"--hypothesis-seed={settings.seed}")
    pytest.main(arguments, plugins=[outcomes])
    if not outcomes.passed + outcomes.failed:
        raise RuntimeError(
            f"no test of {TESTS.name} ran: does `--only {settings.only}` name any, and is "
            "Hypothesis installed?"
        )
    tally = dataclasses.asdict(sys.modules["test_fuzz_solvers"].TALLY)
    return {
        "seed": settings.seed,
        "examples": settings.examples,
        "only": settings.only,
        **ej.train.environment(),
        "seconds": round(time.perf_counter() - begin),
        **tally,
        "passed": outcomes.passed,
        "failed": outcomes.failed,
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
