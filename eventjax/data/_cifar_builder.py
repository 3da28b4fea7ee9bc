"""CIFAR-10 and CIFAR-100, without loss, as tensorflow-datasets builders.

To be imported only where tensorflow-datasets is at hand.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ._cifar_file import parse_names, parse_pictures, SHAPE
from ._raw_files import unpacked_size
from ._tar_archive import read_archive


class AbstractCifarLayout(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set from the published archive of binary files, in their order.

    The archive is the original, whose checksum is the one tensorflow-datasets gives, or
    says of itself that it is made up. All of it is checked before the first example is
    written.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The archive is the *binary* version of https://www.cs.toronto.edu/~kriz/cifar.html."
        " Keep it packed."
    )
    # Where the raw file lies in the data folder, and what it is called there.
    SUBFOLDER: str
    FILES: dict[str, dict[str, str]]
    SHA256: dict[str, str]
    # Which files of the archive make up a split.
    SPLITS: dict[str, tuple[str, ...]]
    # In the order of a record: the number of classes, and the file of their names.
    LABELS: dict[str, tuple[int, str]]
    DESCRIPTION: str

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding="bytes")
        labels = {
            name: tfds.features.ClassLabel(num_classes=size)
            for name, (size, _) in self.LABELS.items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict({"image": image, **labels}),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            citation=(
                "Krizhevsky: Learning multiple layers of features from tiny images, 2009."
            ),
            # Names are known only when the archive is read.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        (archive,) = self.FILES["pictures"].values()
        path = Path(dl_manager.manual_dir) / archive
        files, made_up = read_archive(path, self.SHA256[archive])
        for label, (size, name) in self.LABELS.items():
            names = parse_names(*_find(files, name, path), size)
            self.info.metadata[f"{label}_names"] = names
        self.info.metadata["made_up"] = made_up
        self.info.metadata["raw_sizes"] = {archive: unpacked_size(path)}
        num_classes = [size for size, _ in self.LABELS.values()]
        parts = {
            split: [
                parse_pictures(*_find(files, name, path), num_classes) for name in names
            ]
            for split, names in self.SPLITS.items()
        }
        return {split: self._generate_examples(x) for split, x in parts.items()}

    def _generate_examples(
        self, parts: list[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        pairs = (pair for images, labels in parts for pair in zip(images, labels))
        for i, (image, labels) in enumerate(pairs):
            yield i, {"image": image, **dict(zip(self.LABELS, labels.tolist()))}


class EventjaxCifar10(AbstractCifarLayout):
    """Pictures of 10 classes."""

    VERSION = tfds.core.Version("1.0.0")
    SUBFOLDER = "cifar10"
    FILES = {"pictures": {"archive": "cifar-10-binary.tar.gz"}}
    SHA256 = {
        "cifar-10-binary.tar.gz": (
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9dddda3db29a59bca1dd"
        )
    }
    SPLITS = {
        "train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    LABELS = {"label": (10, "batches.meta.txt")}
    DESCRIPTION = "CIFAR-10: colour pictures of 32 x 32 pixels in 10 classes."


class EventjaxCifar100(AbstractCifarLayout):
    """Pictures of 100 classes, in 20 groups."""

    VERSION = tfds.core.Version("1.0.0")
    SUBFOLDER = "cifar100"
    FILES = {"pictures": {"archive": "cifar-100-binary.tar.gz"}}
    SHA256 = {
        "cifar-100-binary.tar.gz": (
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
        )
    }
    SPLITS = {"train": ("train.bin",), "test": ("test.bin",)}
    LABELS = {
        "coarse_label": (20, "coarse_label_names.txt"),
        "label": (100, "fine_label_names.txt"),
    }
    DESCRIPTION = (
        "CIFAR-100: colour pictures of 32 x 32 pixels in 100 classes and 20 groups."
    )


def _find(
    files: dict[PurePosixPath, bytes], name: str, path: Path
) -> tuple[bytes, str]:
    """Content of the one file of this name, in whatever folder, and what to call it."""
    found = [file for file in files if file.name == name]
    if len(found) != 1:
        raise ValueError(
            f"There must be one file `{name}` in `{path}`, found {len(found)}. Replace it "
            "by the original."
        )
    return files[found[0]], f"`{found[0]}` in `{path}`"
