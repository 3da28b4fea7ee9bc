"""A run that is killed again and again, and goes on each time as if nothing had been.

A small network is trained in a process of its own, which is killed by SIGKILL at random
moments, while it trains and while it writes checkpoints, and started anew until it is
done. Then parameters, best model, optimiser's state and history have to be those of a run
that was left alone, bit for bit.

    python -m experiments.interruptions
    python -m experiments.interruptions --times 20 --store
"""

import dataclasses
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import eventjax as ej

from . import _interrupted_run as interrupted_run


RESULTS = Path(__file__).parent / "results" / "interruptions.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Kill a run at random moments, and compare it with one that was left alone."""

    times: int = 3
    """How often to kill it. When it is done before, another run follows."""
    seed: int = 0
    """Of the moments."""
    store: bool = False
    """Write the outcome to experiments/results/."""


def interrupt(settings: Settings, folder: Path) -> dict[str, Any]:
    """Kill a run, and further ones, as often as asked for, and let them be done.

    **Arguments:**

    - `folder`: for the runs and their checkpoints.

    **Returns:**

    - `killed`: how many kills fell in a step, in the write of a checkpoint, in the removal
        of an old one.
    - `runs`, `attempts`: how many runs were killed, and processes started for them.
    - `enlarged_at`: the steps at which the buffer was enlarged.
    - `differences`: what a run has otherwise than the one left alone; none if all is well.

    **Raises:** `RuntimeError` if a process ends otherwise than by a kill or well.
    """
    rng = np.random.default_rng(settings.seed)
    whole = folder / "whole"
    seconds = _Attempt(whole, folder).finish()  # what a run takes at most
    expected = interrupted_run.left_by(whole)
    killed = {"step": 0, "write": 0, "removal": 0}
    runs, attempts, differences = 0, 0, []
    while sum(killed.values()) < settings.times:
        run = folder / f"run {runs + 1}"
        while not interrupted_run.is_done(run):
            is_new = not run.exists()
            attempt, attempts = _Attempt(run, folder), attempts + 1
            if sum(killed.values()) == settings.times:
                attempt.finish()
                continue
            delay = rng.uniform(0, seconds / 2)
            where = attempt.kill_after(delay)
            if where is not None:
                killed[where] += 1
            elif is_new:
                # Not killed at all: the machine has become faster.
                seconds = min(seconds, delay)
        found = interrupted_run.left_by(run)
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                differences.append(f"{run.name}: {name}")
        runs += 1
        shutil.rmtree(run)
    return {
        "killed": killed,
        "runs": runs,
        "attempts": attempts,
        "enlarged_at": [
            event["step"]
            for event in interrupted_run.events(whole)
            if event["event"] == "capacity_doubled"
        ],
        "differences": differences,
    }


class _Attempt:
    """A process that trains in `folder`, from the moment it has its programs."""

    def __init__(self, folder: Path, cache: Path):
        self._folder = folder
        self._before = self._checkpoints()
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=interrupted_run.train, args=(folder, cache / "programs", theirs)
        )
        self._process.start()
        theirs.close()
        try:
            mine.recv()
        except EOFError:
            self._process.join()
            raise self._error() from None
        self._start = time.perf_counter()

    def finish(self) -> float:
        """Let it finish; returns how long it has taken, in seconds."""
        self._process.join()
        if self._process.exitcode != 0:
            raise self._error()
        return time.perf_counter() - self._start

    def kill_after(self, seconds: float) -> str | None:
        """Kill it, unless it is done before; returns what it was doing."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        elif self._process.exitcode != 0:
            raise self._error()
        if interrupted_run.is_done(self._folder):
            return None
        # What an attempt before has left unfinished may still be there, untouched.
        now = self._checkpoints()
        complete = {(name, when) for name, when in now if name.isdecimal()}
        if now - complete - self._before:
            return "write"  # into a folder of a temporary name
        if len(complete) > interrupted_run.KEEP and complete - self._before:
            return "removal"
        return "step"

    def _checkpoints(self) -> set[tuple[str, int]]:
        """Names, and when something in them has changed."""
        paths = (self._folder / "checkpoints").glob("*")
        return {(path.name, path.stat().st_mtime_ns) for path in paths}

    def _error(self) -> RuntimeError:
        return RuntimeError(
            f"The process that trains in {self._folder} ended by itself, with exit code "
            f"{self._process.exitcode}; what it printed says why."
        )


def main(settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        outcome = interrupt(settings, Path(folder))
    print(f"killed {settings.times} times: {outcome['killed']}")
    for difference in outcome["differences"]:
        print(f"not as in the run that was left alone: {difference}")
    if not outcome["differences"]:
        print("parameters, optimiser and history: all equal, bit for bit")
    if settings.store:
        config = {"times": settings.times, "seed": settings.seed}
        equal = not outcome["differences"]
        record = {"config": config, "equal": equal, **outcome, **ej.train.environment()}
        ej.train.save_json(RESULTS, record)
        print(f"stored in {RESULTS}")
    return outcome


if __name__ == "__main__":
    if main(tyro.cli(Settings))["differences"]:
        raise SystemExit(1)
