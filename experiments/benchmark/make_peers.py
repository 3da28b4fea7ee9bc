"""Makes an environment for each library compared with: `make peers`.

The libraries cannot share one environment, with each other or with eventjax, so each
gets its own under `.peers/<name>`, with exact versions: those of the library, and the
newest JAX and helpers it was seen to work with. What is already made is left alone.
"""

import dataclasses
import pathlib
import shutil
import subprocess
import sys

import tyro


FOLDER = pathlib.Path(__file__).resolve().parents[2] / ".peers"

JAX = ("jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6", "scipy==1.17.1")
PINS = {
    "jaxsnn": (
        "jaxsnn==0.3.0",
        "networkx==3.6.1",
        "optax==0.2.8",
        "tree-math==0.2.1",
        *JAX,
    ),
    "eventax": (
        "eventax==0.1.0",
        "diffrax==0.7.2",
        "equinox==0.13.8",
        "lineax==0.1.1",
        "optimistix==0.1.0",
        *JAX,
    ),
    "spyx": ("spyx==1.0.0", "flax==0.12.8", "optax==0.2.8", *JAX),
}


@dataclasses.dataclass(frozen=True)
class Make:
    """Make the environments of the libraries that eventjax is compared with."""

    names: tyro.conf.Positional[tuple[str, ...]] = tuple(PINS)
    """Which libraries; all by default."""
    fresh: bool = False
    """Remove and make again what is there."""


def python(name: str) -> pathlib.Path:
    """The interpreter of a library's environment, whether or not it is there."""
    return FOLDER / name / "bin" / "python"


def is_made(name: str) -> bool:
    """Whether the environment is there, complete and of the versions wanted."""
    pins = FOLDER / name / "pins.txt"
    return pins.exists() and tuple(pins.read_text().split()) == PINS[name]


def make(name: str) -> None:
    """Make one environment from nothing; raises if the installation fails."""
    place = FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [str(python(name)), "-m", "pip", "install", *quiet, *PINS[name]]
    subprocess.run(command, check=True)
    subprocess.run([str(python(name)), "-c", f"import {name}"], check=True)
    (place / "pins.txt").write_text("\n".join(PINS[name]) + "\n")


def main(config: Make) -> None:
    """Make what is missing."""
    for name in config.names:
        if name not in PINS:
            raise SystemExit(f"`{name}` is not one of {', '.join(PINS)}.")
    for name in config.names:
        if is_made(name) and not config.fresh:
            print(f"{name}: there")
            continue
        print(f"{name}: installing {PINS[name][0]} ...", flush=True)
        make(name)


if __name__ == "__main__":
    main(tyro.cli(Make, description=__doc__))
