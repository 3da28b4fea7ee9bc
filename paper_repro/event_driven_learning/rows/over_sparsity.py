"""Whether deep layers fall silent, under a falling threshold and under fixed ones.

First before any training: 8 and 16 layers of 512 neurons, Kaiming's weights, every input
firing once at a uniformly random time. Then what it costs: accuracy on MNIST after five
epochs on 10,000 pictures, with 2, 6 and 10 hidden layers of 256. Some 15 minutes on one
CPU core, most of them for networks without windows, which have to sort.

    python -m paper_repro run event_driven_learning/over_sparsity
    python -m paper_repro run event_driven_learning/over_sparsity/ramp_10_layers
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row, Where

from .._depth import IN_WORDS, kaiming_stack, layer_shares, THRESHOLDS, WINDOW
from .._draw_depth import draw
from .._trained_depth import train_depth, Trained


@dataclasses.dataclass(frozen=True)
class Untrained:
    """All settings of a measurement before training."""

    layers: int
    seed: int = 0
    width: int = 512
    batch: int = 32


FRESH = {f"{depth}_layers_untrained": Untrained(depth) for depth in (8, 16)}
TRAINED = {
    f"{threshold}_{depth}_layers": Trained(threshold, depth)
    for threshold in ("ramp", "fixed", "overlapping")
    for depth in (2, 6, 10)
}
_SHOWN = (1, 2, 4, 6, 8, 12, 16)  # of the layers, in tables


def jobs(seeds: int) -> list[Job]:
    return for_seeds({**FRESH, **TRAINED}, seeds)


def train(config: Untrained | Trained, where: Where) -> Record:
    if isinstance(config, Trained):
        return train_depth(config, where)
    return measure(config)


def measure(config: Untrained) -> Record:
    key = jr.fold_in(jr.key(config.seed), config.layers)
    weight_key, input_key = jr.split(key)
    sizes = [config.width] * (config.layers + 1)
    stack = kaiming_stack(sizes, weight_key)
    times = jr.uniform(input_key, (config.batch, config.width), maxval=WINDOW)
    spikes = ej.FirstSpikes(times, jnp.ones(times.shape, bool))
    shares = {name: layer_shares(stack, spikes, name) for name in THRESHOLDS}
    last = {name: layers[-1]["fires"] for name, layers in shares.items()}
    return {
        "metrics": {
            f"firing in the last layer %, {IN_WORDS[name]}": 100 * share
            for name, share in last.items()
        },
        "seed": config.seed,
        **ej.train.environment(),
        "shares": shares,
    }


def smoke(data: Path) -> Sequence[Job]:
    del data  # made up in memory
    tiny = {"width": 8, "batch": 8}
    fresh = dataclasses.replace(FRESH["8_layers_untrained"], **tiny)
    made = [Job("8_layers_untrained", "seed0", fresh)]
    for name in ("ramp_2_layers", "overlapping_2_layers"):
        config = dataclasses.replace(TRAINED[name], **tiny, epochs=1)
        made.append(Job(name, "seed0", config))
    return made


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """Tables by layer before training, and by depth after it."""
    out = []
    for group in FRESH:
        if group in records:
            out += _fresh(FRESH[group].layers, list(records[group].values()))
    trained = {
        group: list(x.values()) for group, x in records.items() if group in TRAINED
    }
    if trained:
        out += _trained(trained)
    out += ["![over-sparsity](results/over_sparsity/over_sparsity.png)"]
    return "\n".join(out)


def _fresh(depth: int, runs: list[Record]) -> list[str]:
    shown = [k for k in _SHOWN if k <= depth]
    out = [
        f"Before training, {depth} layers: firing neurons in per cent, and in brackets "
        f"those that do so as the window opens and learn nothing; means of {len(runs)} "
        "seeds:",
        "",
        f"| threshold | {' | '.join(f'layer {k}' for k in shown)} |",
        f"| --- | {' | '.join(['---'] * len(shown))} |",
    ]
    for name in THRESHOLDS:
        cells = []
        for k in shown:
            fires, saturated = (
                100 * _mean(runs, name, k, share) for share in ("fires", "saturated")
            )
            cells.append(f"{fires:.1f} ({saturated:.1f})")
        out.append(f"| {IN_WORDS[name]} | {' | '.join(cells)} |")
    out += [
        "",
        "99th percentile of the factor 1 / denominator in their gradients, in ms:",
        "",
        f"| threshold | {' | '.join(f'layer {k}' for k in shown)} |",
        f"| --- | {' | '.join(['---'] * len(shown))} |",
    ]
    for name in THRESHOLDS:
        cells = [_number(_mean(runs, name, k, "gain_99")) for k in shown]
        out.append(f"| {IN_WORDS[name]} | {' | '.join(cells)} |")
    return [*out, ""]


def _mean(runs: list[Record], threshold: str, layer: int, what: str) -> float:
    """NaN where no neuron of a layer is active in a run."""
    values = [run["shares"][threshold][layer - 1][what] for run in runs]
    return float(np.mean([np.nan if x is None else x for x in values]))


def _number(x: float) -> str:
    return "none active" if np.isnan(x) else f"{x:.3g}"


def _trained(records: Mapping[str, list[Record]]) -> list[str]:
    out = [
        "MNIST after training: accuracy on the test set (mean ± standard deviation, number "
        "of seeds), steps that were not applied because a gradient was not finite, and, in "
        "per cent, which neurons of the first and of the last hidden layer fire on the "
        "first 500 test pictures; with the largest of all hidden layers' 99th percentiles "
        "of 1 / denominator, in ms:",
        "",
        "| threshold | hidden layers | test accuracy % | steps skipped % | fire in the "
        "first | in the last | 1 / denominator |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group, runs in records.items():
        config = TRAINED[group]
        accuracy = [run["metrics"]["test accuracy %"] for run in runs]
        spread = f" ± {np.std(accuracy, ddof=1):.2f}" if len(runs) > 1 else ""
        skipped = np.mean([run["metrics"]["steps skipped %"] for run in runs])
        fires = [
            100 * np.mean([run["shares"][k]["fires"] for run in runs]) for k in (0, -1)
        ]
        gains = [[x["gain_99"] or 0.0 for x in run["shares"]] for run in runs]
        out.append(
            f"| {IN_WORDS[config.threshold]} | {config.layers} | "
            f"{np.mean(accuracy):.2f}{spread} ({len(runs)}) | {skipped:.1f} | "
            f"{fires[0]:.1f} | {fires[1]:.1f} | {np.mean(np.max(gains, axis=1)):.3g} |"
        )
    return [*out, ""]


ROW = Row(
    name="over_sparsity",
    title="do deep layers fall silent: a ramp against fixed thresholds",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=3,
    needs="MNIST in <data>/mnist",
    details=details,
    draw=draw,
)
