"""What an example of a set of events is, for all builders of such sets.

To be imported only where tensorflow-datasets is at hand.
"""

import numpy as np
import tensorflow_datasets as tfds


def event_features(num_classes: int) -> tfds.features.FeaturesDict:
    """Times in ms and units of the events, the label, and the speaker, -1 if unknown."""
    events = {
        name: tfds.features.Tensor(shape=(None,), dtype=dtype, encoding="bytes")
        for name, dtype in (("time", np.float32), ("unit", np.uint16))
    }
    return tfds.features.FeaturesDict(
        {
            "events": tfds.features.FeaturesDict(events),
            "label": tfds.features.ClassLabel(num_classes=num_classes),
            "speaker": tfds.features.Scalar(dtype=np.int32),
        }
    )
