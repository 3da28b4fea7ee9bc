"""Made-up recordings in the layouts of N-MNIST and CIFAR10-DVS, to try things out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import _aedat2_file as aedat2, _nmnist_file as nmnist
from ._camera_events import CameraEvents
from ._cifar_file import CLASSES
from ._example_checks import check_absent, check_positive_numbers
from ._folder import PathLike


_BURSTS = 4
_LONGEST = 4000.0  # ms, well inside of what 23 bits of microseconds hold
_START = 5_000_000  # us, where the clock of a camera may stand


def write_example_nmnist(
    folder: PathLike,
    *,
    examples_per_class: int = 2,
    events: int = 200,
    duration: float = 300.0,
    seed: int = 0,
) -> list[Path]:
    """Write small made-up recordings in the layout of N-MNIST to a data folder.

    Each class is a pattern of a few bursts of events in space and time. So the classes can
    be learned. Nothing in them is a digit, and no result on them says anything about the
    real set.

    A set is prepared once, and then read from where it was prepared. So give these files
    a `prepared_dir` of their own:

    ```python
    ej.data.write_example_nmnist("example")
    train = ej.data.load_events(
        "nmnist", data_dir="example", prepared_dir="example-prepared"
    )
    ```

    **Arguments:**

    - `folder`: the data folder; the files go to its subfolder `nmnist`.
    - `examples_per_class`: in each of the splits train and test.
    - `events`: events per example, on average.
    - `duration`: of an example, about, in ms, up to 4000.
    - `seed`: of all that is random.

    **Returns:** the files.

    **Raises:** `ValueError` for numbers that are not positive, or a longer `duration`;
    `FileExistsError` if there are such folders already, which are left as they are.
    """
    _check(examples_per_class, events, duration)
    root = Path(folder).expanduser() / "nmnist"
    folders = [root / "Train", root / "Test"]
    check_absent(folders)
    size = (nmnist.HEIGHT, nmnist.WIDTH)
    patterns = _patterns(10, size, duration, np.random.default_rng(seed))
    paths = []
    for part, place in enumerate(folders, 1):
        rng = np.random.default_rng([seed, part])
        label = np.repeat(np.arange(10), examples_per_class)
        rng.shuffle(label)
        for number, k in enumerate(label, 1):
            path = place / str(k) / f"{number:05}.bin"
            _write(path, _nmnist_bytes, _example(patterns[k], size, events, rng))
            paths.append(path)
    return paths


def write_example_cifar10_dvs(
    folder: PathLike,
    *,
    examples_per_class: int = 3,
    events: int = 200,
    duration: float = 300.0,
    seed: int = 0,
) -> list[Path]:
    """Write small made-up recordings in the layout of CIFAR10-DVS to a data folder, as
    `eventjax.data.write_example_nmnist` does.

    **Arguments:**

    - `folder`: the data folder; the files go to its subfolder `cifar10_dvs`.
    - `examples_per_class`: at least 2. A tenth of them, rounded up, is for testing.
    - `events`, `duration`, `seed`: as for `eventjax.data.write_example_nmnist`.

    **Returns:** the files.

    **Raises:** as for `eventjax.data.write_example_nmnist`.
    """
    _check(examples_per_class, events, duration)
    if examples_per_class < 2:
        raise ValueError(
            "`examples_per_class` must be at least 2, one for training and one for "
            f"testing, got {examples_per_class}."
        )
    root = Path(folder).expanduser() / "cifar10_dvs"
    folders = [root / name for name in CLASSES]
    check_absent(folders)
    size = (aedat2.HEIGHT, aedat2.WIDTH)
    rng = np.random.default_rng(seed)
    patterns = _patterns(len(CLASSES), size, duration, rng)
    paths = []
    for place, pattern in zip(folders, patterns):
        for number in range(examples_per_class):
            path = place / f"cifar10_{place.name}_{number}.aedat"
            _write(path, _aedat2_bytes, _example(pattern, size, events, rng))
            paths.append(path)
    return paths


def _check(examples_per_class: int, events: int, duration: float) -> None:
    check_positive_numbers(
        examples_per_class=examples_per_class, events=events, duration=duration
    )
    if duration > _LONGEST:
        raise ValueError(f"`duration` must be up to {_LONGEST} ms, got {duration}.")


def _patterns(num_classes: int, size, duration: float, rng) -> np.ndarray:
    """Row, column, polarity (at least 0.5 for 1) and time in ms of each burst: of shape
    `(classes, bursts, 4)`."""
    places = rng.uniform(0.1, 0.9, (num_classes, _BURSTS, 4))
    return places * [*size, 1, duration]


def _example(pattern, size, events, rng) -> CameraEvents:
    number = rng.poisson(events) + 1
    row, column, polarity, time = pattern[rng.integers(_BURSTS, size=number)].T
    height, width = size
    y = np.clip(row + rng.normal(0, height / 30, number), 0, height - 1)
    x = np.clip(column + rng.normal(0, width / 30, number), 0, width - 1)
    order = np.argsort(times := np.abs(time + rng.normal(0, 5, number)))
    return CameraEvents(
        times[order],
        x[order].astype(int),
        y[order].astype(int),
        (polarity[order] >= 0.5).astype(int),
        height,
        width,
    )


def _write(
    path: Path, encode: Callable[[CameraEvents], bytes], events: CameraEvents
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(events))


def _nmnist_bytes(events: CameraEvents) -> bytes:
    microseconds = np.rint(events.times * 1000).astype(int)
    high = microseconds >> 16 | events.polarity << 7
    columns = (events.x, events.y, high, microseconds >> 8 & 0xFF, microseconds & 0xFF)
    return np.column_stack(columns).astype(np.uint8).tobytes()


def _aedat2_bytes(events: CameraEvents) -> bytes:
    microseconds = _START + np.rint(events.times * 1000).astype(int)
    address = events.x << 8 | events.y << 1 | events.polarity
    words = np.column_stack([address, microseconds]).astype(">u4")
    header = aedat2.VERSION_LINE + b"\r\n# Made up by eventjax, to try things out.\r\n"
    return header + words.tobytes()
