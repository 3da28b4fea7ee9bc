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


def speed(workload: str) -> str:
    """Measured times of one workload in each library."""
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
                _number(row["spikes"], 1),
                _error(row),
            ]
        )
    header = ["library", "how", "forward ms", "gradient ms", "times ours", "compile s"]
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


TABLES = {
    "neurons": neurons,
    "speed W1": lambda: speed("W1"),
    "speed W3": lambda: speed("W3"),
    "speed WD": lambda: speed("WD"),
    "delays": delays,
}


def updated(text: str) -> str:
    """The text with its tables made anew. Raises a `ValueError` for one that is missing."""
    for name, make in TABLES.items():
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
