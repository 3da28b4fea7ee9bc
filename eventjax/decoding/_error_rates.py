"""How many phones or words must be mended, as a share of those that are right."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def phone_error_rate(
    references: Sequence[Int[np.ndarray, "..."]],
    hypotheses: Sequence[Int[np.ndarray, "..."]],
) -> float:
    """Phones to put in, leave out or replace to come from one sequence to the other, as few
    as possible, over the number of phones in the references. It can be above 1.

    Phones are compared as they are: fold them first, see `scored_phones`.

    **Arguments:**

    - `references`, `hypotheses`: integers for each utterance: what is right, and what was
        found.

    **Returns:** a share: 0.25 for one in four. That of all utterances together, not a mean
    of theirs.

    **Raises:** `ValueError` for different numbers of utterances or references without any
    phone; `ImportError` without the extra `eventjax[decode]`.
    """
    return word_error_rate(*map(_spelt, (references, hypotheses)))


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Words to put in, leave out or replace, as `phone_error_rate` has it for phones, by
    the package jiwer.

    ```python
    ej.decoding.word_error_rate(["the cat sat"], ["the cat sat down"])    # 1 / 3
    ```

    **Arguments:**

    - `references`, `hypotheses`: a text for each utterance. Words are what spaces part;
        upper and lower case, and punctuation, make a difference.

    **Returns:** and **Raises:** as for `phone_error_rate`.
    """
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ValueError(
            "`references` and `hypotheses` must be lists of texts, one for each utterance, "
            "got a single text."
        )
    if len(references) != len(hypotheses):
        raise ValueError(
            "There must be as many hypotheses as references, got "
            f"{len(hypotheses)} and {len(references)}."
        )
    if not any(text.split() for text in references):
        raise ValueError(
            "`references` must hold at least one phone or word, got none, so that there is "
            "no number to divide by."
        )
    try:
        import jiwer
    except ImportError as error:
        raise ImportError(
            "Error rates need jiwer: install `eventjax[decode]`."
        ) from error
    return float(jiwer.process_words(list(references), list(hypotheses)).wer)


def _spelt(phones: Sequence[Int[np.ndarray, "..."]]) -> list[str]:
    """Numbers as words."""
    return [" ".join(map(str, np.asarray(one).tolist())) for one in phones]
