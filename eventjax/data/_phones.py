"""The phones of TIMIT: the 61 of its transcriptions, and the 39 they are folded to."""

import numpy as np
from jaxtyping import Int


PHONES = tuple(
    """
    aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl
    h# hh hv ih ix iy jh k kcl l m n ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w
    y z zh
    """.split()
)
"""The 61 phones of TIMIT's transcriptions; a label is a place in this tuple. `h#` is the
silence at both ends of an utterance."""

_FOLDED = {
    "ao": "aa",
    "ax": "ah",
    "ax-h": "ah",
    "axr": "er",
    "el": "l",
    "em": "m",
    "en": "n",
    "eng": "ng",
    "hv": "hh",
    "ix": "ih",
    "nx": "n",
    "ux": "uw",
    "zh": "sh",
    **dict.fromkeys("bcl dcl epi gcl h# kcl pau pcl q tcl".split(), "sil"),
}

FOLDED_PHONES = tuple(sorted({_FOLDED.get(phone, phone) for phone in PHONES}))
"""The 39 classes that the phones are folded to; `sil` is silence, closures included."""

_TABLE = np.array([FOLDED_PHONES.index(_FOLDED.get(p, p)) for p in PHONES], np.int32)


def fold_phones(ids: np.ndarray) -> Int[np.ndarray, "..."]:
    """Labels among the 61 phones as labels among the 39 classes that results on TIMIT are
    commonly given in.

    ```python
    ej.data.fold_phones(np.array([27, 59, -1]))    # h#, z -> sil, z: [30, 38, -1]
    ```

    The table is that of Lee and Hon, who leave the glottal stop `q` out. Here, where each
    frame must have a label, `q` counts as silence, as it does in the TIMIT code of Bellec
    et al.

    **Arguments:**

    - `ids`: places in `PHONES`, integers of any shape. -1, the label of padding, stays.

    **Returns:** places in `FOLDED_PHONES`, int32 of the same shape.

    **Raises:** `ValueError` for other numbers.

    ??? cite "References"
        Lee, Hon: Speaker-independent phone recognition using hidden Markov models. IEEE
        Transactions on Acoustics, Speech, and Signal Processing 37(11), 1989.
        Code of Bellec et al.: https://github.com/IGITUGraz/eligibility_propagation.
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise ValueError(
            f"`ids` must be integers, places in `PHONES`, got {ids.dtype}. Take the "
            "argmax of probabilities first."
        )
    wrong = (ids < -1) | (ids >= len(PHONES))
    if wrong.any():
        raise ValueError(
            f"`ids` must lie from 0 to {len(PHONES) - 1}, or be -1 on padding, got "
            f"{ids[wrong][0]}. Labels that are folded already cannot be folded again."
        )
    return np.where(ids < 0, np.int32(-1), _TABLE[ids])
