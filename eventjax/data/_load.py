"""The front door to data sets: as arrays in memory, or as builders."""

import importlib
from typing import Any

import numpy as np

from ._folder import data_root, PathLike, prepared_root
from ._prepare import damaged, prepare


# For each set, where its builder is. Builders are imported when asked for, because they
# need tensorflow-datasets, which is an extra.
_BUILDERS = {
    "cifar10": ("_cifar_builder", "EventjaxCifar10"),
    "cifar100": ("_cifar_builder", "EventjaxCifar100"),
    "cifar10_jpeg": ("_cifar_jpeg_builder", "EventjaxCifar10Jpeg"),
    "mnist": ("_mnist_builder", "EventjaxMnist"),
    "yin_yang": ("_yin_yang_builder", "EventjaxYinYang"),
}
# Those whose examples are events, of unequal number: for `load_events`.
EVENT_BUILDERS = {
    "cifar10_dvs": ("_camera_builder", "EventjaxCifar10Dvs"),
    "nmnist": ("_camera_builder", "EventjaxNmnist"),
    "shd": ("_shd_builder", "EventjaxShd"),
    "spoken_digits": ("_spoken_digits_builder", "EventjaxSpokenDigits"),
    "ssc": ("_shd_builder", "EventjaxSsc"),
}
# Those whose examples are speech with its phones: for `load_speech`.
SPEECH_BUILDERS = {
    "timit": ("_timit_builder", "EventjaxTimit"),
    "timit_sample": ("_timit_builder", "EventjaxTimitSample"),
}
# Those whose examples are speech with a label for each frame: for `load_utterances`.
UTTERANCE_BUILDERS = {
    "librispeech": ("_librispeech_builder", "EventjaxLibriSpeech"),
}

# Read and decoded together: enough to be fast, few beside the whole set.
_EXAMPLES_PER_READ = 4096


