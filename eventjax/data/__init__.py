"""Real data sets as NumPy arrays, and batches of them.

Sets are tensorflow-datasets builders read on their NumPy side: TensorFlow itself is
neither needed nor imported. What `load` and `builder` need comes with the extra
`eventjax[data]`; everything else here needs NumPy alone.
"""

from ._aedat2_file import read_aedat2 as read_aedat2
from ._augment import (
    Augmentation as Augmentation,
    DilateTime as DilateTime,
    DropEvents as DropEvents,
    JitterChannels as JitterChannels,
    ShiftChannels as ShiftChannels,
)
from ._batches import Batches as Batches, padded_batches as padded_batches
from ._blend import Blend as Blend
from ._camera_events import CameraEvents as CameraEvents
from ._event_batches import (
    EventBatches as EventBatches,
    padded_event_batches as padded_event_batches,
)
from ._event_set import EventSet as EventSet
from ._example_cameras import (
    write_example_cifar10_dvs as write_example_cifar10_dvs,
    write_example_nmnist as write_example_nmnist,
)
from ._example_cifar import write_example_cifar as write_example_cifar
from ._example_librispeech import (
    write_example_librispeech as write_example_librispeech,
)
from ._example_shd import write_example_shd as write_example_shd
from ._example_timit import write_example_timit as write_example_timit
from ._frame_labels import frame_labels as frame_labels
from ._load import builder as builder, load as load
from ._load_events import load_events as load_events
from ._load_speech import load_speech as load_speech, standardise as standardise
from ._load_utterances import load_utterances as load_utterances
from ._long_memory import (
    adding as adding,
    copying as copying,
    delayed_xor as delayed_xor,
)
from ._nmnist_file import read_nmnist as read_nmnist
from ._phones import (
    fold_phones as fold_phones,
    FOLDED_PHONES as FOLDED_PHONES,
    PHONES as PHONES,
)
from ._picture_augment import (
    Cutout as Cutout,
    FlipLeftRight as FlipLeftRight,
    PictureAugmentation as PictureAugmentation,
    RandomCrop as RandomCrop,
)
from ._utterance_batches import (
    padded_utterance_batches as padded_utterance_batches,
    UtteranceBatches as UtteranceBatches,
)
from ._utterances import (
    normalise_speakers as normalise_speakers,
    Utterances as Utterances,
)
from ._yin_yang import yin_yang as yin_yang
