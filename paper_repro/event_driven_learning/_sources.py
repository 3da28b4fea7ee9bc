"""Pictures, still or from an event camera, as training and evaluation take them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import eventjax as ej
from paper_repro._row import Where

from ._config import Pictures


Arrays = dict[str, np.ndarray]
Shape = tuple[int, int, int]  # channels, height, width
_EVALUATED_TOGETHER = 250  # pictures
_CAMERAS: dict[str, Shape] = {"nmnist": (2, 34, 34), "cifar10_dvs": (2, 128, 128)}


@dataclasses.dataclass(frozen=True)
class Still:
    """Pictures of bytes, `[examples, channels, height, width]`, with labels."""

    arrays: Arrays

    @property
    def shape(self) -> Shape:
        _, channels, height, width = self.arrays["image"].shape
        return channels, height, width

    @property
    def classes(self) -> int:
        return int(self.arrays["label"].max()) + 1

    def batches(self, config: Pictures) -> ej.data.Batches:
        """For training."""
        changes: list[Any] = []
        if config.crop:
            changes.append(ej.data.RandomCrop(config.crop))
        if config.flip:
            changes.append(ej.data.FlipLeftRight())
        if config.cutout:
            changes.append(ej.data.Cutout(config.cutout))
        return ej.data.Batches(
            self.arrays,
            config.batch,
            seed=config.seed,
            drop_last=True,
            augment={"image": changes} if changes else {},
        )

    def padded(self) -> Iterator[tuple[Arrays, np.ndarray]]:
        """For evaluation."""
        together = min(_EVALUATED_TOGETHER, len(self.arrays["label"]))
        return ej.data.padded_batches(self.arrays, together)

    def first(self, count: int) -> "Still":
        return Still({name: array[:count] for name, array in self.arrays.items()})


@dataclasses.dataclass(frozen=True)
class Events:
    """Recordings of an event camera."""

    events: ej.data.EventSet
    shape: Shape
    t1: float
    places: int

    @property
    def classes(self) -> int:
        return self.events.num_classes

    def batches(self, config: Pictures) -> ej.data.EventBatches:
        """For training. Pictures stay as they are: none of `crop`, `flip`, `cutout`."""
        if config.crop or config.flip or config.cutout:
            raise ValueError(
                "`crop`, `flip` and `cutout` are for still pictures; got "
                f"{config.crop}, {config.flip} and {config.cutout} with {config.dataset}."
            )
        return ej.data.EventBatches(
            self.events,
            config.batch,
            t1=self.t1,
            seed=config.seed,
            drop_last=True,
            capacity=self.places,
        )

    def padded(self) -> Iterator[tuple[Arrays, np.ndarray]]:
        """For evaluation."""
        together = min(_EVALUATED_TOGETHER, len(self.events))
        return ej.data.padded_event_batches(self.events, together, self.t1, self.places)

    def first(self, count: int) -> "Events":
        few = self.events.select(np.arange(min(count, len(self.events))))
        return dataclasses.replace(self, events=few)


Source = Still | Events


def load(config: Pictures, where: Where) -> Mapping[str, Source]:
    """Training, validation and test pictures. Validation pictures are the last of the
    training set.

    **Raises:** `FileNotFoundError` if the data are not there.
    """
    held, size = config.validation_size, config.train_size
    # Without a size all but those for validation
    until = f"-{held}" if size is None else str(size)
    splits = {
        "train": f"train[:{until}]",
        "validation": f"train[-{held}:]",
        "test": "test" if config.test_size is None else f"test[:{config.test_size}]",
    }
    if config.dataset in _CAMERAS:
        return _events(splits, config, where)
    if where.smoke:
        return _made_up(config)
    return {name: _still(split, config, where) for name, split in splits.items()}


def _still(split: str, config: Pictures, where: Where) -> Source:
    places = dict(data_dir=where.data_dir, prepared_dir=where.prepared_dir)
    data = ej.data.load(config.dataset, split, **places)
    image = data["image"]
    if image.ndim == 3:  # without the axis of channels
        image = image[:, None]
    return Still({"image": image, "label": data["label"].astype(np.int32)})


def _events(
    splits: dict[str, str], config: Pictures, where: Where
) -> Mapping[str, Source]:
    places = dict(data_dir=where.data_dir, prepared_dir=where.prepared_dir)
    parts = {
        name: ej.data.load_events(config.dataset, split, **places).crop(config.t1)
        for name, split in splits.items()
    }
    most = max(int(part.counts.max()) for part in parts.values())
    shape = _CAMERAS[config.dataset]
    return {name: Events(part, shape, config.t1, most) for name, part in parts.items()}


def _made_up(config: Pictures) -> dict[str, Source]:
    """Noise in the shape of a set: MNIST and CIFAR are known by their checksums, so no
    file could stand in for them."""
    rng = np.random.default_rng(config.seed)
    shape = (1, 28, 28) if config.dataset == "mnist" else (3, 32, 32)

    def part(count: int) -> Source:
        image = rng.integers(0, 256, (count, *shape), np.uint8)
        return Still({"image": image, "label": np.arange(count, dtype=np.int32) % 10})

    return {"train": part(20), "validation": part(10), "test": part(10)}
