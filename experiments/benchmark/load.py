"""Large runs: many events, many neurons, a long time, each within a bound of memory.

    python -m experiments.benchmark.load
    python -m experiments.benchmark.load --store

- **Events**: 10 million, from 700 inputs into 256 neurons `LIF`, 10 per ms.
- **Duration**: 100,000 ms of the same network, with 1 event per ms.
- **Neurons**: 10,000, feed-forward and recurrent, for 100 ms with 10 events per ms.

Events and duration are run in two ways. In pieces of 1,000 ms, each with times that start
again from 0 and with the state of the one before: so float32 will do, and input may come
from a stream. And in one call, which needs float64, because times of float32 are too
coarse after some 8,000 ms. Both are given the same events and the same weights, so that
they should count about the same spikes; in float32 some that graze the threshold come or
stay away.

Each case is a process of its own. Its memory is the most it ever holds (`VmHWM`) above
what it holds once everything is imported (`VmRSS`): compiling is in it. More than the
case's bound is a failure, and so is a full buffer, or a run in pieces whose last tenth
takes more than 1.3 times as long as its first tenth, median by median, of the process's
CPU time; short courses are run nine times over for it, and the median of each piece counts.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from experiments.benchmark import _measure
from experiments.benchmark.load_cases import CASES, Load


LARGEST_SLOWDOWN = 1.3


def held_mb(name: str) -> float:
    """`VmRSS`, what this process holds, or `VmHWM`, the most it ever held."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"there is no {name} in /proc/self/status: this needs Linux")


def child(name: str, load: Load) -> dict[str, Any]:
    """Run one case here."""
    case = {x.name: x for x in CASES}[name]
    jax.config.update("jax_enable_x64", case.float64)
    jax.block_until_ready(jnp.zeros(1) + 1)  # starts the backend
    before = held_mb("VmRSS")
    found = case.run(load)
    return {
        "what": case.what,
        "how": case.how,
        **found,
        "peak_mb": round(held_mb("VmHWM") - before, 1),
        "bound_mb": case.bound_mb,
        "float": "float64" if case.float64 else "float32",
    }


def spawned(name: str, load: Load) -> dict[str, Any]:
    """Run one case in a process of its own. Raises a `RuntimeError` if it fails."""
    code = "from experiments.benchmark.load import _main_of_child; _main_of_child()"
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps({"name": name, "load": dataclasses.asdict(load)}),
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _main_of_child() -> None:
    given = json.load(sys.stdin)
    print(json.dumps(child(given["name"], Load(**given["load"]))))


def failures(row: dict[str, Any]) -> list[str]:
    """What a row breaks of what was promised."""
    name, found = f"{row['what']}, {row['how']}", []
    if row["peak_mb"] > row["bound_mb"]:
        found.append(f"{name}: {row['peak_mb']} MB, more than {row['bound_mb']}")
    if row["slowdown"] is not None and row["slowdown"] > LARGEST_SLOWDOWN:
        found.append(
            f"{name}: its end takes {row['slowdown']} times as long as its start"
        )
    if row["spikes"] == 0:
        found.append(f"{name}: no spike")
    return found


def rows(load: Load) -> Iterator[dict[str, Any]]:
    """A row for each case. Raises a `ValueError` for a name that there is not."""
    known = [x.name for x in CASES]
    for name in load.only:
        if name not in known:
            raise ValueError(f"There is no case {name!r}; there are {known}.")
    for name in load.only or known:
        yield spawned(name, load)


def table(found: list[dict[str, Any]]) -> Table:
    out = Table(title="load")
    for name in ("what", "how", "events", "spikes", "s", "slowdown", "MB", "bound MB"):
        out.add_column(name, justify="left" if name in ("what", "how") else "right")
    for row in found:
        slower = "-" if row["slowdown"] is None else f"{row['slowdown']:.2f}"
        figures = f"{row['events']:,}", f"{row['spikes']:,}", f"{row['seconds']:.1f}"
        memory = f"{row['peak_mb']:.0f}", f"{row['bound_mb']}"
        out.add_row(row["what"], row["how"], *figures, slower, *memory)
    return out


def main(load: Load) -> int:
    """Returns the exit code: 1 if a promise is broken, and then nothing is stored."""
    found = []
    for row in rows(load):
        print(json.dumps(row), flush=True)
        found.append(row)
    Console(stderr=True).print(table(found))
    broken = [x for row in found for x in failures(row)]
    for line in broken:
        print(line, file=sys.stderr)
    if load.store and not broken:
        print(f"stored in {_measure.store('load', load, found)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Load, description=__doc__)))
