"""Speech with a phone for each frame."""

import dataclasses

import numpy as np

import eventjax as ej

from ._row import Where


Arrays = dict[str, np.ndarray]
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """All parts of a set, padded to one length, with standardised features."""

    name: str
    parts: dict[str, Arrays]

    @property
    def inputs(self) -> int:
        return self.parts["train"]["frames"].shape[2]


def found(where: Where) -> str | None:
    """Which set is there: TIMIT, its sample, or neither."""
    for name in ("timit", "timit_sample"):
        try:
            ej.data.load_speech(
                name,
                "test[:1]",
                data_dir=where.data_dir,
                prepared_dir=where.prepared_dir,
            )
        except FileNotFoundError:
            continue
        return name
    return None


def load_frames(dataset: str, where: Where) -> Corpus:
    """TIMIT or its sample.

    **Arguments:**

    - `dataset`: `"timit"`, `"timit_sample"`, or `"found"`: the first where its files are,
        else the second.

    **Raises:** `FileNotFoundError` if neither is there; `ValueError` for damaged files.
    """
    if dataset != "found":
        return _load(dataset, where)
    try:
        return _load("timit", where)
    except FileNotFoundError:
        return _load("timit_sample", where)


def _load(name: str, where: Where) -> Corpus:
    parts = [
        ej.data.load_speech(
            name, split, data_dir=where.data_dir, prepared_dir=where.prepared_dir
        )
        for split in SPLITS
    ]
    parts = ej.data.standardise(*parts)
    longest = max(part["valid"].shape[1] for part in parts)
    return Corpus(name, dict(zip(SPLITS, (_pad(x, longest) for x in parts))))


def _pad(part: Arrays, longest: int) -> Arrays:
    """Frames behind the end are not valid."""
    short = longest - part["valid"].shape[1]
    behind = lambda x, value: np.pad(
        x, [(0, 0), (0, short), *[(0, 0)] * (x.ndim - 2)], constant_values=value
    )
    return {
        "frames": behind(part["frames"], 0.0),
        "label": behind(part["label"], -1),
        "valid": behind(part["valid"], False),
    }
