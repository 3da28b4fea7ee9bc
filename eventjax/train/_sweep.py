"""The same training for many seeds, several at once in each of several processes."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Array, PyTree

from ._records import MetricsLog, PathLike, save_json
from ._sweep_workers import Job, packed, run_all


class SweepFailure(RuntimeError):
    """Some seeds of a sweep failed. All others are done, and stored.

    - `failures`: what went wrong, by seed: a traceback, or how the process ended.
    - `results`: the results of all other seeds, as `sweep` returns them.
    """

    def __init__(self, text: str, failures: dict[int, str], results: dict[int, Any]):
        super().__init__(text)
        self.failures = failures
        self.results = results


def sweep(
    run: Callable[..., PyTree[Array]],
    seeds: Sequence[int],
    *,
    folder: PathLike,
    settings: Mapping[str, Any] | None = None,
    together: int = 1,
    processes: int | Sequence[Mapping[str, str]] = 1,
    log: MetricsLog | None = None,
) -> dict[int, Any]:
    """Run a training for each of many seeds, and lose none in silence.

    Seeds are taken in groups. A group is one call of `run`, which trains all of its seeds
    in one program, made by `jax.vmap`; groups are spread over processes. Each seed's
    result is stored as soon as it is there, so a sweep that was killed is taken up by
    calling it once more, which runs what is missing.

    A seed fails if `run` raises, if its process dies or if its result is not finite. Then
    each seed of its group that has no result is run again by itself, to find which of them
    is to blame; those that succeed count as any other. Only when all others are done are
    failed seeds reported.

    ```python
    def run(keys, *, epochs):                       # in a file, not in a notebook
        return jax.vmap(partial(train, epochs=epochs))(keys)    # {"accuracy": [seeds]}


    if __name__ == "__main__":
        results = ej.train.sweep(
            run, range(20), folder="outputs/sweep", settings={"epochs": 30}, together=5
        )
    ```

    **Arguments:**

    - `run`: `run(keys, **settings)` takes the keys of its seeds, `[seeds]`, that of seed 3
        being `jax.random.key(3)`, and returns arrays with a first axis `[seeds]` in
        dictionaries, lists and tuples. It is called in new processes, which import the
        file that it is in: what is started there must stand behind
        `if __name__ == "__main__"`.
    - `seeds`: integers of at least 0, each once.
    - `folder`: for the results, `seed-3.json` and so on, and what is known of failures,
        `seed-3.failed.json`; made if need be. It holds one sweep: results that are in it
        from before count if `run` has the same name and `settings` are the same.
    - `settings`: further arguments of `run`, of types that JSON knows.
    - `together`: seeds in a group.
    - `processes`: how many at a time; or for each the environment variables it is to start
        with, which is how it gets its own device:
        `[{"CUDA_VISIBLE_DEVICES": str(k)} for k in range(4)]`. A process starts anew with
        JAX's own settings, but for `jax_enable_x64`, which is passed on.
    - `log`: gets a line for each seed that is done, and for each failure.

    **Returns:** the results by seed, in the order of `seeds`, as JSON knows them: numbers,
    and lists for arrays.

    **Raises:** `SweepFailure`, when all others are done, if seeds failed by themselves,
    with their tracebacks and all other results. `ValueError` for arguments out of range,
    for a `run` that cannot be sent to a process, processes that cannot begin, a result of
    another form, or a folder that is another sweep's.
    """
    seeds = [int(seed) for seed in seeds]
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ValueError(
            f"`seeds` must be at least 0 and different from each other, got {seeds}."
        )
    if together < 1:
        raise ValueError(f"`together` must be at least 1, got {together}.")
    if isinstance(processes, int):
        processes = [{}] * processes
    if not processes:
        raise ValueError("`processes` must be at least 1, got none.")
    job = Job(run, Path(folder).absolute(), dict(settings or {}))
    sent = packed(job)
    _claim(job)
    missing = [seed for seed in seeds if not job.path(seed).exists()]
    groups = [missing[k : k + together] for k in range(0, len(missing), together)]
    failures = run_all(job, sent, groups, processes, log)
    results = {seed: _read(job.path(seed)) for seed in seeds if seed not in failures}
    if failures:
        shown = [f"{k} ({_last_line(x)})" for k, x in sorted(failures.items())]
        raise SweepFailure(
            f"{len(failures)} of {len(seeds)} seeds failed, each also by itself: "
            f"{', '.join(shown)}. `failures` has all that is known, `results` the other "
            f"results, which are in {folder}, too. Call again to try only what is missing.",
            failures,
            results,
        )
    return results


def _claim(job: Job) -> None:
    """Note in the folder which sweep's it is."""
    about = {"run": _name_of(job.run), "settings": job.settings}
    try:
        about = json.loads(json.dumps(about))
    except TypeError as error:
        raise ValueError(
            f"`settings` must be of types that JSON knows, got {job.settings}: {error}."
        ) from error
    path = job.folder / "sweep.json"
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored != about:
            raise ValueError(
                f"`folder`: {job.folder} is that of another sweep, {stored}, this one is "
                f"{about}. Give another folder, or remove that one."
            )
    else:
        save_json(path, about)


def _name_of(run: Callable) -> str:
    named = run if hasattr(run, "__qualname__") else type(run)
    return f"{named.__module__}.{named.__qualname__}"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))["result"]


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
