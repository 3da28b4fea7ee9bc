"""Made-up archives in the layouts of CIFAR, to try things out."""

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from ._cifar_file import CLASSES, SHAPE
from ._example_checks import check_absent, check_positive_numbers
from ._folder import PathLike
from ._load import import_builder
from ._tar_archive import write_made_up


_NAMES = ("cifar10", "cifar10_jpeg", "cifar100")
_TILES = 4  # of one colour, along a row and along a column
_NOISE = 20.0


def write_example_cifar(
    folder: PathLike,
    name: str = "cifar10_jpeg",
    *,
    examples_per_class: int = 2,
    seed: int = 0,
) -> list[Path]:
    """Write a small made-up archive in the layout of a CIFAR set to a data folder.

    Each class is a pattern of 4 x 4 coloured tiles, each picture its pattern and noise. So
    the classes can be learned. Nothing in them is a photograph, and no result on them says
    anything about the real sets. The archive says of itself that it is made up; that is
    why it is read although its checksum is not that of the original.

    A set is prepared once, and then read from where it was prepared. So give this archive
    a `prepared_dir` of its own:

    ```python
    ej.data.write_example_cifar("example", "cifar10_jpeg")
    train = ej.data.load(
        "cifar10_jpeg", data_dir="example", prepared_dir="example-prepared"
    )
    ```

    **Arguments:**

    - `folder`: the data folder; the archive goes to its subfolder `name`.
    - `name`: `"cifar10"`, `"cifar10_jpeg"` or `"cifar100"`.
    - `examples_per_class`: in each of the splits train and test.
    - `seed`: of all that is random.

    **Returns:** the archive, the only one in a list.

    **Raises:** `ValueError` for another name, or no example; `FileExistsError` if the
    archive is there already, which is left as it is; `ImportError` without the extra
    `eventjax[data]`.
    """
    if name not in _NAMES:
        raise ValueError(f"`name` must be one of {', '.join(_NAMES)}, got {name!r}.")
    check_positive_numbers(examples_per_class=examples_per_class)
    builder = import_builder(name)
    (archive,) = builder.FILES["pictures"].values()
    path = Path(folder).expanduser() / builder.SUBFOLDER / archive
    check_absent([path])
    num_classes = 100 if name == "cifar100" else len(CLASSES)
    patterns = _patterns(num_classes, np.random.default_rng(seed))
    splits = {}
    for number, split in enumerate(builder.SPLITS, 1):
        rng = np.random.default_rng([seed, number])
        label = np.repeat(np.arange(num_classes), examples_per_class)
        rng.shuffle(label)
        noise = rng.normal(0, _NOISE, (len(label), *SHAPE))
        images = np.clip(patterns[label] + noise, 0, 255).astype(np.uint8)
        splits[split] = images, label
    if name == "cifar10_jpeg":
        write_made_up(path, "xz", _jpeg_files(splits))
    else:
        write_made_up(path, "gz", _binary_files(splits, builder))
    return [path]


def _patterns(num_classes: int, rng) -> np.ndarray:
    """Of shape `(classes, 3, 32, 32)`."""
    channels, *pixels = SHAPE
    tiles = rng.uniform(30, 225, (num_classes, channels, _TILES, _TILES))
    tile = np.ones([size // _TILES for size in pixels])
    return np.kron(tiles, tile)


def _jpeg_files(splits) -> dict[str, bytes]:
    pillow: Any = importlib.import_module("PIL.Image")
    files = {}
    for split, (images, label) in splits.items():
        seen = [0] * len(CLASSES)
        for image, k in zip(images, label):
            content = io.BytesIO()
            picture = pillow.fromarray(np.moveaxis(image, 0, -1).copy())
            picture.save(content, "JPEG", quality=75)
            name = f"cifar10_jpeg/{split}/{CLASSES[k]}/{seen[k]:04}.jpg"
            files[name] = content.getvalue()
            seen[k] += 1
    return files


def _binary_files(splits, builder) -> dict[str, bytes]:
    files = {}
    for split, (images, label) in splits.items():
        # Classes of one group are neighbours: a label is a group and a place in it.
        fine, _ = list(builder.LABELS.values())[-1]
        columns = [label * size // fine for size, _ in builder.LABELS.values()]
        pixels = images.reshape(len(label), -1)
        records = np.column_stack([*columns, pixels]).astype(np.uint8)
        names = builder.SPLITS[split]
        for name, part in zip(names, np.array_split(records, len(names))):
            files[f"example/{name}"] = part.tobytes()
    for size, name in builder.LABELS.values():
        names = [f"made-up-{k}" for k in range(size)]
        files[f"example/{name}"] = "\n".join([*names, ""]).encode()
    return files