def load(
    name: str,
    split: str = "train",
    *,
    data_dir: PathLike | None = None,
    prepared_dir: PathLike | None = None,
) -> dict[str, np.ndarray]:
    """A data set, or a part of one, as NumPy arrays in memory. (For sets of events, such
    as SHD, see `eventjax.data.load_events`; for TIMIT, `eventjax.data.load_speech`; for
    LibriSpeech, `eventjax.data.load_utterances`.)

    - `"yin_yang"`: `features` float64 `(n, 4)` in [0, 1] and `label` int64 `(n,)` in
        0 to 2. Splits: train 5000, validation 1000, test 1000.
    - `"mnist"`: `image` uint8 `(n, 28, 28)`, 0 for the background, and `label` int64
        `(n,)` in 0 to 9. Splits: train 60000, test 10000.
    - `"cifar10_jpeg"`, CIFAR-10 (JPEG): `image` uint8 `(n, 3, 32, 32)`, red, green and
        blue, and `label` int64 `(n,)` in 0 to 9. Splits: train 50000, test 10000. The
        pictures went through JPEG, with loss: results on them are not results on CIFAR-10.
        A split is in the order of the SHA-256 checksums of the names in the archive, so
        that `"train[:10000]"` is a fixed subset in which classes are mixed by chance.
    - `"cifar10"`: the same pictures without loss.
    - `"cifar100"`: `image` as before, `label` int64 `(n,)` in 0 to 99 and `coarse_label`
        int64 `(n,)` in 0 to 19. Splits: train 50000, test 10000.

    The first call prepares the set in `prepared_dir`, which takes some seconds for
    MNIST and about half a minute for CIFAR; later ones read what is there. Examples keep
    their original order, except those of `"cifar10_jpeg"`. Where classes have names, these
    are in `builder(name).info.metadata["label_names"]`.

    ```python
    train = ej.data.load("mnist", "train[:55000]", data_dir="~/data")
    validation = ej.data.load("mnist", "train[55000:]", data_dir="~/data")
    ```

    **Arguments:**

    - `name`: which set.
    - `split`: which part, as tensorflow-datasets writes it: `"train"`,
        `"train[:5000]"`, `"train[90%:]"`, `"train+test"`.
    - `data_dir`: folder of raw data, which is only read. MNIST's four files lie in its
        subfolder `mnist`, the archives cifar10_jpeg.tar.xz, cifar-10-binary.tar.gz and
        cifar-100-binary.tar.gz in `cifar10_jpeg`, `cifar10` and `cifar100`. By default
        the environment variable `EVENTJAX_DATA_DIR`. Not needed for `"yin_yang"`, nor for
        a set that is prepared already.
    - `prepared_dir`: folder of prepared sets. By default the environment variable
        `EVENTJAX_CACHE_DIR`, or else `~/.cache/eventjax`.

    **Returns:** a dictionary of arrays, whose first axis is the example.

    **Raises:**

    - `ValueError` for an unknown set or split, an empty part, a raw file that is not
        the original, or a `prepared_dir` inside the data folder.
    - `FileNotFoundError` for raw files that are not there, with their sha256.
    - `ImportError` without the extra `eventjax[data]`.
    - `RuntimeError` if the prepared set is damaged.

    If preparing fails or is interrupted, nothing is left that would pass for the set.

    ??? cite "References"
        Yin-Yang: see `eventjax.data.yin_yang` (MIT licence).
        MNIST: LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/ (the licence is
        usually stated as CC BY-SA 3.0).
        CIFAR: Krizhevsky: Learning multiple layers of features from tiny images, 2009.
        https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    if name in EVENT_BUILDERS:
        raise ValueError(
            f"The examples of {name!r} are events, of unequal number, and make no arrays: "
            f"use `eventjax.data.load_events({name!r})`."
        )
    if name in SPEECH_BUILDERS:
        raise ValueError(
            f"The examples of {name!r} are speech, of unequal length, and make no arrays: "
            f"use `eventjax.data.load_speech({name!r})`."
        )
    if name in UTTERANCE_BUILDERS:
        raise ValueError(
            f"The examples of {name!r} are speech, of unequal length, and make no arrays: "
            f"use `eventjax.data.load_utterances({name!r})`."
        )
    prepared = builder(name, data_dir=data_dir, prepared_dir=prepared_dir)
    return read_arrays(prepared, split)


def builder(
    name: str,
    *,
    data_dir: PathLike | None = None,
    prepared_dir: PathLike | None = None,
) -> Any:
    """A data set as a prepared tensorflow-datasets builder: for random access on disk,
    or for what it knows about the set.

    ```python
    source = ej.data.builder("yin_yang").as_data_source("train")
    source[0]["features"]
    ```

    Processes may prepare the same set at once: each writes to a folder of its own, the
    first to finish puts its folder in place, and the others use that.

    **Arguments** and **Raises:** as for `eventjax.data.load`.

    **Returns:** a `tensorflow_datasets.core.DatasetBuilder`, its data in `prepared_dir`
    in the array_record format.
    """
    builder_class = import_builder(name)
    raw_root = data_root(data_dir)
    root = prepared_root(prepared_dir, raw_root)
    return prepare(builder_class, root, raw_root)


def import_builder(name: str) -> Any:
    """The class of a set's builder, not prepared.

    **Raises:** `ValueError` for an unknown set; `ImportError` without the extra.
    """
    speech = {**SPEECH_BUILDERS, **UTTERANCE_BUILDERS}
    builders = {**_BUILDERS, **EVENT_BUILDERS, **speech}
    if name not in builders:
        known, of_events, of_speech = (
            ", ".join(repr(known) for known in sorted(names))
            for names in (_BUILDERS, EVENT_BUILDERS, speech)
        )
        raise ValueError(
            f"Unknown data set {name!r}. The known ones are {known}; made of events, "
            f"{of_events}; and of speech, {of_speech}."
        )
    return _import_builder(*builders[name])


def _import_builder(module_name: str, class_name: str) -> Any:
    try:
        # By name, because tensorflow-datasets imports the others only when needed.
        for package in ("tensorflow_datasets", "array_record", "importlib_resources"):
            importlib.import_module(package)
        module = importlib.import_module(f".{module_name}", __package__)
    except ImportError as error:
        raise ImportError(
            "Data sets need the packages tensorflow-datasets, array_record, "
            "importlib_resources and, some of them, h5py, pillow or soundfile, but: "
            f"{error}. Install them with `pip install 'eventjax[data]'`, or use "
            "`eventjax.data.yin_yang`, which does without."
        ) from error
    return getattr(module, class_name)


def read_arrays(prepared: Any, split: str) -> dict[str, np.ndarray]:
    """All examples of a split of a prepared builder, stacked."""
    size = prepared.info.splits[split].num_examples
    if size == 0:
        raise ValueError(f"There is no example in the part {split!r} of the set.")
    arrays = {
        name: np.empty((size, *feature.shape), feature.np_dtype)
        for name, feature in prepared.info.features.items()
    }
    try:
        source = prepared.as_data_source(split)
        for start in range(0, size, _EXAMPLES_PER_READ):
            stop = min(start + _EXAMPLES_PER_READ, size)
            examples = source.__getitems__(list(range(start, stop)))
            for name, array in arrays.items():
                array[start:stop] = [example[name] for example in examples]
    except RuntimeError as error:
        raise damaged(prepared, error) from error
    return arrays
