"""Writes the tables of README.md: what the library can do, and what was measured.

    python -m experiments.tables
    python -m experiments.tables --check

Each table stands between `<!-- NAME -->` and `<!-- end -->`. What the neurons can do is
asked of the neurons; figures are those of stored runs and measurements, and where there
are none the table says so. With `--check` nothing is written, and it is an error if
something would be.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import tyro

import eventjax as ej

from .neurons import RECIPES


ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "experiments/benchmark/results"
TRAINED = ROOT / "experiments/results/neurons"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _solvers(neuron: ej.AbstractNeuron) -> list[str]:
    fast = isinstance(neuron, (ej.LIF, ej.LeakyIntegrator))
    if not ej.has_closed_form(neuron):
        return ["no closed form", "yes", "Runge-Kutta steps"]
    return ["in chunks of events" if fast else "event by event", "yes", "exact steps"]


def neurons() -> str:
    """Every neuron, how each solver treats it, and how well it learnt Yin-Yang."""
    made = {"LeakyIntegrator": ej.LeakyIntegrator(1)}
    made |= {name: recipe.make(1) for name, recipe in RECIPES.items()}
    rows = []
    for name, neuron in made.items():
        path = TRAINED / name / "seed0.json"
        how = accuracy = ""
        if name in RECIPES and path.exists():
            solver = type(RECIPES[name].solver).__name__
            test = json.loads(path.read_text())["test"]["accuracy"]
            accuracy, how = f"{100 * test:.1f} %", f"`{solver}`"
        name = f"`{name}`" if name != "Refractory" else "`Refractory` of `LIF`"
        rows.append([name, *_solvers(neuron), accuracy, how])
    header = ["neuron", "`ClosedForm()`", "`DiffraxEvent()`", "`Clocked(dt)`"]
    return markdown([*header, "Yin-Yang test", "trained under"], rows)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _error(row: dict) -> str:
    """How far typical spikes are from where they should be, where that was measured."""
    value = row.get("spike_error_ms", row.get("first_spike_error_ms"))
    return "-" if value is None else f"{value:.0e}"


def speed(workload: str, memory: bool = False) -> str:
    """Measured times of one workload in each library, and the memory of a gradient step."""
    path = MEASURED / f"{workload}-cpu.json"
    if not path.exists():
        return (
            f"Not measured: run `python -m experiments.benchmark {workload} --store`."
        )
    record = json.loads(path.read_text())
    times = {row["library"]: row["grad_ms"] for row in record["rows"]}
    rows = []
    for row in record["rows"]:
        ours = times[row.get("beside", "eventjax")]
        grad = row["grad_ms"]
        name = row["library"]
        rows.append(
            [
                f"**{name}**" if name.startswith("eventjax") else name,
                row["note"],
                _number(row["fwd_ms"], 1),
                _number(grad, 1),
                "-" if grad is None else _ratio(grad / ours),
                _number(row["compile_s"], 1),
                *([_number(row["peak_mb"], 1)] if memory else []),
                _number(row["spikes"], 1),
                _error(row),
            ]
        )
    header = ["library", "how", "forward ms", "gradient ms", "times ours", "compile s"]
    header += ["MB"] if memory else []
    head = record["rows"][0]
    machine = f"{head['machine']['cores']} cores of {head['machine']['cpu']}"
    return (
        markdown([*header, "hidden spikes", "error ms"], rows)
        + f"\n\n[Stored](experiments/benchmark/results/{path.name}), on {machine}, JAX "
        + f"{head['versions']['jax']}."
    )


def delays() -> str:
    """What each kind of delay costs on W1."""
    path = MEASURED / "delays-W1-cpu.json"
    if not path.exists():
        return "Not measured: run `python -m experiments.benchmark.delays --store`."
    rows = [
        [row["delays"], f"{row['grad_fastest_ms']:.1f}", f"{row['ratio']:.2f}"]
        for row in json.loads(path.read_text())["rows"]
    ]
    return markdown(["delays", "gradient ms, fastest", "times axonal"], rows)


def _ends(values: list[float]) -> str:
    return " to ".join(f"{x:.1f}" if x < 100 else f"{x:.0f}" for x in values)


def scaling() -> str:
    """How the time and the memory of a gradient step grow on W2."""
    path = MEASURED / "scaling-W2-cpu.json"
    record = json.loads(path.read_text())
    what = {"spikes": "spikes per sample", "duration": "duration in s"}
    rows = []
    for line in record["summary"]:
        first, last = line["x"]
        rows.append(
            [
                what.get(line["series"], line["series"]),
                f"{first:.5g} to {last:.5g}",
                f"**{line['who']}**" if line["who"] == "eventjax" else line["who"],
                _ends(line["grad_ms"]),
                f"{line['grad_ms_exponent']:.2f}",
                _ends(line["peak_mb"]),
                f"{line['peak_mb_exponent']:.2f}",
            ]
        )
    header = ["what grows", "from, to", "how", "gradient ms", "exponent"]
    places = [f"experiments/benchmark/results/{path.stem}.{x}" for x in ("json", "png")]
    machine = record["machine"]
    return (
        markdown([*header, "MB", "exponent"], rows)
        + f"\n\n![the same as a plot]({places[1]})\n\n[Stored]({places[0]}), on "
        + f"{machine['cores']} cores of {machine['cpu']}, JAX {record['versions']['jax']}."
    )


def pictures() -> str:
    """What a training step on pictures costs."""
    path = MEASURED / "pictures-cpu.json"
    record = json.loads(path.read_text())
    beside = next(row for row in record["rows"] if row["form"] == "rectifiers")
    rows = [
        [
            row["form"],
            row["how"],
            f"{row['forward_ms']:.1f}",
            f"{row['grad_ms']:.1f}",
            f"{row['grad_ms'] / beside['grad_ms']:.1f}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in record["rows"]
    ]
    machine = record["machine"]
    return (
        markdown(["", "how", "forward ms", "gradient ms", "times", "MB"], rows)
        + f"\n\n[Stored](experiments/benchmark/results/{path.name}), on "
        + f"{machine['cores']} cores of {machine['cpu']}, JAX {record['versions']['jax']}."
    )


def eprop() -> str:
    """What a gradient step of e-prop costs."""
    path = MEASURED / "eprop-cpu.json"
    record = json.loads(path.read_text())
    found = {(x["what"], x["who"], x["batch"], x["steps"]): x for x in record["rows"]}
    steps = sorted({x["steps"] for x in record["rows"] if x["what"] == "memory"})
    long = record["config"]["steps"]
    rows = []
    for who in dict.fromkeys(x["who"] for x in record["rows"]):
        memory = [found["memory", who, 1, n]["layer_mb"] for n in steps]
        times = [found.get(("time", who, batch, long)) for batch in (1, 32)]
        rows.append(
            [who, *(f"{x:.1f}" for x in memory)]
            + ["-" if x is None else f"{x['grad_ms']:.0f}" for x in times]
        )
    header = ["", *(f"MB, {n} steps" for n in steps)]
    header += [f"ms, batch {batch}" for batch in (1, 32)]
    machine = record["machine"]
    return (
        markdown(header, rows)
        + f"\n\n[Stored](experiments/benchmark/results/{path.name}), on "
        + f"{machine['cores']} cores of {machine['cpu']}, JAX {record['versions']['jax']}."
    )


def graded() -> str:
    """What a gradient step of layers with graded spikes costs."""
    path = MEASURED / "graded-cpu.json"
    record = json.loads(path.read_text())
    rows = [
        [x["who"], f"{x['grad_ms']:.0f}", f"{x['ratio']:.2f}", f"{x['peak_mb']:.0f}"]
        for x in record["rows"]
    ]
    machine = record["machine"]
    return (
        markdown(["", "ms", "times, of CPU", "MB"], rows)
        + f"\n\n[Stored](experiments/benchmark/results/{path.name}), on "
        + f"{machine['cores']} cores of {machine['cpu']}, JAX {record['versions']['jax']}."
    )


def load() -> str:
    """What large runs need."""
    path = MEASURED / "load-cpu.json"
    record = json.loads(path.read_text())
    rows = [
        [
            x["what"],
            x["how"],
            f"{x['events']:,}",
            f"{x['spikes']:,}",
            f"{x['seconds']:.1f}",
            _number(x["slowdown"], 2),
            f"{x['peak_mb']:.0f}",
            f"{x['bound_mb']}",
        ]
        for x in record["rows"]
    ]
    header = ["much of", "how", "events", "spikes", "s", "end to start", "MB", "bound"]
    machine = record["machine"]
    return (
        markdown(header, rows)
        + f"\n\n[Stored](experiments/benchmark/results/{path.name}), on "
        + f"{machine['cores']} cores of {machine['cpu']}, JAX {record['versions']['jax']}."
    )


TABLES = {
    "neurons": neurons,
    "speed W1": lambda: speed("W1"),
    "speed W3": lambda: speed("W3"),
    "speed WD": lambda: speed("WD"),
    "delays": delays,
}
# These have a place in README.md once there is something to show: the file that holds it.
LATER = {
    "speed W2": ("W2-cpu", lambda: speed("W2", memory=True)),
    "speed W2F": ("W2F-cpu", lambda: speed("W2F", memory=True)),
    "scaling": ("scaling-W2-cpu", scaling),
    "pictures": ("pictures-cpu", pictures),
    "eprop": ("eprop-cpu", eprop),
    "graded": ("graded-cpu", graded),
    "load": ("load-cpu", load),
}


def tables() -> dict[str, Callable[[], str]]:
    """All tables that README.md must have a place for."""
    is_there = lambda file: (MEASURED / f"{file}.json").exists()
    later = {name: make for name, (file, make) in LATER.items() if is_there(file)}
    return TABLES | later


def updated(text: str) -> str:
    """The text with its tables made anew. Raises a `ValueError` for one that is missing."""
    for name, make in tables().items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        table = make()
        text, count = place.subn(lambda m, x=table: m[1] + x + "\n" + m[2], text)
        if count != 1:
            raise ValueError(
                f"README.md must have one place for the table of {name}, between "
                f"`<!-- {name} -->` and `<!-- end -->`, but has {count}."
            )
    return text


@dataclasses.dataclass(frozen=True)
class Config:
    check: bool = False  # only look whether README.md is as it should be


def main(config: Config) -> int:
    """Returns the exit code."""
    readme = ROOT / "README.md"
    old = readme.read_text()
    new = updated(old)
    if config.check and new != old:
        print("README.md is behind its tables: run `make tables`", file=sys.stderr)
        return 1
    if not config.check:
        readme.write_text(new)
    return 0


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    sys.exit(main(tyro.cli(Config, description=__doc__)))
