"""Which phones begin, follow each other and end, and how long they last: by counting."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._frame_checks import check_labels, check_smoothing


class PhoneBigram(eqx.Module):
    """A chain of phones, one state for each, that moves once a frame. It makes no
    difference to it how many ms a frame lasts.

    **Arguments:** natural logarithms of probabilities:

    - `start`: that an utterance begins with a phone. `-inf` where it cannot.
    - `move`: `[from, to]`, from one frame to the next. On the diagonal, of staying.
    - `end`: that the utterance ends after a frame of this phone. With a row of `move` it
        makes up all that can happen, so that these probabilities have the sum 1.

    **Raises:** `ValueError` for shapes that do not fit.
    """

    start: Float[Array, " phones"]
    move: Float[Array, "from to"]
    end: Float[Array, " phones"]

    def __check_init__(self):
        size = self.start.shape
        if self.move.shape != size * 2 or self.end.shape != size:
            raise ValueError(
                "`start`, `move` and `end` must have the shapes (phones,), (phones, "
                f"phones) and (phones,), got {self.start.shape}, {self.move.shape} and "
                f"{self.end.shape}."
            )

    @property
    def phones(self) -> int:
        return self.start.shape[0]


def count_bigram(
    labels: Int[np.ndarray, "utterances frames"],
    valid: Bool[np.ndarray, "..."],
    phones: int,
    *,
    smoothing: float = 0.5,
) -> PhoneBigram:
    r"""A bigram of phones from the labels of frames.

    Frames in a row with one label are one segment. Of a phone $k$ with $n_k$ segments,
    $c_{kj}$ of which phone $j$ follows and $c_{k\,\mathrm{end}}$ of which end an utterance,

    $$p(j | k) = \frac{c_{kj} + s}{n_k + s\,K}$$

    for the $K - 1$ other phones and the end alike, with the smoothing $s$, and likewise at
    the start, where all $K$ phones may be. It stays in the next frame with the probability
    $1 - 1 / d_k$ that belongs to its mean length of $d_k$ frames, with $s$ segments of the
    mean length over all phones added, and else does what $p$ says.

    The same phone twice in a row looks like one segment in labels of frames, and has no
    place in this chain either, whose states are phones: to stay and to come again would be
    one and the same. So of such a pair one phone is lost, as it is in `collapse`.

    **Arguments:**

    - `labels`: integers from 0; whatever they are, such as -1, where `valid` is false.
        Those of the training part.
    - `valid`: of the same shape, true for frames, false for padding, which comes last.
    - `phones`: how many there are, $K$.
    - `smoothing`: $s$, positive. A count of this much is added to each.

    **Returns:** a `PhoneBigram` of JAX's default float type.

    **Raises:** `ValueError` for labels out of range, no utterance, or an argument out of
    its range.
    """
    labels, valid = np.asarray(labels), np.asarray(valid)
    check_labels(labels, valid, phones)
    check_smoothing(smoothing)
    first, last = labels[:, 0], labels[np.arange(len(labels)), valid.sum(axis=1) - 1]
    starts, ends = (np.bincount(x, minlength=phones) for x in (first, last))
    pairs = valid[:, 1:] & (labels[:, 1:] != labels[:, :-1])
    follows = np.zeros((phones, phones))
    np.add.at(follows, (labels[:, :-1][pairs], labels[:, 1:][pairs]), 1)
    segments = starts + follows.sum(axis=0)
    frames = np.bincount(labels[valid], minlength=phones)

    mean = frames.sum() / segments.sum()
    length = (frames + smoothing * mean) / (segments + smoothing)
    leave = 1 / length
    leaving = leave / (segments + smoothing * phones)
    move = (follows + smoothing) * leaving[:, None]
    np.fill_diagonal(move, 1 - leave)
    return PhoneBigram(
        _log((starts + smoothing) / (len(labels) + smoothing * phones)),
        _log(move),
        _log((ends + smoothing) * leaving),
    )


def count_priors(
    labels: Int[np.ndarray, "utterances frames"],
    valid: Bool[np.ndarray, "..."],
    phones: int,
    *,
    smoothing: float = 0.5,
) -> Float[Array, " phones"]:
    """How often each phone is the label of a frame, as the natural logarithm of its share,
    with a count of `smoothing` added to each.

    **Arguments:** and **Raises:** as for `count_bigram`.

    **Returns:** JAX's default float type, `[phones]`.
    """
    labels, valid = np.asarray(labels), np.asarray(valid)
    check_labels(labels, valid, phones)
    check_smoothing(smoothing)
    counts = np.bincount(labels[valid], minlength=phones) + smoothing
    return _log(counts / counts.sum())


def _log(probability: np.ndarray) -> Array:
    """0, of staying in phones that are never longer than a frame, gives `-inf`."""
    with np.errstate(divide="ignore"):
        values = np.log(probability)
    return jnp.asarray(values, jax.dtypes.canonicalize_dtype(float))
