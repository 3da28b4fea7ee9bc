"""Made-up files in the layout of the Heidelberg spiking data sets, to try things out."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ._example_checks import check_absent, check_positive_numbers
from ._folder import PathLike
from ._load import import_builder


_NUM_UNITS = 700
_BURSTS = 5


def write_example_shd(
    folder: PathLike,
    name: str = "shd",
    *,
    examples_per_class: int = 2,
    speakers: int = 4,
    events: int = 200,
    duration: float = 600.0,
    seed: int = 0,
) -> list[Path]:
    """Write small made-up files in the layout of SHD or SSC to a data folder.

    Each class is a pattern of a few bursts of events in channels and time; each speaker
    moves it by some channels and stretches it. So the classes can be learned. Nothing in
    them is speech, and no result on them says anything about the real sets: every word in
    `extra/keys` begins with "made-up".

    A set is prepared once, and then read from where it was prepared. So give these files
    a `prepared_dir` of their own:

    ```python
    ej.data.write_example_shd("example")
    train = ej.data.load_events("shd", data_dir="example", prepared_dir="example-prepared")
    ```

    **Arguments:**

    - `folder`: the data folder; the files go to its subfolder `name`.
    - `name`: `"shd"` or `"ssc"`. The latter's files have no `extra/speaker`.
    - `examples_per_class`: in each file.
    - `speakers`: how many.
    - `events`: events per example, on average.
    - `duration`: of an example, about, in ms.
    - `seed`: of all that is random.

    **Returns:** the files.

    **Raises:** `ValueError` for another name, or numbers that are not positive;
    `FileExistsError` if one of the files is there already, which is left as it is;
    `ImportError` without the extra `eventjax[data]`.
    """
    if name not in ("shd", "ssc"):
        raise ValueError(f"`name` must be 'shd' or 'ssc', got {name!r}.")
    check_positive_numbers(
        examples_per_class=examples_per_class,
        speakers=speakers,
        events=events,
        duration=duration,
    )
    builder = import_builder(name)
    parts = [files["events"] for files in builder.FILES.values()]
    paths = [Path(folder).expanduser() / builder.SUBFOLDER / file for file in parts]
    check_absent(paths)
    patterns = _patterns(builder.NUM_CLASSES, duration, np.random.default_rng(seed))
    for number, path in enumerate(paths, 1):
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, number])
        label = np.repeat(np.arange(builder.NUM_CLASSES), examples_per_class)
        rng.shuffle(label)
        speaker = rng.permutation(len(label)) % speakers
        examples = [
            _example(patterns[k], s / max(speakers - 1, 1) - 0.5, events, rng)
            for k, s in zip(label, speaker)
        ]
        _write(path, examples, label, speaker if builder.NEEDS_SPEAKERS else None)
    return paths


def _patterns(num_classes: int, duration: float, rng) -> np.ndarray:
    """Channel and time in ms of each burst: of shape `(classes, bursts, 2)`."""
    places = rng.uniform(0.1, 0.9, (num_classes, _BURSTS, 2))
    return places * [_NUM_UNITS, duration]


def _example(pattern, voice, events, rng) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and units; `voice` is from -0.5 to 0.5."""
    size = rng.poisson(events) + 1
    channel, time = pattern[rng.integers(_BURSTS, size=size)].T
    channel = channel + 40 * voice + rng.normal(0, 15, size)
    time = time * (1 + 0.2 * voice) + rng.normal(0, 12, size)
    inside = (channel >= 0) & (channel < _NUM_UNITS) & (time >= 0)
    seconds = (time[inside] / 1000).astype(np.float16)
    order = np.argsort(seconds, kind="stable")
    return seconds[order], channel[inside][order].astype(np.uint16)


def _write(path: Path, examples, label, speaker) -> None:
    h5py: Any = importlib.import_module("h5py")
    words = [f"made-up {k}".encode() for k in range(label.max() + 1)]
    with h5py.File(path, "x") as file:
        for part, values in zip(("times", "units"), zip(*examples)):
            dtype = h5py.vlen_dtype(values[0].dtype)
            dataset = file.create_dataset(f"spikes/{part}", len(values), dtype)
            for i, value in enumerate(values):
                dataset[i] = value
        file["labels"] = label.astype(np.uint16)
        file["extra/keys"] = np.array(words)
        if speaker is not None:
            file["extra/speaker"] = speaker.astype(np.uint16)
