"""Layers with graded spikes as plain NumPy loops over frames, in evaluation."""

import numpy as np

import eventjax as ej


BATCH, FRAMES, INPUTS, UNITS = 4, 9, 3, 5
VALID = np.arange(FRAMES)[None] < np.array([9, 4, 7, 9])[:, None]
VALID[3, 2] = False  # a gap
X = np.random.default_rng(0).normal(size=(BATCH, FRAMES, INPUTS))


def quantise(v, reach, bits, dead_zone):
    """One value."""
    levels = 2 if bits == 1 else 2 ** (bits - 1)
    scale = (levels if bits == 1 else levels * (1 - 1e-4)) / reach
    q = int(scale * min(max(v, -reach), reach))
    if bits == 1:
        q = min(max(q, -1), 1)
    return q / scale if abs(q) > dead_zone else 0.0


def quantise_all(v, quantiser):
    reach = float(quantiser.range.value)
    one = lambda x: quantise(x, reach, quantiser.bits, quantiser.dead_zone)
    return np.vectorize(one, otypes=[float])(v)


def drive(layer, x):
    n = layer.normalisation
    parts = (n.scale, n.shift, n.mean.value, n.variance.value)
    scale, shift, mean, variance = (np.asarray(part) for part in parts)
    product = x @ np.asarray(layer.weight)
    return scale * (product - mean) / np.sqrt(variance + n.epsilon) + shift


def run(layer, x, valid, emit=None):
    """Outputs, currents, gates (all `[batch, frames, units]`), what the membranes have
    left, and the largest value that one had. `emit` is by default the quantiser."""
    emit = emit or (lambda v: quantise_all(v, layer.quantiser))
    is_encoder = isinstance(layer, ej.graded.Encoder)
    is_gated = isinstance(layer, ej.graded.Gated)
    driven = x if is_encoder else drive(layer, x)
    shape = (*x.shape[:2], layer.units)
    y, currents, gates = np.zeros(shape), np.zeros(shape), np.ones(shape)
    peak, residuals = 0.0, np.zeros((len(x), layer.units))
    for k in range(len(x)):
        current, residual, last = (np.zeros(layer.units) for _ in range(3))
        for n in np.flatnonzero(valid[k]):
            d = driven[k, n]
            if is_encoder:
                current = d
            elif is_gated:
                if layer.recurrent is not None:
                    d = d + last @ np.asarray(layer.recurrent)
                gate = 1 / (1 + np.exp(-d[: layer.units]))
                gates[k, n] = gate
                current = gate * current + (1 - gate) * np.maximum(d[layer.units :], 0)
            else:
                current = d + np.asarray(layer.tau) * current
            v = residual + current
            last = emit(v)
            residual = v - last
            peak = max(peak, np.abs(v).max())
            y[k, n], currents[k, n] = last, current
        residuals[k] = residual
    return y, currents, gates, residuals, peak


def wanted_range(layer, currents):
    """That in which no membrane with these currents, zero where not valid, is held back."""
    quantiser = layer.quantiser
    levels = max(2 ** (quantiser.bits - 1), 2)
    return np.abs(currents).max() / (1 - (quantiser.dead_zone + 1) / levels)
