"""Utterances of unequal length as frames with a label for each."""

import dataclasses
from collections.abc import Mapping

import numpy as np


_TYPES = {
    "frames": (np.float32, 2),
    "label": (np.int32, 1),
    "offsets": (np.int64, 1),
    "speaker": (np.int32, 1),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Utterances:
    """Utterances in flat arrays, without padding: utterance `i` has the frames from
    `offsets[i]` up to, not including, `offsets[i + 1]`. They are seen as read-only.

    ```python
    train = ej.data.load_utterances("librispeech", data_dir="~/data")
    frames, label = train[0]                # of the first utterance
    ```

    **Arguments:**

    - `frames`: float32 of shape `(frames, features)`.
    - `label`: int32 of shape `(frames,)`, from 0 to `num_classes - 1`.
    - `offsets`: int64 of shape `(utterances + 1,)`, from 0 to the number of frames.
    - `speaker`: int32 of shape `(utterances,)`: who it is, -1 if unknown.
    - `num_classes`: the number of classes.

    **Raises:** `ValueError` for arrays of another type or of lengths that do not agree, an
    utterance without frames, none at all, labels out of range, or features that are not
    finite.
    """

    frames: np.ndarray
    label: np.ndarray
    offsets: np.ndarray
    speaker: np.ndarray
    _: dataclasses.KW_ONLY
    num_classes: int

    def __post_init__(self):
        for name in _TYPES:
            view = np.asarray(getattr(self, name)).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        _check(self)

    def __len__(self) -> int:
        """The number of utterances."""
        return len(self.speaker)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames `(frames, features)` and labels `(frames,)` of one utterance."""
        if not 0 <= index < len(self):
            raise IndexError(f"There is no utterance {index} among {len(self)}.")
        here = slice(self.offsets[index], self.offsets[index + 1])
        return self.frames[here], self.label[here]

    @property
    def lengths(self) -> np.ndarray:
        """How many frames each utterance has: int64 of shape `(utterances,)`."""
        return np.diff(self.offsets)

    @property
    def features(self) -> int:
        """How many numbers a frame has."""
        return self.frames.shape[1]

    @classmethod
    def from_padded(
        cls, part: Mapping[str, np.ndarray], num_classes: int
    ) -> "Utterances":
        """Those of arrays that are padded to one length, such as `load_speech` gives.

        **Arguments:**

        - `part`: a dictionary of `frames`, `label`, `valid` and, if known, `speaker`.
        - `num_classes`: the number of classes.

        **Raises:** `ValueError` as above.
        """
        valid = part["valid"]
        lengths = valid.sum(axis=1)
        speaker = part.get("speaker", np.full(len(valid), -1))
        return cls(
            part["frames"][valid].astype(np.float32),
            part["label"][valid].astype(np.int32),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            speaker.astype(np.int32),
            num_classes=num_classes,
        )


def normalise_speakers(utterances: Utterances) -> Utterances:
    """The same utterances with features of mean 0 and variance 1 over all frames of each
    speaker, whatever the part: nothing is learnt from other speakers.

    **Raises:** `ValueError` if a speaker is unknown, or a feature has one value in all
    frames of one.

    ??? cite

        Ponghiran and Roy's code has features normalised so by Kaldi.
    """
    if utterances.speaker.min() < 0:
        raise ValueError(
            f"The speakers of {int(np.sum(utterances.speaker < 0))} of {len(utterances)} "
            "utterances are unknown, -1. Use `eventjax.data.standardise` on padded arrays."
        )
    owner = np.repeat(utterances.speaker, utterances.lengths)
    frames = np.empty_like(utterances.frames)
    for speaker in np.unique(utterances.speaker):
        here = owner == speaker
        known = utterances.frames[here].astype(np.float64)
        mean, std = known.mean(axis=0), known.std(axis=0)
        # What is left of the variance of equal numbers by rounding is no variance.
        constant = np.flatnonzero(std <= 1e-10 * np.abs(mean))
        if len(constant):
            raise ValueError(
                f"Feature {constant[0]} has one value, {mean[constant[0]]:g}, in all "
                f"{len(known)} frames of speaker {speaker}, so it cannot be given a "
                "variance of 1. Leave it or the speaker out."
            )
        frames[here] = (known - mean) / std
    return dataclasses.replace(utterances, frames=frames)


def _check(x: Utterances) -> None:
    for name, (dtype, axes) in _TYPES.items():
        array = getattr(x, name)
        if array.dtype != dtype or array.ndim != axes:
            raise ValueError(
                f"`{name}` must be of type {np.dtype(dtype)} with {axes} axes, got "
                f"{array.dtype} and the shape {array.shape}."
            )
    if len(x.frames) != len(x.label) or len(x.offsets) != len(x.speaker) + 1:
        raise ValueError(
            "There must be a label for each frame, a speaker for each utterance, and one "
            f"offset more: got {len(x.frames)} `frames` and {len(x.label)} `label`, "
            f"{len(x.speaker)} `speaker` and {len(x.offsets)} `offsets`."
        )
    if len(x.speaker) == 0:
        raise ValueError("There must be at least one utterance, got none.")
    steps = np.diff(x.offsets)
    if x.offsets[0] != 0 or x.offsets[-1] != len(x.frames) or steps.min() < 1:
        raise ValueError(
            f"`offsets` must ascend from 0 to the number of frames, {len(x.frames)}; they "
            f"go from {x.offsets[0]} to {x.offsets[-1]}, with {int(np.sum(steps < 1))} "
            "utterances without frames."
        )
    if x.label.min() < 0 or x.label.max() >= x.num_classes:
        raise ValueError(
            f"`label` must lie in 0 to {x.num_classes - 1}, got values from "
            f"{x.label.min()} to {x.label.max()}."
        )
    # A sum is not finite if one of its numbers is not, and takes no memory of its own.
    if not np.isfinite(x.frames.sum(dtype=np.float64)):
        raise ValueError("`frames` must be finite, but some of them are not.")
