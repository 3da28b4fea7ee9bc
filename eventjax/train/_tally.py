import time
from typing import Any

import jax
import numpy as np

from ._step import Report


class Tally:
    """Sums over the steps of an epoch, kept on the host in double precision.

    **Arguments:**

    - `saturation`: a neuron is saturated that fires more often than this per sample.
    - `before`: what `so_far` said of the steps before these, if there were any.
    """

    def __init__(self, saturation: float, before: dict[str, Any] | None = None):
        before = before or {}
        self._saturation = saturation
        self.steps: int = before.get("steps", 0)
        self.skipped: int = before.get("skipped", 0)
        self._start = time.perf_counter() - before.get("seconds", 0.0)
        self._samples: int = before.get("samples", 0)
        self._metrics: dict[str, float] = dict(before.get("metrics", {}))
        self._spikes: list[np.ndarray | None] = [
            None if x is None else np.array(x, np.int64)
            for x in before.get("spikes", [])
        ]

    @property
    def seconds(self) -> float:
        """How long these steps have taken so far."""
        return time.perf_counter() - self._start

    def so_far(self) -> dict[str, Any]:
        """All that there is in it, in values that JSON knows."""
        return {
            "steps": self.steps,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "samples": self._samples,
            "metrics": dict(self._metrics),
            "spikes": [None if x is None else x.tolist() for x in self._spikes],
        }

    def add(self, report: Report | None) -> None:
        """Count a step; `None` if it was skipped."""
        self.steps += 1
        if report is None:
            self.skipped += 1
            return
        samples, metrics, spikes = jax.device_get(
            (report.samples, report.metrics, report.spike_counts)
        )
        self._samples += int(samples)
        for name, value in metrics.items():
            self._metrics[name] = self._metrics.get(name, 0.0) + float(value)
        spikes = [None if x is None else x.astype(np.int64) for x in spikes]
        old = self._spikes or [None] * len(spikes)
        self._spikes = [x if y is None else x + y for x, y in zip(spikes, old)]

    def means(self) -> dict[str, float]:
        """The mean of each metric over all samples; `nan` if there were none."""
        count = self._samples or float("nan")
        return {name: value / count for name, value in self._metrics.items()}

    def activity(self) -> dict[str, list[float | None]]:
        """One value per layer, `None` where a layer does not spike."""
        per_sample = [
            None if x is None or not self._samples else x / self._samples
            for x in self._spikes
        ]

        def each(f):
            return [None if x is None else float(f(x)) for x in per_sample]

        return {
            "spikes_per_sample": each(np.sum),
            "dead_fraction": each(lambda x: np.mean(x == 0)),
            "saturated_fraction": each(lambda x: np.mean(x > self._saturation)),
        }
