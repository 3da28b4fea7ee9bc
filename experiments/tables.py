"""Writes the tables of README.md: what the library can do, and what was measured.

    python -m experiments.tables
    python -m experiments.tables --check

Each table stands between `<!-- NAME -->` and `<!-- end -->`. What the neurons can do is
asked of the neurons; figures are those of stored runs and measurements. With `--check`
nothing is written, and it is an error if something would be.
"""

import dataclasses
import functools as ft
import json
import re
import sys
from collections.abc import Callable

import jax
import tyro

import eventjax as ej

from . import _tables_of_speed as speed, _tables_of_trust as trust
from ._tables import markdown, MEASURED, RESULTS, ROOT
from .neurons import RECIPES


TRAINED = RESULTS / "neurons"


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


# The file that holds what a table shows, which has a place in README.md once it is there.
FROM_FILES = {
    "speed W1": (MEASURED / "W1-cpu.json", speed.workload),
    "speed W3": (MEASURED / "W3-cpu.json", speed.workload),
    "speed WD": (MEASURED / "WD-cpu.json", speed.workload),
    "speed W2": (MEASURED / "W2-cpu.json", speed.with_memory),
    "speed W2F": (MEASURED / "W2F-cpu.json", speed.with_memory),
    "delays": (MEASURED / "delays-W1-cpu.json", speed.delays),
    "scaling": (MEASURED / "scaling-W2-cpu.json", speed.scaling),
    "pictures": (MEASURED / "pictures-cpu.json", speed.pictures),
    "eprop": (MEASURED / "eprop-cpu.json", speed.eprop),
    "graded": (MEASURED / "graded-cpu.json", speed.graded),
    "devices": (MEASURED / "devices-cpu.json", speed.devices),
    "load": (MEASURED / "load-cpu.json", speed.load),
    "interruptions": (RESULTS / "interruptions.json", trust.interruptions),
    "interchange": (RESULTS / "nir/spyx.json", trust.interchange),
    "fuzz": (RESULTS / "fuzz/solvers.json", trust.fuzz),
}


def tables() -> dict[str, Callable[[], str]]:
    """All tables that README.md must have a place for."""
    made: dict[str, Callable[[], str]] = {"neurons": neurons}
    for name, (path, make) in FROM_FILES.items():
        if path.exists():
            made[name] = ft.partial(make, path)
    return made


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
