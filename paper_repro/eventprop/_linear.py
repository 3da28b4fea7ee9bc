"""What spike counts alone say of a word: a linear classifier to beat."""

import dataclasses

import numpy as np
from scipy.optimize import minimize

import eventjax as ej
from paper_repro._row import Record, Where

from ._config import Speech
from ._speech import load


@dataclasses.dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression on log(1 + count) of each channel, standardised,
    with a Gaussian prior of the weights."""

    speech: Speech  # where the data come from
    std: float = 0.1  # of the prior
    seed: int = 0  # for the harness: there is nothing random


def train_linear(config: Linear, where: Where) -> Record:
    """Fit and test it.

    **Returns:** the record, with the same metric as those of networks.
    """
    parts, _ = load(config.speech, where)
    x, x_test = (_features(parts[name]) for name in ("train", "test"))
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, x_test = ((z - mean) / std for z in (x, x_test))
    weight = fit(x, parts["train"].label, config.std)
    right = predict(x_test, weight) == parts["test"].label
    metric = "held-out speaker" if config.speech.held_out is not None else "test"
    return {
        "metrics": {f"{metric} accuracy %": 100 * float(right.mean())},
        "seed": config.seed,
        "test": {"accuracy": float(right.mean()), "examples": len(right)},
        **ej.train.environment(),
    }


def _features(events: ej.data.EventSet) -> np.ndarray:
    example = np.repeat(np.arange(len(events)), events.counts)
    counts = np.zeros((len(events), events.num_units))
    np.add.at(counts, (example, events.units), 1)
    return np.log1p(counts)


def fit(x: np.ndarray, label: np.ndarray, std: float) -> np.ndarray:
    """Weights `[features + 1, classes]` of the largest posterior, the bias last."""
    x = np.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
    one_hot = np.eye(int(label.max()) + 1)[label]
    shape = x.shape[1], one_hot.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(shape)
        logits = x @ weight
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        prior = weight / std**2
        prior[-1] = 0.0
        value = np.sum(one_hot * (log_sum - logits)) + 0.5 * np.sum(weight * prior)
        gradient = x.T @ (np.exp(logits - log_sum) - one_hot) + prior
        return float(value), gradient.reshape(-1)

    found = minimize(loss, np.zeros(shape).reshape(-1), jac=True, method="L-BFGS-B")
    if not found.success:
        raise RuntimeError(f"Logistic regression did not converge: {found.message}")
    return found.x.reshape(shape)


def predict(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.argmax(x @ weight[:-1] + weight[-1], axis=1)
