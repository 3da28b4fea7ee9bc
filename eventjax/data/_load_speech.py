"""The front door to speech with its phones: frames of features, a label for each."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..encoders import mfcc
from ._folder import PathLike
from ._frame_labels import frame_labels
from ._load import builder, SPEECH_BUILDERS
from ._phones import fold_phones
from ._prepare import damaged
from ._timit_files import SAMPLE_RATE


# The label of frames that are padding.
_NO_LABEL = -1
# Read and decoded together: enough to be fast, few beside the whole set.
_EXAMPLES_PER_READ = 256


def load_speech(
    name: str,
    split: str = "train",
    *,
    fold: bool = False,
    longest: int | None = None,
    data_dir: PathLike | None = None,
    prepared_dir: PathLike | None = None,
) -> dict[str, np.ndarray]:
    """A set of speech, or a part of one, as frames with a phone for each.

    - `"timit"`: TIMIT from its published folders. Splits: train, 462 speakers; validation,
        the 50 of the development set in general use; test, the 24 of the core test set;
        other, the 94 that are left of its folder `TEST`.
    - `"timit_sample"`: its free sample of 16 speakers, a man and a woman of each region.
        Splits: train, 10 speakers; validation, 2; test, 4. The split is this library's.

    Each speaker reads 8 sentences: SA1 and SA2, which are the same for all, are left out.
    Features are those of `eventjax.encoders.mfcc`, 39 for each 10 ms; labels are those of
    `eventjax.data.frame_labels`. Utterances come by speaker, then by sentence, all padded
    to one length, so that batches have one shape and a jitted step compiles once:

    ```python
    train, test = (
        ej.data.load_speech("timit_sample", split, longest=600, data_dir="~/data")
        for split in ("train", "test")
    )
    train, test = ej.data.standardise(train, test)
    for batch in ej.data.Batches(train, 16, seed=0, drop_last=True).epoch(0):
        batch["frames"], batch["label"], batch["valid"]
    ```

    Leave padding out of every sum and mean, that is, multiply by `valid` and divide by its
    sum. The first call prepares the set; features are computed at each call, which takes
    about a second for each ten minutes of speech. For audio, segments and the names of
    sentences and speakers see `eventjax.data.builder`.

    **Arguments:**

    - `name`: which set.
    - `split`: which part, as tensorflow-datasets writes it: `"train"`, `"test[:90%]"`,
        `"train+validation"`.
    - `fold`: whether labels are the 39 classes of `eventjax.data.fold_phones`, rather than
        the 61 phones, in the order of `FOLDED_PHONES` and of `PHONES`.
    - `longest`: the number of frames to pad to. By default that of the longest utterance in
        this part; give it so that several parts have one shape.
    - `data_dir`: folder of raw data, which is only read. The folders `TRAIN` and `TEST` lie
        in its subfolder `timit`, or directly in it, and timit_sample.tar.xz in
        `timit_sample_nltk`. By default the environment variable `EVENTJAX_DATA_DIR`. Not
        needed for a set that is prepared already.
    - `prepared_dir`: folder of prepared sets. By default the environment variable
        `EVENTJAX_CACHE_DIR`, or else `~/.cache/eventjax`.

    **Returns:** a dictionary of arrays, whose first axis is the utterance:

    - `frames`: float32 `[utterances, longest, 39]`, zero on padding.
    - `label`: int32 `[utterances, longest]`, -1 on padding.
    - `valid`: bool `[utterances, longest]`, true for frames and false for padding, which
        comes last.
    - `speaker`: int32 `[utterances]`, a place in
        `builder(name).info.metadata["speaker_names"]`.

    **Raises:**

    - `ValueError` for an unknown set or split, an empty part, an utterance of more frames
        than `longest` or shorter than one, a raw file that is damaged or of another layout,
        a part of TIMIT that is not complete, a `prepared_dir` inside the data folder, or a
        prepared set that was made from other files than those in the data folder.
    - `FileNotFoundError` for raw files that are not there.
    - `ImportError` without the extra `eventjax[data]`.
    - `RuntimeError` if the prepared set is damaged.

    If preparing fails or is interrupted, nothing is left that would pass for the set.

    ??? cite "References"
        TIMIT: Garofolo et al., https://catalog.ldc.upenn.edu/LDC93S1, to be had from the
        Linguistic Data Consortium. Its sample: CC BY-NC-SA.
    """
    if name not in SPEECH_BUILDERS:
        known = ", ".join(repr(known) for known in sorted(SPEECH_BUILDERS))
        raise ValueError(
            f"Unknown set of speech {name!r}. The known ones are {known}. Other sets are "
            "loaded by `eventjax.data.load`, `eventjax.data.load_events` and "
            "`eventjax.data.load_utterances`."
        )
    prepared = builder(name, data_dir=data_dir, prepared_dir=prepared_dir)
    frames, labels, speaker = _read_utterances(prepared, split)
    if fold:
        labels = [fold_phones(label) for label in labels]
    counts = np.array([len(x) for x in frames])
    if longest is None:
        longest = int(counts.max())
    elif longest < counts.max():
        raise ValueError(
            f"An utterance in the part {split!r} has {counts.max()} frames, more than "
            f"`longest`, {longest}: give a `longest` of {counts.max()} or more."
        )
    return {
        "frames": _padded(frames, longest, 0),
        "label": _padded(labels, longest, _NO_LABEL),
        "valid": np.arange(longest)[None] < counts[:, None],
        "speaker": speaker,
    }


def standardise(
    train: Mapping[str, np.ndarray], *others: Mapping[str, np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Speech whose features have mean 0 and variance 1 over the frames for training.

    Padding takes no part in means and variances, and stays zero. (Code that is taken for
    that of van der Veen, arXiv 2201.07602, lets padding take part, by what looks like a
    slip.)

    **Arguments:**

    - `train`: what `load_speech` gives; its frames tell means and variances.
    - `others`: other parts, changed in the same way.

    **Returns:** copies of `train` and `others` with other `frames`, in this order. Their
    other arrays are the same.

    **Raises:** `ValueError` if a feature has one value in all of `train`, or parts differ
    in their number of features.
    """
    known = train["frames"][train["valid"]].astype(np.float64)
    mean, std = known.mean(axis=0), known.std(axis=0)
    # What is left of the variance of equal numbers by rounding is no variance.
    constant = np.flatnonzero(std <= 1e-10 * np.abs(mean))
    if len(constant):
        raise ValueError(
            f"Feature {constant[0]} has one value, {mean[constant[0]]:g}, in all frames of "
            "`train`, so it cannot be given a variance of 1. Leave it out."
        )
    mean, std = (x.astype(train["frames"].dtype) for x in (mean, std))
    out = []
    for part in (train, *others):
        frames = part["frames"]
        if frames.shape[-1] != len(mean):
            raise ValueError(
                f"All parts must have the {len(mean)} features of `train`, got one with "
                f"{frames.shape[-1]}."
            )
        scaled = np.where(part["valid"][..., None], (frames - mean) / std, 0)
        out.append({**part, "frames": scaled})
    return out


