"""MNIST as currents: values of pixels from 0 to 1."""

import numpy as np

import eventjax as ej
from paper_repro._row import Where

from ._config import Settings


Arrays = dict[str, np.ndarray]
CLASSES = 10
PIXELS = 784
_HELD = 5000  # the last pictures that are for training


def load(config: Settings, where: Where) -> dict[str, Arrays]:
    """Training, validation (the last 5,000 training pictures) and test, each with `image`
    in bytes and `label`.

    **Raises:** `FileNotFoundError` if the files are not there.
    """
    if where.smoke:  # MNIST is known by its checksums, so no file could stand in for it
        return {name: _noise(name, 20) for name in ("train", "validation", "test")}
    splits = {
        "train": f"train[:{config.train_size}]",
        "validation": f"train[-{_HELD}:]",
        "test": f"test[:{config.test_size}]",
    }
    return {name: _pixels(split, where) for name, split in splits.items()}


def _pixels(split: str, where: Where) -> Arrays:
    data = ej.data.load(
        "mnist", split, data_dir=where.data_dir, prepared_dir=where.prepared_dir
    )
    image = data["image"].reshape(len(data["image"]), PIXELS)
    return {"image": image, "label": data["label"].astype(np.int32)}


def _noise(name: str, count: int) -> Arrays:
    rng = np.random.default_rng(len(name))
    image = rng.integers(0, 256, (count, PIXELS), np.uint8)
    return {"image": image, "label": np.arange(count, dtype=np.int32) % CLASSES}
