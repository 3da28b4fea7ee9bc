"""How a time, a compile time and a memory figure are taken, the same for everybody.

Method: the function is traced, lowered and compiled once, on the clock (`compile_s`).
The compiled program is called a few times to warm up, then `repeats` times, each time
waiting for its result; the median wall-clock time is what counts, and the process's
CPU time over the same calls is reported beside it, because a busy machine lengthens
the first and not the second. Memory is the compiled program's temporary bytes: in one
jitted value-and-gradient what the backward pass keeps lies inside them.

Depends on JAX, NumPy and the standard library only: it runs in every environment.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """What [`measure`][] saw; times per call, `memory_mb` in units of 10^6 bytes."""

    wall_ms: float
    fastest_ms: float
    cpu_ms: float
    compile_s: float
    memory_mb: float


def measure(function: Callable, *args, seconds: float = 5.0) -> tuple[Timing, Any]:
    """Compile `function` and time it on `args`.

    **Arguments:**

    - `function`: a pure function of arrays; it is jitted here.
    - `seconds`: about how long to go on timing; between 3 and 200 calls count.

    **Returns:** the [`Timing`][] and the function's result.
    """
    before = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_s = time.perf_counter() - before

    def once():
        wall, cpu = time.perf_counter(), time.process_time()
        out = jax.block_until_ready(compiled(*args))
        return out, time.perf_counter() - wall, time.process_time() - cpu

    _, first, _ = once()
    warm_up = 1 if first > 1 else 5
    out, estimate, _ = min((once() for _ in range(warm_up)), key=lambda x: x[1])
    repeats = int(np.clip(seconds / estimate, 3, 200))
    runs = [once()[1:] for _ in range(repeats)]
    walls, cpus = zip(*runs, strict=True)
    memory = compiled.memory_analysis()
    return Timing(
        wall_ms=1e3 * statistics.median(walls),
        fastest_ms=1e3 * min(walls),
        cpu_ms=1e3 * statistics.fmean(cpus),
        compile_s=compile_s,
        memory_mb=memory.temp_size_in_bytes / 1e6 if memory is not None else np.nan,
    ), out


def median_error(times, expected) -> float:
    """Median distance in ms between spike times, where both are finite."""
    times, expected = np.asarray(times), np.asarray(expected)
    both = np.isfinite(times) & np.isfinite(expected)
    return float(np.median(np.abs(times - expected)[both])) if both.any() else np.nan


def spike_errors(times, expected) -> dict[str, float]:
    """Distances in ms between the spike times of each neuron, `[..., spikes]`, in order
    and filled up with `inf`, where both have a spike; and the share of spikes of which
    there are too many or too few."""
    times, expected = np.asarray(times), np.asarray(expected)
    counts = [np.isfinite(x).sum(axis=-1) for x in (times, expected)]
    width = min(times.shape[-1], expected.shape[-1])
    times, expected = times[..., :width], expected[..., :width]
    both = np.isfinite(times) & np.isfinite(expected)
    errors = np.abs(times[both] - expected[both])
    return {
        "spike_error_ms": float(np.median(errors)),
        "largest_spike_error_ms": float(errors.max()),
        "wrong_spikes": float(np.abs(counts[0] - counts[1]).sum() / counts[1].sum()),
    }


def row(
    library: str, spec, forward: Timing, gradient: Timing, grads: list, **extra
) -> dict:
    """One measurement in the form in which it is printed and stored.

    `grads` are the gradients by the hidden and the output weights, of which the norms
    are kept. If one is not finite the time taken means nothing, and the row says so.
    """
    norms = [float(np.linalg.norm(np.asarray(x))) for x in grads]
    if not np.isfinite(norms).all():
        extra |= {"note": "failed: the gradient is not finite", "failed": True}
        norms = None
    return {
        "library": library,
        "workload": type(spec).__name__,
        "batch": spec.batch,
        "fwd_ms": round(forward.wall_ms, 3),
        "grad_ms": round(gradient.wall_ms, 3),
        "compile_s": round(gradient.compile_s, 2),
        "peak_mb": round(gradient.memory_mb, 3),
        "spikes": None,
        "cpu_ms": round(gradient.cpu_ms, 3),
        "fwd_cpu_ms": round(forward.cpu_ms, 3),
        "grad_fastest_ms": round(gradient.fastest_ms, 3),
        "gradient_norms": norms,
    } | extra


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of `packages`, JAX and Python."""
    found = {}
    for name in (*packages, "jax", "jaxlib"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "run from its source"
    return found | {"python": platform.python_version()}


def machine() -> dict[str, str | int]:
    """Processor, cores this process may use and JAX's device; no host name."""
    model = platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
        model = names[0] if names else model
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 0
    return {"cpu": model, "cores": cores, "device": jax.devices()[0].device_kind}


def store(name: str, config: Any, rows: list[dict[str, Any]]) -> pathlib.Path:
    """Write measurements of ours beside the others, with everything needed to repeat
    them; `config` is a dataclass."""
    folder = pathlib.Path(__file__).resolve().parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{jax.default_backend()}.json"
    record = {
        "config": dataclasses.asdict(config),
        "rows": rows,
        "machine": machine(),
        "versions": versions("eventjax", "equinox"),
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def script(rows: Callable[[Any, dict], Iterable[dict]], load: Callable) -> None:
    """Body of a library's script: read the `.npz` on the command line, print rows.

    Each row goes to standard output as one JSON line as soon as it is there; logs of the
    libraries go to standard error.
    """
    spec, data = load(pathlib.Path(sys.argv[1]))
    for line in rows(spec, data):
        print(json.dumps(line | {"machine": machine()}), flush=True)
