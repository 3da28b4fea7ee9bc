"""Multiplications, parameters and distance to the LSTM, from what the row timit stored.

    python -m paper_repro run improved_recurrence/timit --data-dir DATA
    python -m paper_repro run improved_recurrence/operations

Counts are set beside those of a GRU of the same size, all of whose values count. Once as
run, once for the sizes of the paper's networks with the shares of active values as run.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_repro._row import for_seeds, Job, Record, Row, Where

from .._train import METRIC
from ._tables import RESULTS, SEEDS


GAP = "accuracy points below the LSTM"
FEWER = "times fewer multiplications than the GRU"
SHARE = "parameters of the recurrent layers, share of the LSTM's"
GATES = {"conventional": 1, "v1": 2, "v2": 2}
# 40 features; 550 units are the code's, the number of states is UNCONFIRMED
PAPER = {"inputs": 40, "units": 550, "outputs": 1936}


@dataclasses.dataclass(frozen=True)
class Compared:
    """Which network is compared, and the commits of the runs that are read."""

    kind: str
    commits: tuple[str | None, ...] = ()
    seed: int = 0


def jobs(seeds: int) -> list[Job]:
    made = for_seeds({kind: Compared(kind) for kind in GATES}, seeds)
    return [dataclasses.replace(job, config=_with_commits(job.config)) for job in made]


def _file(kind: str, seed: int) -> Path:
    return RESULTS / "timit" / kind / f"seed{seed}.json"


def _with_commits(config: Compared) -> Compared:
    files = [_file(kind, config.seed) for kind in (config.kind, "lstm")]
    if not all(file.exists() for file in files):
        return config
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return dataclasses.replace(config, commits=tuple(x["commit"] for x in read))


def train(config: Compared, where: Where) -> Record:
    """Nothing is trained: it reads what runs have stored.

    **Raises:** `FileNotFoundError` if there are none.
    """
    runs = {
        kind: _made_up(kind) if where.smoke else _read(kind, config.seed)
        for kind in (config.kind, "lstm")
    }
    ours, lstm = runs[config.kind], runs["lstm"]
    units, layers = ours["config"]["units"], ours["config"]["layers"]
    dense = _gru(ours["sizes"]["inputs"], units, layers, ours["sizes"]["outputs"])
    counted = ours["test"]["multiplications"]
    scaled = at_size(config.kind, ours["test"]["active"], PAPER)
    large = _gru(PAPER["inputs"], PAPER["units"], layers, PAPER["outputs"])
    metrics = {
        GAP: lstm["metrics"][METRIC] - ours["metrics"][METRIC],
        FEWER: dense / counted["published"],
        f"{FEWER}, corrected": dense / counted["corrected"],
        f"{FEWER}, at the paper's size": large / scaled["published"],
        f"{FEWER}, at the paper's size, corrected": large / scaled["corrected"],
        SHARE: ours["parameters"]["matrices"] / lstm["parameters"]["matrices"],
    }
    about = {name: ours[name] for name in ("commit", "versions", "machine")}
    return {"metrics": metrics, "seed": config.seed, **about}


def _read(kind: str, seed: int) -> Record:
    path = _file(kind, seed)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no run of {kind} in {path}: do "
            f"`python -m paper_repro run improved_recurrence/timit/{kind}` first."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _made_up(kind: str) -> Record:
    return {
        "config": {"units": 4, "layers": 2},
        "sizes": {"inputs": 3, "outputs": 2},
        "metrics": {METRIC: 50.0},
        "parameters": {"matrices": 10},
        "test": {
            "multiplications": {"published": 50.0, "corrected": 40.0},
            "active": [0.5, 0.2, 0.2] if kind in GATES else [1.0, 1.0],
        },
        "commit": None,
        "versions": {},
        "machine": {},
    }


def _gru(inputs: int, units: int, layers: int, outputs: int) -> float:
    """Multiplications of a frame of a GRU without zeros."""
    into = 3 * units * (inputs + (layers - 1) * units)
    return into + layers * (3 * units**2 + 12 * units) + units * outputs


def at_size(
    kind: str, active: Sequence[float], sizes: Mapping[str, int]
) -> dict[str, float]:
    """Multiplications of a frame of a spiking network of these sizes, with these shares of
    values that are not zero, in the encoder and in each layer."""
    units, gates = sizes["units"], GATES[kind]
    counts = [active[0] * sizes["inputs"], *(units * share for share in active[1:])]
    published = corrected = counts[-1] * sizes["outputs"]
    for given, made in zip(counts, counts[1:]):
        both = units * (gates * given + (6 if kind == "conventional" else 8))
        published, corrected = published + both, corrected + both
        if kind != "conventional":  # both versions are charged alike, see the library
            published += gates * units * given
        if kind == "v2":
            corrected += gates * units * made
    return {"published": published, "corrected": corrected}


def smoke(data: Path) -> Sequence[Job]:
    del data  # see `_made_up`
    return [Job("v2", "seed0", Compared("v2"))]


ROW = Row(
    name="operations",
    title="multiplications, parameters, and distance to the LSTM",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=SEEDS,
    needs="stored results of the row timit (of LibriSpeech there are none)",
)
