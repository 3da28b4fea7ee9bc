"""The front door to speech of unequal length with a label for each frame."""

from collections.abc import Callable

import numpy as np

from ..encoders import mfcc
from ._folder import PathLike
from ._load import builder, UTTERANCE_BUILDERS
from ._prepare import damaged
from ._timit_files import SAMPLE_RATE
from ._utterances import Utterances


# Read and decoded together: enough to be fast, few beside the whole set.
_EXAMPLES_PER_READ = 256


def load_utterances(
    name: str,
    split: str = "train",
    *,
    features: Callable[[np.ndarray, int], np.ndarray] = mfcc,
    data_dir: PathLike | None = None,
    prepared_dir: PathLike | None = None,
) -> Utterances:
    """A large set of speech, or a part of one, as frames with a label for each, without
    padding.

    - `"librispeech"`: the 100 hours of LibriSpeech from their published folders, with
        labels from Kaldi's alignments. Splits: train, train-clean-100 of 28,539 utterances;
        validation, dev-clean of 2,703; test, test-clean of 2,620.

    Labels are states of the model that made the alignments (`pdf-ids`), numbers from 0. Of
    each 10 ms there is a frame, a window of 25 ms, as long as it is whole. These are the
    frames of Kaldi with `--snip-edges=true`, its default; of alignments made with false,
    which have exactly two frames more, the labels of the nearest centres are taken.

    ```python
    train = ej.data.load_utterances(
        "librispeech", features=ej.encoders.log_mel, data_dir="~/data"
    )
    train = ej.data.normalise_speakers(train)
    batches = ej.data.UtteranceBatches(
        train, 64, seed=0, drop_last=True, stages=((5, 100), (4, 200), (4, 400))
    )
    ```

    The first call prepares the set. Features are computed at each call, about a second for
    each ten minutes of speech, and are all in memory: those of 100 hours take 5.6 GB, and
    twice that while they are put together. For audio, texts and names see
    `eventjax.data.builder`.

    **Arguments:**

    - `name`: which set.
    - `split`: which part, as tensorflow-datasets writes it: `"train"`, `"test[:90%]"`,
        `"train+validation"`.
    - `features`: a function of samples and their rate in Hz, such as
        `eventjax.encoders.mfcc` or `eventjax.encoders.log_mel`, with the frames above.
    - `data_dir`: folder of raw data, which is only read. The folders `train-clean-100`,
        `dev-clean`, `test-clean` and `alignments` lie in its subfolder `LibriSpeech`, or
        directly in it. By default the environment variable `EVENTJAX_DATA_DIR`. Not needed
        for a set that is prepared already.
    - `prepared_dir`: folder of prepared sets. By default the environment variable
        `EVENTJAX_CACHE_DIR`, or else `~/.cache/eventjax`.

    **Returns:** an `Utterances`, by speaker, chapter and number. `speaker` is a place in
    `builder(name).info.metadata["speaker_names"]`, of which all parts have one.

    **Raises:**

    - `ValueError` for an unknown set or split, an empty part, `features` with other frames,
        a raw file that is damaged or of another layout, an utterance without transcript or
        alignment or the other way round, labels of other frames, a part that is not
        complete, a `prepared_dir` inside the data folder, or a prepared set that was made
        from other files than those in the data folder.
    - `FileNotFoundError` for raw files that are not there.
    - `ImportError` without the extra `eventjax[data]`.
    - `RuntimeError` if the prepared set is damaged.

    If preparing fails or is interrupted, nothing is left that would pass for the set.

    ??? cite "References"
        Panayotov, Chen, Povey, Khudanpur: LibriSpeech: an ASR corpus based on public domain
        audio books. ICASSP, 2015. https://www.openslr.org/12, CC BY 4.0.
        Kaldi: https://kaldi-asr.org.
    """
    if name not in UTTERANCE_BUILDERS:
        known = ", ".join(repr(known) for known in sorted(UTTERANCE_BUILDERS))
        raise ValueError(
            f"Unknown set of utterances {name!r}. The known ones are {known}. TIMIT is "
            "loaded by `eventjax.data.load_speech`; `Utterances.from_padded` takes it on."
        )
    prepared = builder(name, data_dir=data_dir, prepared_dir=prepared_dir)
    size = prepared.info.splits[split].num_examples
    if size == 0:
        raise ValueError(f"There is no example in the part {split!r} of the set.")
    frames, labels, speakers = [], [], []
    try:
        source = prepared.as_data_source(split)
        for start in range(0, size, _EXAMPLES_PER_READ):
            stop = min(start + _EXAMPLES_PER_READ, size)
            for example in source.__getitems__(list(range(start, stop))):
                found = features(example["audio"], SAMPLE_RATE).astype(np.float32)
                _check_frames(found, example)
                frames.append(found)
                labels.append(example["label"])
                speakers.append(example["speaker"])
    except RuntimeError as error:
        raise damaged(prepared, error) from error
    lengths = [len(x) for x in labels]
    return Utterances(
        np.concatenate(frames),
        np.concatenate(labels),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.array(speakers, np.int32),
        num_classes=prepared.info.metadata["num_classes"],
    )


def _check_frames(found: np.ndarray, example: dict) -> None:
    expected = len(example["label"])
    if found.ndim != 2 or len(found) != expected:
        raise ValueError(
            f"`features` must give an array [frames, features] of {expected} frames for "
            f"the utterance {example['utterance'].decode()}, got the shape "
            f"{found.shape}. Use windows of 25 ms, one each 10 ms, and only whole ones."
        )
