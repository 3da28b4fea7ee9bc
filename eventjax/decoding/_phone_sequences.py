"""From a phone for each frame to sequences of phones, as they are compared."""

import numpy as np
from jaxtyping import Int

from ..data import fold_phones, FOLDED_PHONES, PHONES


_STOP = PHONES.index("q")
_SILENCE = FOLDED_PHONES.index("sil")


def collapse(
    path: Int[np.ndarray, "batch frames"],
) -> list[Int[np.ndarray, " phones"]]:
    """Each row without padding, and each run of one phone as one phone.

    Two equal phones in a row cannot be told from a long one, neither in labels nor in a
    path of `viterbi`, and count as one in both.

    ```python
    ej.decoding.collapse(np.array([[3, 3, 5, 3, -1]]))      # [array([3, 5, 3])]
    ```

    **Arguments:**

    - `path`: a phone for each frame, -1 on padding, which comes last.

    **Returns:** an array for each row.

    **Raises:** `ValueError` for a frame behind padding.
    """
    path = np.asarray(path)
    there = path >= 0
    if np.any(there[:, 1:] & ~there[:, :-1]):
        raise ValueError("Padding, -1, must come last in each row of `path`.")
    new = there.copy()
    new[:, 1:] &= path[:, 1:] != path[:, :-1]
    return [row[keep] for row, keep in zip(path, new)]


def scored_phones(
    phones: Int[np.ndarray, " phones"], *, silence: bool = True
) -> Int[np.ndarray, " scored"]:
    """A sequence of TIMIT's 61 phones as its error rate is commonly taken: without the
    glottal stop `q`, the others folded to 39 classes.

    This is what Kaldi's recipe does, but for what is silent there: a silence counts as any
    other phone in one of its ways to score and, in the other, one that is missed is no
    error. Here it counts, or all are left out. Folding may put two equal phones in a row,
    such as a closure and a pause: both count, there and here. (`eventjax.data.fold_phones`,
    for labels of frames, takes `q` for silence.)

    **Arguments:**

    - `phones`: places in `eventjax.data.PHONES`, see `collapse`.
    - `silence`: whether silences count, closures among them.

    **Returns:** places in `eventjax.data.FOLDED_PHONES`.

    **Raises:** `ValueError` for other numbers, -1 included.

    ??? cite "References"
        Lee, Hon: Speaker-independent phone recognition using hidden Markov models. IEEE
        Transactions on Acoustics, Speech, and Signal Processing 37(11), 1989.
        Kaldi, egs/timit/s5: conf/phones.60-48-39.map, local/score_basic.sh and
        local/score_sclite.sh.
    """
    phones = np.asarray(phones)
    if phones.size and phones.min() < 0:
        raise ValueError(
            f"`phones` must not hold padding, got {phones.min()}: take `collapse` first."
        )
    out = fold_phones(phones[phones != _STOP])
    return out if silence else out[out != _SILENCE]
