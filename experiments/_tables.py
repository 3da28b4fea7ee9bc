"""What tables of README.md are made of."""

import os
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "experiments/benchmark/results"
RESULTS = ROOT / "experiments/results"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stored(path: Path, record: dict[str, Any]) -> str:
    """Where the figures are, and what they were measured with."""
    machine, jax = record["machine"], record["versions"]["jax"]
    return (
        f"\n\n[Stored]({os.path.relpath(path, ROOT)}), on {machine['cores']} cores of "
        f"{machine['cpu']}, JAX {jax}."
    )
