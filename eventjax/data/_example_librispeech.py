"""Made-up speech in the layout of LibriSpeech, to try things out."""

import gzip
from pathlib import Path

import numpy as np

from ._example_checks import check_absent, check_positive_numbers
from ._flac_file import flac_bytes
from ._folder import PathLike
from ._tar_archive import MADE_UP
from ._timit_files import SAMPLE_RATE


# The first speaker of each folder.
_PARTS = {"train-clean-100": 103, "dev-clean": 84, "test-clean": 61}
_STATE = 1280  # samples of the shortest state: 80 ms
_FRAME, _HOP = 400, 160  # 25 and 10 ms


def write_example_librispeech(
    folder: PathLike,
    *,
    speakers: int = 2,
    utterances: int = 3,
    states: int = 8,
    seed: int = 0,
) -> list[Path]:
    """Write a small made-up set in the layout of LibriSpeech with alignments to a data
    folder.

    Each state is a tone of its own, but for state 0, which is silence, and there is noise
    everywhere. So states can be learned. Nothing in them is speech, and no result on them
    says anything about the real set, as the file MADE_UP.txt says.

    A set is prepared once, and then read from where it was prepared. So give these files
    a `prepared_dir` of their own:

    ```python
    ej.data.write_example_librispeech("example")
    train = ej.data.load_utterances(
        "librispeech", data_dir="example", prepared_dir="example-prepared"
    )
    ```

    **Arguments:**

    - `folder`: the data folder; the files go to its subfolder `LibriSpeech`.
    - `speakers`: in each of the three parts. Each reads one chapter.
    - `utterances`: of each speaker.
    - `states`: how many there are, up to 20.
    - `seed`: of all that is random.

    **Returns:** the recordings.

    **Raises:** `ValueError` for numbers that are not positive, or more states;
    `FileExistsError` if there are such folders already, which are left as they are;
    `ImportError` without the extra `eventjax[data]`.
    """
    check_positive_numbers(speakers=speakers, utterances=utterances, states=states)
    if states > 20:
        raise ValueError(f"`states` must be up to 20, got {states}.")
    root = Path(folder).expanduser() / "LibriSpeech"
    check_absent([root / part for part in (*_PARTS, "alignments")])
    rng = np.random.default_rng(seed)
    files: dict[Path, bytes] = {
        root
        / MADE_UP: b"Made up by eventjax, to try things out. Nothing in here is real.\n"
    }
    recordings = []
    for part, first in _PARTS.items():
        lines = []
        for speaker in range(first, first + speakers):
            place, texts = root / part / f"{speaker}" / "1240", []
            for k in range(utterances):
                name = f"{speaker}-1240-{k:04d}"
                samples, labels = _utterance(states, rng)
                recordings.append(place / f"{name}.flac")
                files[recordings[-1]] = flac_bytes(samples, SAMPLE_RATE)
                texts.append(f"{name} NOT A WORD\n")
                lines.append(f"{name} {' '.join(map(str, labels))} \n")
            files[place / f"{speaker}-1240.trans.txt"] = "".join(texts).encode()
        # Packed and plain, as Kaldi's several jobs leave several files.
        half, aligned = (len(lines) + 1) // 2, root / "alignments" / part
        files[aligned / "ali.1.txt"] = "".join(lines[:half]).encode()
        files[aligned / "ali.2.txt.gz"] = gzip.compress(
            "".join(lines[half:]).encode(), mtime=0
        )
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return recordings


def _utterance(states: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Samples, and the state at the centre of each whole frame: between silences, every
    other state in a new order."""
    order = np.array([0, *(1 + rng.permutation(states - 1)), 0])
    ends = np.cumsum(rng.integers(_STATE, 2 * _STATE, len(order)))
    samples = rng.normal(0, 30, ends[-1])
    for start, end, state in zip([0, *ends], ends, order):
        if state:
            t = np.arange(start, end) / SAMPLE_RATE
            samples[start:end] += 3000 * np.sin(2 * np.pi * 250 * 1.18**state * t)
    centres = np.arange(_FRAME // 2, len(samples) - _FRAME // 2 + 1, _HOP)
    labels = order[np.searchsorted(ends, centres, side="right")]
    return samples.round().astype(np.int16), labels.tolist()
