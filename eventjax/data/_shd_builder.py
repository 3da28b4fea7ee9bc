"""The Heidelberg spiking data sets as tensorflow-datasets builders.

To be imported only where tensorflow-datasets and h5py are at hand.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from ._event_features import event_features
from ._raw_files import locate, unpacked_size
from ._shd_file import open_shd_file, ShdFile


class AbstractShdLayout(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A set from HDF5 files of the published layout, plain or gzipped, in their order.

    Labels, words and speakers of all files are checked before the first example is
    written, spikes as they are read. Copies in circulation differ in their checksums and
    in how many examples they have, so neither is asked for.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The files are served at https://zenkelab.org/datasets/ as `.h5.gz`. They may stay "
        "gzipped or be unpacked to `.h5`."
    )
    SHA256 = {}
    # Where the raw files lie in the data folder, and what they are called there.
    SUBFOLDER: str
    FILES: dict[str, dict[str, str]]
    NUM_CLASSES: int
    NEEDS_SPEAKERS: bool
    DESCRIPTION: str

    def download_and_prepare(self, **settings: Any) -> None:
        # Files stay open, and unpacked, for as long as the set is being prepared.
        with contextlib.ExitStack() as self._stack:
            super().download_and_prepare(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=event_features(self.NUM_CLASSES),
            homepage="https://zenkelab.org/datasets/",
            license="CC BY 4.0",
            citation=(
                "Cramer, Stradmann, Schemmel, Zenke: The Heidelberg Spiking Data Sets for "
                "the Systematic Evaluation of Spiking Neural Networks. IEEE Transactions "
                "on Neural Networks and Learning Systems 33(7), 2022."
            ),
            # Words and sizes are known only when the files are read.
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        files, sizes, names = {}, {}, {}
        for split, parts in self.FILES.items():
            path = locate(folder, parts["events"])
            if path is None:
                raise FileNotFoundError(
                    f"There is no file `{parts['events']}` in `{folder}`."
                )
            files[split] = ShdFile(
                open_shd_file(path, self._stack),
                path,
                self.NUM_CLASSES,
                self.NEEDS_SPEAKERS,
            )
            names[path.name] = files[split].label_names
            sizes[parts["events"]] = unpacked_size(path)
        first = next(iter(names.values()))
        if any(words != first for words in names.values()):
            raise ValueError(
                f"The files in `{folder}` are not of one set, their words differ: {names}."
            )
        self.info.metadata["label_names"] = first
        self.info.metadata["raw_sizes"] = sizes
        return {split: self._generate_examples(file) for split, file in files.items()}

    def _generate_examples(self, file: ShdFile) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (times, units) in enumerate(file.examples()):
            yield (
                i,
                {
                    "events": {"time": times, "unit": units},
                    "label": int(file.label[i]),
                    "speaker": int(file.speaker[i]),
                },
            )


class EventjaxShd(AbstractShdLayout):
    """Digits spoken in English and German."""

    VERSION = tfds.core.Version("1.0.0")
    SUBFOLDER = "shd"
    FILES = {
        "train": {"events": "shd_train.h5"},
        "test": {"events": "shd_test.h5"},
    }
    NUM_CLASSES = 20
    NEEDS_SPEAKERS = True
    DESCRIPTION = "Spiking Heidelberg Digits: spoken digits as spikes of 700 channels."


class EventjaxSsc(AbstractShdLayout):
    """The words of the Speech Commands set."""

    VERSION = tfds.core.Version("1.0.0")
    SUBFOLDER = "ssc"
    FILES = {
        "train": {"events": "ssc_train.h5"},
        "validation": {"events": "ssc_valid.h5"},
        "test": {"events": "ssc_test.h5"},
    }
    NUM_CLASSES = 35
    NEEDS_SPEAKERS = False
    DESCRIPTION = "Spiking Speech Commands: 35 words as spikes of 700 channels."
