"""Checks of labels and masks of padded utterances."""

import numpy as np


def check_ends(valid: np.ndarray) -> None:
    """A `ValueError` unless every utterance begins in its first frame and has no gap."""
    wrong = ~valid[:, :1].any(axis=1) | (valid[:, 1:] & ~valid[:, :-1]).any(axis=1)
    if wrong.any():
        raise ValueError(
            "`valid` must be true from the first frame of an utterance to its last, and "
            f"false behind it, which it is not in row {np.argmax(wrong)}. Put padding "
            "last, and leave out utterances without frames."
        )


def check_labels(labels: np.ndarray, valid: np.ndarray, phones: int) -> None:
    """A `ValueError` unless there is a phone for each valid frame, and one such frame."""
    if phones < 1:
        raise ValueError(f"`phones` must be at least 1, got {phones}.")
    if labels.shape != valid.shape:
        raise ValueError(
            f"`labels` and `valid` must have one shape, got {labels.shape} and "
            f"{valid.shape}."
        )
    check_ends(valid)
    known = labels[valid]
    if known.size == 0:
        raise ValueError("There must be at least one utterance to count in, got none.")
    if known.min() < 0 or known.max() >= phones:
        raise ValueError(
            f"`labels` of valid frames must lie in 0 to {phones - 1}, got values from "
            f"{known.min()} to {known.max()}."
        )


def check_smoothing(smoothing: float) -> None:
    if not 0 < smoothing < np.inf:
        raise ValueError(
            f"`smoothing` must be positive and finite, got {smoothing}: without it what "
            "was never seen in training could never be found."
        )
