"""How often a gradient of a spike time has the wrong sign, for four kinds of neurons.

To delay an excitatory input should delay the spike, to delay an inhibitory one should
advance it, and more weight of either should advance it. Where the postsynaptic potential
rises and falls again this does not hold: an input whose potential falls already has less
left of it at the spike, so that to delay it makes the spike earlier.

- *ramp*: `RampIF` under a falling threshold with `STDED`, for which there is a proof;
- *rel_psp*: the same kernel at a fixed threshold, without windows (STDBP);
- *double_exponential*: `LIF` with exact gradients, `tau_mem` 7 and `tau_syn` 4 ms;
- *surrogate*: the same on a grid of 0.5 ms with surrogate gradients. What they are the
  gradient of is said in `on_a_grid`, and what by input times means in `slopes_on_grid`.

2000 neurons for each seed, with 100 inputs at uniformly random times within 20 ms and
normal weights of mean 0, of which those that spike are looked at; derivatives of zero,
of inputs after the spike, do not count. A minute on one CPU core.

    python -m paper_repro run event_driven_learning/gradient_reversal
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import eventjax as ej
from paper_repro._row import for_seeds, Job, Record, Row, Where

from .._draw_reversal import draw, IN_WORDS
from .._slopes import random_neurons, Slopes, slopes
from .._spike_time import TAU_MEM, TAU_SYN


BY_TIME = "reversed by input times %"
BY_WEIGHT = "reversed by weights %"
UNLIKE_EXACT = "unlike the exact gradient, by input times %"


@dataclasses.dataclass(frozen=True)
class Neurons:
    """All settings of a measurement."""

    kernel: str  # one of `_slopes.KERNELS`
    spread: float  # standard deviation of weights
    seed: int = 0
    neurons: int = 2000
    inputs: int = 100
    span: float = 20.0  # ms in which inputs fire


KAIMING = 0.02**0.5  # for 100 inputs
SETTINGS = {
    "ramp": Neurons("ramp", KAIMING),
    "rel_psp": Neurons("rel_psp", KAIMING),
    # So that, as of the others, about half of the neurons spike.
    "double_exponential": Neurons("double_exponential", 0.6),
    "surrogate": Neurons("surrogate", 0.6),
}


def jobs(seeds: int) -> list[Job]:
    return for_seeds(SETTINGS, seeds)


def train(config: Neurons, where: Where) -> Record:
    del where
    # A derivative close to zero must not get its sign from rounding.
    with jax.enable_x64(True):
        found = _measure(config)
    return {**found, "seed": config.seed, **ej.train.environment()}


def _measure(config: Neurons) -> Record:
    weights, times = random_neurons(
        config.neurons, config.inputs, config.span, config.spread, jr.key(config.seed)
    )
    found = slopes(config.kernel, weights, times, config.span)
    metrics, counts = reversals(found, np.asarray(weights))
    if config.kernel == "surrogate":
        exact = slopes("double_exponential", weights, times, config.span)
        metrics[UNLIKE_EXACT] = unlike(found.by_time, exact.by_time)
    record: dict[str, Any] = {"metrics": metrics, **counts}
    if config.kernel in EXAMPLES:
        record["example"] = example(config.kernel)
    return record


def reversals(found: Slopes, weights: np.ndarray) -> tuple[dict, dict]:
    """Shares of reversed signs in per cent among all derivatives that are not zero, and
    how many those are. **Raises:** `ValueError` if a derivative is not finite."""
    by_time, by_weight = np.asarray(found.by_time), np.asarray(found.by_weight)
    if not (np.isfinite(by_time).all() and np.isfinite(by_weight).all()):
        raise ValueError(
            "A derivative of a spike time is not finite: either a neuron just touches its "
            "threshold, or it spikes more often than there are places for."
        )
    moved, weighed = by_time != 0, by_weight != 0
    wrong = np.sign(by_time) != np.sign(weights)
    metrics = {
        BY_TIME: _per_cent(wrong[moved]),
        BY_WEIGHT: _per_cent(by_weight[weighed] > 0),
    }
    counts = {
        "spiking %": _per_cent(np.asarray(found.spikes)),
        "signs by input times": int(moved.sum()),
        "signs by weights": int(weighed.sum()),
        "largest |dt/dt_in|, 99th percentile": float(
            np.percentile(np.abs(by_time[moved]), 99)
        ),
    }
    return metrics, counts


def unlike(one: Any, two: Any) -> float:
    """The share in per cent of signs that differ, where neither is zero."""
    signs = np.sign(np.asarray(one)), np.sign(np.asarray(two))
    both = (signs[0] != 0) & (signs[1] != 0)
    return _per_cent((signs[0] != signs[1])[both])


def _per_cent(which: np.ndarray) -> float:
    if not which.size:
        raise ValueError("No neuron spikes: there is no share of anything.")
    return 100 * float(np.mean(which))


# Two excitatory inputs: the first is delayed, the second comes at 20 ms. For each
# kernel a scale of weights, and the time in which a weight of 1 raises the voltage by 1.
_SECOND = 20.0
EXAMPLES = {
    # `LIF` adds a weight to its current, whose time constant makes it TAU_SYN / TAU_MEM of
    # one in TAU_MEM / (TAU_MEM - TAU_SYN) (exp(-t / TAU_MEM) - exp(-t / TAU_SYN)).
    "double_exponential": (TAU_MEM / TAU_SYN, 20.0),
    "rel_psp": (1.0, 40.0),
    "ramp": (0.5, 20.0),
}


def example(kernel: str) -> dict[str, list[float]]:
    """When a neuron spikes that has inputs of weights 1.5 and 3.0, in ms, for each time of
    the first, and its derivative by that time."""
    scale, span = EXAMPLES[kernel]
    first = jnp.linspace(0.0, 10.0, 41)
    times = jnp.stack([first, jnp.full_like(first, _SECOND)], axis=-1)
    weights = jnp.broadcast_to(scale * jnp.asarray([1.5, 3.0]), times.shape)
    found = slopes(kernel, weights, times, span)
    return {
        "first": first.tolist(),
        "out": found.time.tolist(),
        "slope": found.by_time[:, 0].tolist(),
    }


def smoke(data: Path) -> Sequence[Job]:
    del data  # drawn at random
    tiny = dict(neurons=20, inputs=10)
    return [
        Job(name, "seed0", dataclasses.replace(SETTINGS[name], **tiny))
        for name in ("ramp", "surrogate")
    ]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """Shares of reversed signs for each kernel."""
    out = [
        "Derivatives of the first spike time with a sign against that of the weight (by "
        "input times) or above zero (by weights), in per cent of all that are not zero:",
        "",
        "| neuron | by input times | by weights | neurons that spike % | signs looked at | "
        "99th percentile of abs(dt/dt_in) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for group, runs in records.items():
        runs = list(runs.values())
        mean = lambda get: float(np.mean([get(run) for run in runs]))
        signs = sum(run["signs by input times"] for run in runs)
        cells = [
            f"{mean(lambda run: run['metrics'][BY_TIME]):.2f}",
            f"{mean(lambda run: run['metrics'][BY_WEIGHT]):.2f}",
            f"{mean(lambda run: run['spiking %']):.1f}",
            f"{signs:,}",
            f"{mean(lambda run: run['largest |dt/dt_in|, 99th percentile']):.3g}",
        ]
        out.append(f"| {IN_WORDS[group]} | {' | '.join(cells)} |")
    out.append("")
    if "surrogate" in records:
        values = [x["metrics"][UNLIKE_EXACT] for x in records["surrogate"].values()]
        out += [
            f"{np.mean(values):.1f} % of the surrogate's signs by input times are not "
            "those of the exact gradient of the same neurons.",
            "",
        ]
    out += ["![gradient reversal](results/gradient_reversal/gradient_reversal.png)"]
    return "\n".join(out)


ROW = Row(
    name="gradient_reversal",
    title="signs of gradients that are reversed, for four kernels",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=5,
    details=details,
    draw=draw,
)
