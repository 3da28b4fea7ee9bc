"""A network of two layers under MPD-ED as lists of events, one operation at a time, each
of which is counted. Plain Python, for tests; it shares nothing with the library."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    slopes: list[np.ndarray]  # of both weights
    operations: list[dict[str, int]]  # of both layers
    masks: list[np.ndarray]  # of both layers, where errors enter


def _forward(inputs: list[list[int]], weight, theta, beta, count: dict[str, int]):
    """Spikes of a layer as a list of neurons for each step, and all distances."""
    steps, size = len(inputs), weight.shape[1]
    v, spikes, distance = np.zeros(size), [], np.zeros((steps, size))
    for t, sources in enumerate(inputs):
        v *= beta
        for i in sources:
            for j in range(size):
                v[j] += weight[i, j]
                count["forward"] += 1
        distance[t] = v - theta[t]
        fired = [j for j in range(size) if distance[t, j] >= 0]
        spikes.append(fired)
        v[fired] = 0.0
    return spikes, distance


def _backward(inputs, spikes, distance, bar, weight, beta, slope, mask, needs, count):
    """From the errors `bar` of spikes, [steps, neurons]: the gradient of weights, and
    errors for those neurons of the layer before that `needs` lists at each step."""
    steps, size = distance.shape
    slopes, back = np.zeros_like(weight), np.zeros((steps, weight.shape[0]))
    error: dict[int, float] = {}  # of neurons that have one, at the step in hand
    for t in reversed(range(steps)):
        error = {j: beta * e for j, e in error.items()}
        for j in spikes[t]:
            # What comes before a spike does not change what is after.
            error.pop(j, None)
        for j in map(int, np.flatnonzero(mask[t])):
            error[j] = error.get(j, 0.0) + float(bar[t, j] * slope(distance[t, j]))
        for j, e in error.items():
            for i in inputs[t]:
                slopes[i, j] += e
                count["weight"] += 1
            for i in needs[t]:
                back[t, i] += weight[i, j] * e
                count["error"] += 1
    return slopes, back


def event_list_backward(
    raster: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    theta: np.ndarray,
    beta: float,
    slope: Callable[[float], float],
    bar: np.ndarray,
    mask: Callable[[np.ndarray], np.ndarray],
) -> Run:
    """Both layers. Errors enter where the mask of distances to the threshold is on."""
    counts = [dict(forward=0, error=0, weight=0) for _ in range(2)]
    inputs = [list(np.flatnonzero(x)) for x in raster]
    hidden, distance = _forward(inputs, weights[0], theta, beta, counts[0])
    out, distance_out = _forward(hidden, weights[1], theta, beta, counts[1])
    masks = [mask(distance), mask(distance_out)]
    needs = [list(np.flatnonzero(x)) for x in masks[0]]
    slopes_out, errors = _backward(
        hidden, out, distance_out, bar, weights[1], beta, slope, masks[1], needs,
        counts[1],
    )  # fmt: skip
    nobody = [[]] * len(raster)
    slopes, _ = _backward(
        inputs, hidden, distance, errors, weights[0], beta, slope, masks[0], nobody,
        counts[0],
    )  # fmt: skip
    return Run([slopes, slopes_out], counts, masks)
