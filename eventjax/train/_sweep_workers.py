"""The processes of a sweep: what each does, and how they are kept at work."""

import collections
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ._records import MetricsLog, save_json


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be run for each seed, and where results go."""

    run: Callable
    folder: Path
    settings: dict[str, Any]

    def path(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}.json"

    def failed_path(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}.failed.json"


def run_all(
    job: Job,
    sent: bytes,
    groups: list[list[int]],
    environments: Sequence[Mapping[str, str]],
    log: MetricsLog | None,
) -> dict[int, str]:
    """Run all groups, and again one by one the seeds of those that failed. Results are
    stored. Returns what is known of the seeds that failed by themselves, too. `sent` is
    the job as `packed` makes it."""
    todo, failures = collections.deque(groups), {}
    workers = [_Worker(sent, environment) for environment in environments]
    try:
        while True:
            for worker in workers:
                if todo and not worker.group:
                    worker.give(todo.popleft())
            busy = {x.connection: x for x in workers if x.group}
            if not busy:
                return failures
            for connection in multiprocessing.connection.wait(list(busy)):
                done = busy[connection].answer()
                if done is not None:
                    group, text = done
                    failed = _settle(job, group, text, log)
                    if len(group) > 1:
                        todo.extend([seed] for seed in failed)
                    else:
                        failures |= dict.fromkeys(failed, text)
    finally:
        for worker in workers:
            worker.end()


def _settle(job: Job, group: list[int], text: str, log: MetricsLog | None) -> list[int]:
    """Note what became of a group. What counts is what is stored: a process may have died
    after that. Returns the seeds without a result."""
    failed = [seed for seed in group if not job.path(seed).exists()]
    for seed in group:
        if seed not in failed:
            job.failed_path(seed).unlink(missing_ok=True)
        elif len(group) == 1:
            save_json(job.failed_path(seed), {"seed": seed, "error": text})
    if log is not None:
        for seed in group:
            if seed not in failed:
                log.write("seed", seed=seed, together=len(group))
        if failed:
            log.write("failed", seeds=failed, together=len(group), error=text)
    return failed


class _Worker:
    """A process that works off groups of seeds, one at a time; a new one, if it dies."""

    def __init__(self, sent: bytes, environment: Mapping[str, str]):
        self._sent, self._environment = sent, environment
        self._process = None
        self._ready = False
        self.group: list[int] = []
        self.connection: Any = None

    def give(self, group: list[int]) -> None:
        if self._process is None:
            self._start()
        self.group = group
        # That it died meanwhile is noticed when its answer is read.
        with contextlib.suppress(OSError):
            self.connection.send(group)

    def answer(self) -> tuple[list[int], str] | None:
        """The group it had and what went wrong, if anything; `None` if it only begins."""
        try:
            kind, text = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            kind, text = "done", f"Its process {_how_it_ended(self._process.exitcode)}."
            self.end()
            if not self._ready:
                kind = "invalid"
                text = (
                    f"A sweep's process could not begin. {text} What it printed says why. "
                    "In the file that is run, what starts the sweep must stand behind "
                    '`if __name__ == "__main__"`.'
                )
        if kind == "invalid":
            raise ValueError(text)
        if kind == "ready":
            self._ready = True
            return None
        group, self.group = self.group, []
        return group, text

    def end(self) -> None:
        if self._process is not None:
            self.connection.close()
            self._process.terminate()
            self._process.join(timeout=10)
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        # Fresh, not forked: a copy of a process that has used JAX cannot use it.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        x64 = bool(jax.config.read("jax_enable_x64"))
        given = theirs, self._sent, x64
        self._process = context.Process(target=_work, args=given, daemon=True)
        self._ready = False
        with _environment(self._environment):
            self._process.start()
        theirs.close()


def _work(connection: Any, sent: bytes, x64: bool) -> None:
    """What a process does until nobody listens any more."""
    jax.config.update("jax_enable_x64", x64)
    try:
        job = pickle.loads(sent)
    except Exception:
        connection.send(("invalid", traceback.format_exc()))
        return
    connection.send(("ready", ""))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            connection.send(_run_group(job, connection.recv()))


def _run_group(job: Job, group: list[int]) -> tuple[str, str]:
    start = time.perf_counter()
    try:
        keys = jnp.stack([jr.key(seed) for seed in group])
        out = jax.device_get(job.run(keys, **job.settings))
    except Exception:
        return "done", traceback.format_exc()
    try:
        results = _by_seed(out, len(group))
        wrong = [_not_finite(result) for result in results]
        about = {"together": len(group), "seconds": time.perf_counter() - start}
        for seed, result, names in zip(group, results, wrong, strict=True):
            if not names:
                record = {"seed": seed, "result": result, **about}
                save_json(job.path(seed), record)
    except (TypeError, ValueError) as error:
        return "invalid", (
            "`run` must return arrays of numbers with a first axis of one entry for each "
            f"seed, in dictionaries, lists and tuples. {error}"
        )
    lines = [
        f"Seed {seed}: not finite: {', '.join(names)}."
        for seed, names in zip(group, wrong, strict=True)
        if names
    ]
    return "done", "\n".join(lines)


def _by_seed(out: PyTree, size: int) -> list[PyTree]:
    for name, leaf in _named(out):
        if np.shape(leaf)[:1] != (size,):
            raise ValueError(
                f"For {size} seeds, {name} has the shape {np.shape(leaf)}."
            )
    return [jax.tree.map(lambda x, k=k: np.asarray(x)[k], out) for k in range(size)]


def _not_finite(result: PyTree) -> list[str]:
    return [name for name, leaf in _named(result) if not np.isfinite(leaf).all()]


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return [(f"`{jtu.keystr(path) or 'it'}`", leaf) for path, leaf in leaves]


def packed(job: Job) -> bytes:
    """The job as it is sent to processes."""
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "`run` must be a function at the top level of a file, which other processes "
            f"can import, got {job.run}: {error}."
        ) from error


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What a process that is started meanwhile finds in its environment."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
