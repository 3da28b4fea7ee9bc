"""Tables of README.md that show what was measured of speed and memory."""

import json
import os
from pathlib import Path

from ._tables import markdown, ROOT, stored


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _error(row: dict) -> str:
    """How far typical spikes are from where they should be, where that was measured."""
    value = row.get("spike_error_ms", row.get("first_spike_error_ms"))
    return "-" if value is None else f"{value:.0e}"


def workload(path: Path, memory: bool = False) -> str:
    """Measured times of one workload in each library, and the memory of a gradient step."""
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
    return markdown([*header, "hidden spikes", "error ms"], rows) + stored(path, head)


def with_memory(path: Path) -> str:
    return workload(path, memory=True)


def delays(path: Path) -> str:
    """What each kind of delay costs on W1."""
    rows = [
        [row["delays"], f"{row['grad_fastest_ms']:.1f}", f"{row['ratio']:.2f}"]
        for row in json.loads(path.read_text())["rows"]
    ]
    return markdown(["delays", "gradient ms, fastest", "times axonal"], rows)


def _ends(values: list[float]) -> str:
    return " to ".join(f"{x:.1f}" if x < 100 else f"{x:.0f}" for x in values)


def scaling(path: Path) -> str:
    """How the time and the memory of a gradient step grow on W2."""
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
    plot = os.path.relpath(path.with_suffix(".png"), ROOT)
    return (
        markdown([*header, "MB", "exponent"], rows)
        + f"\n\n![the same as a plot]({plot})"
        + stored(path, record)
    )


def pictures(path: Path) -> str:
    """What a training step on pictures costs."""
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
    return markdown(
        ["", "how", "forward ms", "gradient ms", "times", "MB"], rows
    ) + stored(path, record)


def eprop(path: Path) -> str:
    """What a gradient step of e-prop costs."""
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
    return markdown(header, rows) + stored(path, record)


def graded(path: Path) -> str:
    """What a gradient step of layers with graded spikes costs."""
    record = json.loads(path.read_text())
    rows = [
        [x["who"], f"{x['grad_ms']:.0f}", f"{x['ratio']:.2f}", f"{x['peak_mb']:.0f}"]
        for x in record["rows"]
    ]
    return markdown(["", "ms", "times, of CPU", "MB"], rows) + stored(path, record)


def devices(path: Path) -> str:
    """What dividing a gradient step between devices of one CPU gives."""
    record = json.loads(path.read_text())
    first = record["rows"][0]
    rows = [
        [
            str(row["devices"]),
            f"{row['step_ms']:.0f}",
            f"{first['step_ms'] / row['step_ms']:.2f}",
            f"{row['cpu_ms']:.0f}",
            f"{row['gradient_difference']:.0e}",
        ]
        for row in record["rows"]
    ]
    header = ["devices", "step ms", "times faster", "CPU ms", "gradients differ by"]
    return (
        markdown(header, rows)
        + "\n\nThese devices are virtual and share the cores: more of them than cores "
        + "cannot be faster, and show what dividing costs. Gradients are compared with "
        + f"those of {first['devices']} device, in units of the largest one."
        + stored(path, record)
    )


def load(path: Path) -> str:
    """What large runs need."""
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
    return markdown(header, rows) + stored(path, record)