def _read_utterances(
    prepared: Any, split: str
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Frames and labels of each utterance, and the speakers."""
    size = prepared.info.splits[split].num_examples
    if size == 0:
        raise ValueError(f"There is no example in the part {split!r} of the set.")
    frames, labels, speakers = [], [], []
    try:
        source = prepared.as_data_source(split)
        for start in range(0, size, _EXAMPLES_PER_READ):
            stop = min(start + _EXAMPLES_PER_READ, size)
            for example in source.__getitems__(list(range(start, stop))):
                features = _features(example, prepared)
                segments = example["segments"]
                ends, phones = segments["end"], segments["phone"]
                frames.append(features.astype(np.float32))
                labels.append(
                    frame_labels(ends, phones, len(features), sample_rate=SAMPLE_RATE)
                )
                speakers.append(example["speaker"])
    except RuntimeError as error:
        raise damaged(prepared, error) from error
    return frames, labels, np.array(speakers, np.int32)


def _features(example: Mapping[str, Any], prepared: Any) -> np.ndarray:
    try:
        return mfcc(example["audio"], SAMPLE_RATE)
    except ValueError as error:
        speaker = prepared.info.metadata["speaker_names"][example["speaker"]]
        sentence = example["utterance"].decode()
        raise ValueError(
            f"The utterance {sentence} of {speaker} has no frames: {error}"
        ) from error


def _padded(parts: list[np.ndarray], longest: int, fill: int) -> np.ndarray:
    out = np.full((len(parts), longest, *parts[0].shape[1:]), fill, parts[0].dtype)
    for row, part in zip(out, parts):
        row[: len(part)] = part
    return out
