"""What a paper's folder says about itself."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


Record = dict[str, Any]  # what a run has left behind, see `_store`


@dataclasses.dataclass(frozen=True)
class Where:
    """Where a run takes place.

    - `folder`: for its checkpoints, log and pictures. What an interrupted run has left
        there lets it go on.
    - `data_dir`, `prepared_dir`: as for `eventjax.data.load_events`.
    - `progress`: whether to show a progress bar.
    - `smoke`: whether this is a trial of the whole path on made-up data.
    """

    folder: Path
    data_dir: Path | None = None
    prepared_dir: Path | None = None
    progress: bool = True
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    - `group`: which setting of the row, empty if it has only one.
    - `replicate`: what is repeated to get a mean and a deviation, such as `"seed0"`.
    - `config`: all settings, a frozen dataclass with a field `seed`.
    - `pictures`: names of pictures in the run's folder that are kept beside its result.
    """

    group: str
    replicate: str
    config: Any
    pictures: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.group}/{self.replicate}" if self.group else self.replicate


def for_seeds(settings: Mapping[str, Any], seeds: int) -> list[Job]:
    """A run of each setting, by group, with each of the first seeds."""
    return [
        Job(group, f"seed{k}", dataclasses.replace(config, seed=k))
        for group, config in settings.items()
        for k in range(seeds)
    ]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a paper's table, or a family of settings that belong together.

    - `name`, `title`: the title is one line.
    - `jobs`: all runs for a number of seeds. A row whose replicates are no seeds raises a
        `ValueError` for any number but `seeds`.
    - `train`: does a run and returns its record, which has a dictionary `"metrics"` with
        the metrics that `targets.toml` names.
    - `smoke`: a few tiny runs; it is given a folder for made-up data, which becomes their
        `data_dir`.
    - `seeds`: how many by default.
    - `needs`: what the row cannot do without, in words; `None` if nothing.
    - `details`: Markdown for RESULTS.md from the records by group and replicate.
    - `draw`: pictures from the row's folder of results, which it is given.
    - `found`: of a row that takes whichever data there are, the name of those that are
        there now, `None` if there are none. A result whose `"dataset"` is another is not
        that of the run, which is done again.
    """

    name: str
    title: str
    jobs: Callable[[int], Sequence[Job]]
    train: Callable[[Any, Where], Record]
    smoke: Callable[[Path], Sequence[Job]]
    seeds: int
    needs: str | None = None
    details: Callable[[Mapping[str, Mapping[str, Record]]], str] | None = None
    draw: Callable[[Path], None] | None = None
    found: Callable[[Where], str | None] | None = None


@dataclasses.dataclass(frozen=True)
class Paper:
    """A folder of this package.

    - `name`: of the folder.
    - `title`: what the paper is called, with its reference.
    - `rows`: in the order of the report.
    - `folder`: where `targets.toml`, `results/` and RESULTS.md are, and, if there is more
        to be said of the paper's claims than figures, `claims.md`.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    folder: Path

    @property
    def claims(self) -> str:
        """Markdown for RESULTS.md, or nothing."""
        path = self.folder / "claims.md"
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""
