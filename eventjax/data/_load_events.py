"""The front door to sets of events: prepared once, then memory-mapped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._event_set import EventSet, joined
from ._event_store import write_store
from ._folder import PathLike
from ._load import builder, EVENT_BUILDERS
from ._prepare import damaged


# For each set, the number of its input channels.
_NUM_UNITS = {
    "cifar10_dvs": 2 * 128 * 128,
    "nmnist": 2 * 34 * 34,
    "shd": 700,
    "spoken_digits": 700,
    "ssc": 700,
}

# Read and decoded together: enough to be fast, few beside the whole set.
_EXAMPLES_PER_READ = 256


def load_events(
    name: str,
    split: str = "train",
    *,
    data_dir: PathLike | None = None,
    prepared_dir: PathLike | None = None,
) -> EventSet:
    """A set of recordings made of events, or a part of one.

    - `"shd"`, Spiking Heidelberg Digits: 20 classes, 700 units, with speakers. Splits:
        train, test. From `shd_train.h5` and `shd_test.h5`.
    - `"ssc"`, Spiking Speech Commands: 35 classes, 700 units. Splits: train, validation,
        test. From `ssc_train.h5`, `ssc_valid.h5` and `ssc_test.h5`. Speakers are -1 where
        the file has no `extra/speaker`.
    - `"spoken_digits"`: recordings of the Free Spoken Digit Dataset, made into spikes by
        `eventjax.encoders.InnerEar`: 10 classes, 700 units, 6 speakers. Splits: train,
        test.
    - `"nmnist"`, N-MNIST: 10 classes, 2 x 34 x 34 units. Splits: train, test. From the
        folders `Train` and `Test`, or Train.zip and Test.zip. See
        `eventjax.data.read_nmnist`.
    - `"cifar10_dvs"`, CIFAR10-DVS: 10 classes, 2 x 128 x 128 units. From the folders
        `airplane` to `truck`, or airplane.zip to truck.zip. See
        `eventjax.data.read_aedat2`. There is no official split. Here the tenth of each
        class with the highest numbers in their names, rounded up, is test, all others are
        train.

    The unit of an event of a camera is `(polarity * height + y) * width + x`. Cameras have
    no speakers: they are -1.

    The first call prepares the set, and writes each split that is asked for once more as
    flat arrays; later calls map these into memory. Examples keep the order of the files;
    recordings of cameras, a file each, come in the order of the numbers in their names,
    then by class. The words of SHD and SSC, and the names of other classes, in the order of
    their labels, are in `label_names`.

    ```python
    train = ej.data.load_events("shd", data_dir="~/data")      # ~/data/shd/shd_train.h5
    few = ej.data.load_events("shd", "train[:1000]", data_dir="~/data")
    ```

    **Arguments:**

    - `name`: which set.
    - `split`: which part, as tensorflow-datasets writes it: `"train"`, `"test[:90%]"`,
        `"train+validation"`.
    - `data_dir`: folder of raw data, which is only read. The files lie in its subfolder of
        the set's name (`fsdd` for `"spoken_digits"`), or directly in it; `.h5` files may be
        gzipped, `.h5.gz`. By default the environment variable `EVENTJAX_DATA_DIR`. Not
        needed for a set that is prepared already.
    - `prepared_dir`: folder of prepared sets. By default the environment variable
        `EVENTJAX_CACHE_DIR`, or else `~/.cache/eventjax`.

    **Returns:** an `EventSet`. Events of one split, or of neighbouring examples of one,
    stay on disk until they are needed.

    **Raises:**

    - `ValueError` for an unknown set or split, an empty part, a raw file that is damaged
        or of another layout, a `prepared_dir` inside the data folder, or a prepared set
        that was made from other files than those in the data folder.
    - `FileNotFoundError` for raw files that are not there.
    - `ImportError` without the extra `eventjax[data]`.
    - `RuntimeError` if the prepared set is damaged.

    If preparing fails or is interrupted, nothing is left that would pass for the set.

    ??? cite "References"
        Cramer, Stradmann, Schemmel, Zenke: The Heidelberg Spiking Data Sets for the
        Systematic Evaluation of Spiking Neural Networks. IEEE Transactions on Neural
        Networks and Learning Systems 33(7), 2022. https://arxiv.org/abs/1910.07407.
        Both sets: https://zenkelab.org/datasets/, CC BY 4.0.
        N-MNIST: see `eventjax.data.read_nmnist`. CIFAR10-DVS: see
        `eventjax.data.read_aedat2`.
    """
    if name not in EVENT_BUILDERS:
        known = ", ".join(repr(known) for known in sorted(EVENT_BUILDERS))
        raise ValueError(
            f"Unknown set of events {name!r}. The known ones are {known}. Other sets are "
            "loaded by `eventjax.data.load`."
        )
    prepared = builder(name, data_dir=data_dir, prepared_dir=prepared_dir)
    num_units = _NUM_UNITS[name]
    parts = [
        _open_split(prepared, one.splitname, num_units).select(slice(one.from_, one.to))
        for one in _ranges(prepared, split)
    ]
    out = joined(parts)
    if len(out) == 0:
        raise ValueError(f"There is no example in the part {split!r} of the set.")
    return out


def _ranges(prepared: Any, split: str) -> list[Any]:
    """The split, or parts of splits, that `split` speaks of."""
    import tensorflow_datasets as tfds

    instruction = tfds.core.ReadInstruction.from_spec(split)
    return instruction.to_absolute(prepared.info.splits)


def _open_split(prepared: Any, split: str, num_units: int) -> EventSet:
    # Inside the prepared set's folder, so that who deletes one deletes both.
    folder = Path(prepared.data_path) / "events" / split
    if not folder.exists():
        try:
            write_store(folder, _read_parts(prepared, split, num_units))
        except OSError:
            # Another process may have put its folder in place meanwhile: as good as ours.
            if not folder.exists():
                raise
        except RuntimeError as error:
            raise damaged(prepared, error) from error
    return EventSet.open(folder)


def _read_parts(prepared: Any, split: str, num_units: int) -> Iterator[EventSet]:
    """A split, some examples at a time."""
    size = prepared.info.splits[split].num_examples
    source = prepared.as_data_source(split)
    feature = prepared.info.features["label"]
    names = _label_names(prepared)
    for start in range(0, size, _EXAMPLES_PER_READ):
        stop = min(start + _EXAMPLES_PER_READ, size)
        examples = source.__getitems__(list(range(start, stop)))
        times = [example["events"]["time"] for example in examples]
        units = [example["events"]["unit"] for example in examples]
        counts = [len(x) for x in times]
        yield EventSet(
            np.concatenate(times),
            np.concatenate(units),
            np.concatenate([[0], np.cumsum(counts)]),
            np.array([example["label"] for example in examples], np.int64),
            np.array([example["speaker"] for example in examples], np.int64),
            num_units=num_units,
            num_classes=feature.num_classes,
            label_names=names,
        )


def _label_names(prepared: Any) -> tuple[str, ...]:
    """What the set says, or else its features. A `RuntimeError` if these are no names."""
    feature, metadata = prepared.info.features["label"], prepared.info.metadata
    names = metadata.get("label_names") if metadata else feature.names
    are_names = isinstance(names, list) and all(isinstance(x, str) for x in names)
    if not are_names or len(set(names)) != feature.num_classes:
        raise RuntimeError(f"it names its {feature.num_classes} classes {names}")
    return tuple(names)
