import jax
import numpy as np

from ._step import Report


class Tally:
    """Sums over the steps of an epoch, kept on the host in double precision.

    **Arguments:**

    - `saturation`: a neuron is saturated that fires more often than this per sample.
    """

    def __init__(self, saturation: float):
        self._saturation = saturation
        self._samples = 0
        self._metrics: dict[str, float] = {}
        self._spikes: list[np.ndarray | None] = []

    def add(self, report: Report) -> None:
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
