"""Pictures of stored runs: a dot for each seed, a line for their mean."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._row import Record


Panels = Mapping[str, tuple[str, Sequence[str]]]


def draw_panels(folder: Path, panels: Panels, name: str) -> None:
    """A panel for each title, of what a path of keys leads to in each record's `"test"`.

    **Arguments:**

    - `folder`: of a row's results.
    - `panels`: by title, keys joined by dots, and the groups, from left to right. Groups
        without a stored run have an empty place.
    - `name`: of the picture.
    """
    if not any(folder.glob("*/*.json")):
        return
    width = sum(1.2 + 0.45 * len(groups) for _, groups in panels.values())
    figure = Figure(figsize=(width, 2.8), dpi=150, layout="constrained")
    ratios = [1.2 + 0.45 * len(groups) for _, groups in panels.values()]
    parts = figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)[0]
    for axes, (title, (path, groups)) in zip(parts, panels.items(), strict=True):
        _panel(axes, folder, path, groups)
        axes.set_title(title, loc="left", fontsize="medium")
    figure.savefig(folder / name)


def _panel(axes: Axes, folder: Path, path: str, groups: Sequence[str]) -> None:
    for place, group in enumerate(groups):
        found = [_at(record, path) for record in _records(folder / group)]
        if found:
            axes.plot(
                [place] * len(found), found, "o", color="#0072B2", alpha=0.5, ms=4
            )
            axes.hlines(np.mean(found), place - 0.3, place + 0.3, color="#D55E00")
    shared = len(os.path.commonprefix(list(groups))) if len(groups) > 1 else 0
    names = [x[shared:].replace("_", " ") for x in groups]
    axes.set_xticks(range(len(groups)), names, rotation=45, ha="right")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _records(folder: Path) -> list[Record]:
    return [
        json.loads(x.read_text(encoding="utf-8")) for x in folder.glob("seed*.json")
    ]


def _at(record: Record, path: str) -> float:
    found: Any = record["test"]
    for key in path.split("."):
        found = found[key]
    return float(found)
