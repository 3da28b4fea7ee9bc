"""Tables of README.md that show what was tried to break."""

import json
from pathlib import Path

from ._tables import markdown, stored


def interruptions(path: Path) -> str:
    """How runs went on that were killed."""
    record = json.loads(path.read_text())
    killed = record["killed"]
    row = [
        str(sum(killed.values())),
        str(killed["step"]),
        str(killed["write"]),
        str(killed["removal"]),
        str(record["runs"]),
        ", ".join(record["differences"]) or "none",
    ]
    header = ["kills", "in a step", "in a write", "in a removal", "runs", "differences"]
    return markdown(header, [row]) + stored(path, record)


def interchange(path: Path) -> str:
    """Spikes of the same NIR files in eventjax, exactly, and in spyx on a fine grid."""
    record = json.loads(path.read_text())
    finest = min(row["dt"] for row in record["rows"])
    rows = []
    for row in record["rows"]:
        if row["dt"] != finest:
            continue
        for number, layer in enumerate(row["layers"], start=1):
            exact = layer["exact"]
            rows.append(
                [
                    row["kind"],
                    str(number),
                    str(exact["ours"]),
                    str(exact["theirs"]),
                    str(exact["matched"]),
                    f"{exact['median_difference_ms']:.3f}",
                    f"{exact['largest_difference_ms']:.2f}",
                ]
            )
    header = ["neurons", "layer", "ours", "spyx", "matched", "median ms", "largest ms"]
    return (
        markdown(header, rows)
        + f"\n\nspyx in steps of 1/{1 / finest:.0f} ms."
        + stored(path, record)
    )


def fuzz(path: Path) -> str:
    """What the solvers were given, and what came of it."""
    record = json.loads(path.read_text())
    row = [f"{record[name]:,}" for name in ("networks", "patterns", "spikes", "runs")]
    row += [str(len(record["passed"])), ", ".join(record["failed"]) or "none"]
    header = ["networks", "patterns", "spikes", "simulations", "properties", "failed"]
    return markdown(header, [row]) + stored(path, record)
