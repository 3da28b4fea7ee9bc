"""The figures of a paper, from its `targets.toml`."""

import dataclasses
import tomllib

from ._row import Paper


@dataclasses.dataclass(frozen=True)
class Target:
    """One figure that a paper reports.

    - `row`, `group`: what it belongs to. Without a group it is that of all groups.
    - `metric`: its name, with the unit.
    - `mean`, `std`, `seeds`: what the paper reports. What is UNCONFIRMED is left out, and
        `note` says so.
    - `source`: where it stands.
    - `tolerance`: a difference that counts as none, in the unit of the metric.
    - `note`: what one should know about it.
    """

    row: str
    metric: str
    source: str
    group: str = ""
    mean: float | None = None
    std: float | None = None
    seeds: int | None = None
    tolerance: float = 0.0
    note: str = ""


def targets_of(paper: Paper) -> list[Target]:
    """All targets of a paper, in the order of its rows.

    **Raises:** `ValueError` for an entry that lacks a key, has one that is unknown, names
    a row or group that does not exist or is there twice, and for a row without targets.
    """
    path = paper.folder / "targets.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["target"]
    rows = {row.name: row for row in paper.rows}
    groups = {
        name: {job.group for job in row.jobs(row.seeds)} for name, row in rows.items()
    }
    out: dict[tuple[str, str, str], Target] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}, target {number}"
        try:
            target = Target(**entry)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from error
        if target.row not in rows:
            raise ValueError(f"{where}: there is no row {target.row!r}.")
        if target.group and target.group not in groups[target.row]:
            raise ValueError(f"{where}: {target.row} has no group {target.group!r}.")
        if target.mean is None and not target.note:
            raise ValueError(f"{where}: without a `mean` a `note` must say why.")
        key = (target.row, target.group, target.metric)
        if key in out:
            raise ValueError(f"{where}: there are two of {key}.")
        out[key] = target
    without = [name for name in rows if not any(key[0] == name for key in out)]
    if without:
        raise ValueError(f"{path}: there is no target of {', '.join(without)}.")
    order = list(rows)
    return sorted(out.values(), key=lambda target: order.index(target.row))
