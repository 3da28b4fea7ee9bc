"""The cases of `load.py`: input, networks, and how each is run."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej


INPUTS = 700
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
