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
CPU time.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import eventjax as ej
from experiments.benchmark import _measure


INPUTS = 700
LARGEST_SLOWDOWN = 1.3
SHORT = 5.0  # s: a course of pieces that is run some times over


@dataclasses.dataclass(frozen=True)
class Load:
    """Run each case in a process of its own."""

    events: int = 10_000_000
    duration: float = 100_000.0
    """In ms."""
    neurons: int = 10_000
    few: int = 256
    """Neurons where these are not what there is much of."""
    piece: float = 1000.0
    """How much time is run at once where it is run in pieces, in ms."""
    only: tuple[str, ...] = ()
    """Names of cases; all if there is none."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


@dataclasses.dataclass(frozen=True)
class Case:
    """`bound_mb` is in units of 10^6 bytes, `run` takes a `Load`."""

    what: str
    how: str
    bound_mb: int
    run: Callable[[Load], dict[str, Any]]
    float64: bool = False

    @property
    def name(self) -> str:
        return f"{self.what}, {self.how}"


# Input and networks


def piece_of_input(k: int, events: int, duration: float) -> tuple[np.ndarray, ...]:
    """Times in ms, all before `duration`, and sources: the same whoever asks."""
    rng = np.random.default_rng(k)
    times = np.sort(rng.random(events, np.float32)) * np.float32(0.999 * duration)
    return times, rng.integers(0, INPUTS, events, np.int32)


def all_input(pieces: int, events: int, duration: float) -> ej.Spikes:
    """All pieces after one another, in float64."""
    times = np.empty(pieces * events)
    sources = np.empty(pieces * events, np.int32)
    for k in range(pieces):
        here = slice(k * events, (k + 1) * events)
        one, sources[here] = piece_of_input(k, events, duration)
        times[here] = one.astype(np.float64) + k * duration
    return ej.Spikes(jnp.asarray(times), jnp.asarray(sources))


def make_network(
    neurons: int, capacity: int, per_ms: float, recurrent: bool = False
) -> ej.Network:
    """Neurons whose voltage is 0.7 on average, and fluctuates: they fire at some Hz."""
    k1, k2 = jr.split(jr.key(0))
    mean = 0.7 / (5.0 * per_ms)
    dense = ej.Dense(
        INPUTS, neurons, mean=mean, std=0.16 * per_ms**-0.5, dtype=jnp.float32, key=k1
    )
    back = None
    if recurrent:
        std = 0.1 * neurons**-0.5
        back = ej.Dense(neurons, neurons, mean=0.0, std=std, dtype=jnp.float32, key=k2)
        back = ej.AxonalDelay(back, jnp.full(neurons, 1.5))
    neuron = ej.LIF(neurons, tau_mem=20.0, tau_syn=5.0)
    return ej.Network([ej.Layer(dense, neuron, back, capacity=capacity)])


# Cases


def in_pieces(load: Load, duration: float, per_ms: float) -> dict[str, Any]:
    pieces, events = round(duration / load.piece), round(load.piece * per_ms)
    network = make_network(load.few, _room(load.few, load.piece), per_ms)

    @jax.jit
    def run(network, times, sources, state):
        spikes = ej.Spikes(times, sources)
        sol = ej.simulate(network, spikes, load.piece, state=state, throw=False)
        return sol.final_state, sol.num_spikes[0], sol.okay

    rest = network.layers[0].neuron.initial_state()
    state = (ej.LayerState(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), rest)),)
    given = piece_of_input(0, events, load.piece)
    # With places for spikes in flight, so that all pieces are runs of one program.
    start = _nothing(jax.eval_shape(run, network, *given, state)[0])
    compiled = run.lower(network, *given, start).compile()

    def course():
        """All pieces, one after the other: spikes, and times of each piece."""
        count, walls, cpus, state = 0, [], [], start
        for k in range(pieces):
            given = piece_of_input(k, events, load.piece)
            wall, cpu = time.perf_counter(), time.process_time()
            out = jax.block_until_ready(compiled(network, *given, state))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            state, spikes, okay = out
            _demand(okay, f"piece {k}")
            count += int(spikes)
        return count, walls, cpus

    count, walls, cpus = course()
    if sum(walls) < SHORT:  # pieces of milliseconds, which a moment's noise may double
        cpus = np.median([cpus, *(course()[2] for _ in range(8))], axis=0).tolist()
    tenth = max(1, pieces // 10)
    first, last = statistics.median(cpus[:tenth]), statistics.median(cpus[-tenth:])
    return {
        "events": pieces * events,
        "spikes": count,
        "seconds": round(sum(walls), 3),
        "cpu_s": round(sum(cpus), 3),
        "slowdown": round(last / first, 3),
    }


def _nothing(shapes: Any) -> Any:
    """A state at rest, with no spike in flight, from what has its shapes."""
    is_spikes = lambda x: isinstance(x, ej.Spikes)

    def make(x):
        if is_spikes(x):
            empty = jnp.full(x.times.shape, jnp.inf, x.times.dtype)
            return ej.Spikes(empty, jnp.zeros(x.sources.shape, x.sources.dtype))
        return jnp.zeros(x.shape, x.dtype)

    return jax.tree.map(make, shapes, is_leaf=is_spikes)


def in_one_call(
    load: Load, duration: float, per_ms: float, gradient: bool = False
) -> dict[str, Any]:
    pieces, events = round(duration / load.piece), round(load.piece * per_ms)
    network = make_network(load.few, _room(load.few, duration), per_ms)
    given = all_input(pieces, events, load.piece)
    return _run_once(network, given, pieces * load.piece, gradient)


def many_neurons(load: Load, recurrent: bool, gradient: bool) -> dict[str, Any]:
    duration, per_ms = 100.0, 10.0
    room = _room(load.neurons, duration)
    network = make_network(load.neurons, room, per_ms, recurrent)
    times, sources = piece_of_input(0, round(duration * per_ms), duration)
    given = ej.Spikes(jnp.asarray(times), jnp.asarray(sources))
    return _run_once(network, given, duration, gradient)


def _run_once(
    network: ej.Network, given: ej.Spikes, t1: float, gradient: bool
) -> dict[str, Any]:
    weights, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(weights, given):
        sol = ej.simulate(eqx.combine(weights, rest), given, t1, throw=False)
        times = sol.spikes[0].times
        value = jnp.sum(jnp.where(jnp.isfinite(times), times / t1, 0.0))
        return value, (sol.num_spikes[0], sol.okay)

    step = jax.value_and_grad(loss, has_aux=True) if gradient else loss
    compiled = jax.jit(step).lower(weights, given).compile()
    wall, cpu = time.perf_counter(), time.process_time()
    out = jax.block_until_ready(compiled(weights, given))
    (_, (spikes, okay)), grads = out if gradient else (out, None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    _demand(okay, "the run")
    finite = jax.tree.map(lambda x: jnp.isfinite(x).all(), grads)
    _demand(all(jax.tree.leaves(finite)), "the gradient")
    return {
        "events": given.capacity,
        "spikes": int(spikes),
        "seconds": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "slowdown": None,
    }


def _room(neurons: int, duration: float) -> int:
    """Places for 10 spikes per neuron and second, and some more."""
    return max(256, round(neurons * duration / 100))


def _demand(okay: Any, what: str) -> None:
    if not okay:
        raise RuntimeError(
            f"{what} did not end well: a buffer is full, or it is not finite"
        )


def _of_events(load: Load) -> tuple[float, float]:
    """How long, in ms, and how many events per ms."""
    return load.events / 10.0, 10.0


CASES = [
    Case(
        "events",
        "in pieces",
        900,
        lambda load: in_pieces(load, *_of_events(load)),
    ),
    Case(
        "events",
        "one call",
        1500,
        lambda load: in_one_call(load, *_of_events(load)),
        float64=True,
    ),
    Case(
        "duration",
        "in pieces",
        900,
        lambda load: in_pieces(load, load.duration, 1.0),
    ),
    Case(
        "duration",
        "one call",
        900,
        lambda load: in_one_call(load, load.duration, 1.0),
        float64=True,
    ),
    Case(
        "duration",
        "one call, gradient",
        1800,
        lambda load: in_one_call(load, load.duration, 1.0, gradient=True),
        float64=True,
    ),
    Case(
        "neurons",
        "feed-forward",
        900,
        lambda load: many_neurons(load, recurrent=False, gradient=False),
    ),
    Case(
        "neurons",
        "feed-forward, gradient",
        1800,
        lambda load: many_neurons(load, recurrent=False, gradient=True),
    ),
    Case(
        "neurons",
        "recurrent",
        1800,
        lambda load: many_neurons(load, recurrent=True, gradient=False),
    ),
]


# Processes


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
