"""MNIST as a tensorflow-datasets builder.

To be imported only where tensorflow-datasets is at hand.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ._idx import parse_idx, read_checked


class EventjaxMnist(tfds.core.GeneratorBasedBuilder):
    """MNIST from its four original gzipped idx files, in their original order.

    All four are checked and parsed before the first example is written. A subclass may
    name other files of the same layout: it is prepared under its own name.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The four original files are served at "
        "https://storage.googleapis.com/cvdf-datasets/mnist/. Keep them gzipped."
    )
    # Where the raw files lie in the data folder, and what they are called there.
    SUBFOLDER = "mnist"
    FILES = {
        "train": {
            "image": "train-images-idx3-ubyte.gz",
            "label": "train-labels-idx1-ubyte.gz",
        },
        "test": {
            "image": "t10k-images-idx3-ubyte.gz",
            "label": "t10k-labels-idx1-ubyte.gz",
        },
    }
    SHA256 = {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    }

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(
                shape=(28, 28), dtype=np.uint8, encoding="bytes"
            ),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="MNIST: handwritten digits, grey values from 0 (background).",
            features=tfds.features.FeaturesDict(features),
            homepage="http://yann.lecun.com/exdb/mnist/",
            license="Usually stated as CC BY-SA 3.0.",
            citation="LeCun, Cortes, Burges: The MNIST database of handwritten digits.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        arrays = {split: self._read_split(folder, split) for split in self.FILES}
        return {split: self._generate_examples(*arrays[split]) for split in arrays}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(images, labels)):
            yield i, {"image": image, "label": int(label)}

    def _read_split(self, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images `(n, 28, 28)` and labels `(n,)`, both uint8."""
        image_path = folder / self.FILES[split]["image"]
        label_path = folder / self.FILES[split]["label"]
        images = self._read_file(image_path, ndim=3)
        labels = self._read_file(label_path, ndim=1)
        if images.shape[1:] != (28, 28):
            raise ValueError(
                f"`{image_path}` must hold images of 28 x 28, found {images.shape[1:]}."
            )
        if len(images) != len(labels):
            raise ValueError(
                f"Each image needs one label: found {len(images)} images in "
                f"`{image_path}` and {len(labels)} labels in `{label_path}`."
            )
        if labels.max(initial=0) > 9:
            raise ValueError(
                f"`{label_path}` must hold digits from 0 to 9, found {labels.max()}."
            )
        return images, labels

    def _read_file(self, path: Path, *, ndim: int) -> np.ndarray:
        return parse_idx(read_checked(path, self.SHA256[path.name]), str(path), ndim)
