"""The Yin-Yang set as a tensorflow-datasets builder.

To be imported only where tensorflow-datasets is at hand.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ._yin_yang import CLASS_NAMES, SPLITS, yin_yang


class EventjaxYinYang(tfds.core.GeneratorBasedBuilder):
    """The published splits of the Yin-Yang set, generated on the spot."""

    VERSION = tfds.core.Version("1.0.0")
    # No raw files.
    SUBFOLDER = None
    FILES = {}

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "features": tfds.features.Tensor(
                shape=(4,), dtype=np.float64, encoding="bytes"
            ),
            "label": tfds.features.ClassLabel(names=CLASS_NAMES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Yin-Yang: (x, y, 1 - x, 1 - y) of points in a disc.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://github.com/lkriener/yin_yang_data_set",
            license="MIT",
            citation="Kriener, Göltz, Petrovici: The Yin-Yang dataset. NICE 2022.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(size, seed)
            for split, (size, seed) in SPLITS.items()
        }

    def _generate_examples(
        self, size: int, seed: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        samples = yin_yang(size, seed)
        pairs = zip(samples["features"], samples["label"])
        for i, (features, label) in enumerate(pairs):
            yield i, {"features": features, "label": int(label)}
