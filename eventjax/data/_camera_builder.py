"""Recordings of event cameras as tensorflow-datasets builders.

To be imported only where tensorflow-datasets is at hand.
"""

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ._aedat2_file import parse_aedat2
from ._camera_events import CameraEvents
from ._cifar_file import CLASSES
from ._event_features import event_features
from ._nmnist_file import parse_nmnist
from ._raw_files import locate, unpacked_size
from ._recordings import by_class, find_recordings, Recording


ByClass = list[list[Recording]]


class AbstractCameraSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set of files, one per recording, in folders named as the classes, plain or in zip
    archives.

    Examples come in the order of the numbers at the end of their names, then by class, so
    that a long slice of a split holds all classes alike. Names are looked at before the
    first example is written, recordings as they are read. Neither checksums nor how many
    recordings there are is asked for.
    """

    SHA256 = {}
    # Where the raw files lie in the data folder, and what they are called there.
    SUBFOLDER: str
    FILES: dict[str, dict[str, str]]
    CLASS_NAMES: tuple[str, ...]
    SUFFIX: str
    ABOUT: dict[str, str]

    @abc.abstractmethod
    def _parse(self, content: bytes, where: str) -> CameraEvents:
        """The events of a file."""

    @abc.abstractmethod
    def _splits(self, found: Mapping[str, ByClass]) -> Mapping[str, ByClass]:
        """The recordings of each split, from those of each part of `FILES`."""

    def download_and_prepare(self, **settings: Any) -> None:
        # Archives stay open for as long as the set is being prepared.
        with contextlib.ExitStack() as self._stack:
            super().download_and_prepare(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=event_features(len(self.CLASS_NAMES)),
            # Sizes are known only when the files are there.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
            **self.ABOUT,
        )

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        found, sizes = {}, {}
        for part, names in self.FILES.items():
            recordings = []
            for name in names.values():
                path = locate(folder, name)
                if path is None:
                    raise FileNotFoundError(f"There is no `{name}` in `{folder}`.")
                sizes[path.name] = unpacked_size(path)
                recordings += find_recordings(path, self.SUFFIX, self._stack)
            listing = ", ".join(names.values())
            found[part] = by_class(
                recordings, self.CLASS_NAMES, f"`{folder}`: {listing}"
            )
        self.info.metadata["label_names"] = list(self.CLASS_NAMES)
        self.info.metadata["raw_sizes"] = sizes
        splits = self._splits(found)
        return {split: self._generate_examples(x) for split, x in splits.items()}

    def _generate_examples(
        self, recordings: Sequence[Sequence[Recording]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        ordered = sorted(
            (recording.number, label, recording)
            for label, of_class in enumerate(recordings)
            for recording in of_class
        )
        for i, (_, label, recording) in enumerate(ordered):
            events = self._parse(recording.read(), recording.where)
            units = {"time": events.times.astype(np.float32), "unit": events.units}
            yield i, {"events": units, "label": label, "speaker": -1}


class EventjaxNmnist(AbstractCameraSet):
    """N-MNIST: the digits of MNIST before a camera that moves, 34 x 34 pixels.

    In the published files the number of a recording is taken to be its place in MNIST, so
    that examples come in MNIST's order.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`Train` and `Test` are folders with a folder for each digit, or the archives "
        "Train.zip and Test.zip as they are published, which "
        "https://www.garrickorchard.com/datasets/n-mnist tells where to find."
    )
    SUBFOLDER = "nmnist"
    FILES = {"train": {"events": "Train"}, "test": {"events": "Test"}}
    CLASS_NAMES = tuple("0123456789")
    SUFFIX = ".bin"
    ABOUT = dict(
        description="N-MNIST: digits as events of a camera of 34 x 34 pixels.",
        homepage="https://www.garrickorchard.com/datasets/n-mnist",
        license="Stated as CC BY-SA 4.0.",
        citation=(
            "Orchard, Jayawant, Cohen, Thakor: Converting static image datasets to "
            "spiking neuromorphic datasets using saccades. Frontiers in Neuroscience 9, "
            "2015."
        ),
    )

    def _parse(self, content: bytes, where: str) -> CameraEvents:
        return parse_nmnist(content, where)

    def _splits(self, found: Mapping[str, ByClass]) -> Mapping[str, ByClass]:
        return found


class EventjaxCifar10Dvs(AbstractCameraSet):
    """CIFAR10-DVS: moving pictures of CIFAR-10 before a camera of 128 x 128 pixels.

    There is no official split. The test set is, of each class, the tenth of the recordings
    with the highest numbers, rounded up: 900 to 999 of 1,000. All others are for training.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "These are folders of `.aedat` files, or the archives airplane.zip to truck.zip of "
        "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671. An archive "
        "CIFAR10DVS.zip that is also in circulation is said to hold copies in AEDAT 4, "
        "which is another format and is not read."
    )
    SUBFOLDER = "cifar10_dvs"
    FILES = {"recordings": {name: name for name in CLASSES}}
    CLASS_NAMES = CLASSES
    SUFFIX = ".aedat"
    ABOUT = dict(
        description="CIFAR10-DVS: pictures as events of a camera of 128 x 128 pixels.",
        homepage="https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
        citation=(
            "Li, Liu, Ji, Li, Shi: CIFAR10-DVS: An event-stream dataset for object "
            "classification. Frontiers in Neuroscience 11, 2017."
        ),
    )

    def _parse(self, content: bytes, where: str) -> CameraEvents:
        return parse_aedat2(content, where)

    def _splits(self, found: Mapping[str, ByClass]) -> Mapping[str, ByClass]:
        train, test = [], []
        for name, recordings in zip(self.CLASS_NAMES, found["recordings"]):
            stop = len(recordings) - -(-len(recordings) // 10)
            if stop == 0:
                raise ValueError(
                    f"Each class must have a recording for training and one for testing, "
                    f"but {name} has only {recordings[0].where}. Complete it from the "
                    "originals."
                )
            train.append(recordings[:stop])
            test.append(recordings[stop:])
        return {"train": train, "test": test}
