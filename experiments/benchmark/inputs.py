"""Inputs of workloads, drawn from a generator: samples of two tasks, made up."""

import numpy as np


def yin_yang(num_samples: int, rng: np.random.Generator):
    """Points from the Yin-Yang disc in [0, 1]^2, equally many of each class.

    **Returns:** `(points, labels)` with shapes `[num_samples, 2]` and `[num_samples]`;
    the classes are 0 (yin), 1 (yang) and 2 (dots).
    """
    points = rng.uniform(size=(50 * num_samples, 2))
    x, y = points.T
    to_right = np.hypot(x - 0.75, y - 0.5)
    to_left = np.hypot(x - 0.25, y - 0.5)
    dots = (to_right < 0.1) | (to_left < 0.1)
    yin = (to_left <= 0.25) | ((y > 0.5) & (to_right > 0.25))
    classes = np.where(dots, 2, np.where(yin, 0, 1))
    inside = np.hypot(x - 0.5, y - 0.5) <= 0.5
    labels = np.arange(num_samples) % 3
    chosen = np.zeros(num_samples, int)
    for label in range(3):
        mine = labels == label
        chosen[mine] = np.nonzero(inside & (classes == label))[0][: mine.sum()]
    return points[chosen], labels


def spoken(
    batch: int, events: int, channels: int, classes: int, t1: float, rng
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spikes in the likeness of spoken words in the channels of an ear.

    Each class has three bands of a width of about 60 channels, which drift as the word
    goes on. Seven tenths of the spikes lie in them, the others anywhere; channels go
    round. Times are drawn evenly from 0 to `t1` ms.

    **Returns:** sorted times and channels, `[batch, events]`, and labels, `[batch]`.
    """
    times = np.sort(rng.uniform(0, t1, (batch, events)), axis=1)
    labels = np.arange(batch) % classes
    edge = 50 / 700 * channels
    centre = rng.uniform(edge, channels - edge, (classes, 3))
    drift = rng.normal(0, 150 / 700 * channels, (classes, 3))
    band = rng.integers(0, 3, (batch, events))
    word = labels[:, None]
    middle = centre[word, band] + drift[word, band] * (times / t1 - 0.5)
    near = np.round(rng.normal(middle, 60 / 700 * channels)).astype(int)
    anywhere = rng.integers(0, channels, (batch, events))
    sources = np.where(rng.uniform(size=(batch, events)) < 0.3, anywhere, near)
    return times, sources % channels, labels
