"""Reading files in the layout of the Heidelberg spiking data sets, and nothing else.

To be imported only where h5py is at hand.
"""

import contextlib
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._hdf5_file import Hdf5File
from ._hdf5_heaps import find_endless_heap
from ._raw_files import PACKED


NUM_UNITS = 700
_EXAMPLES_PER_READ = 256


class ShdFile:
    """An HDF5 file with `spikes/times` (s) and `spikes/units`, a list per example, and
    `labels`, `extra/keys` (the words) and `extra/speaker`.

    **Arguments:**

    - `file`, `path`: the file, open for reading, and its name for messages.
    - `num_classes`: how many words there are.
    - `needs_speakers`: whether the file must say who spoke. If it need not and does not,
        all speakers are -1.

    All but the spikes is read and checked at once.

    **Raises:** `ValueError` that names the file, for another layout.
    """

    def __init__(
        self, file: Hdf5File, path: Path, num_classes: int, needs_speakers: bool
    ):
        self._file, self._path = file, path
        with self._reading():
            num_times = self._num_lists("spikes/times", "f", "numbers with a fraction")
            num_units = self._num_lists("spikes/units", "iu", "integers")
            self.label = self._integers("labels", num_classes - 1)
            self.label_names = self._words(num_classes)
            if needs_speakers or file.describe("extra/speaker") is not None:
                self.speaker = self._integers("extra/speaker", np.iinfo(np.int32).max)
            else:
                self.speaker = np.full(len(self.label), -1, np.int64)
        lengths = {
            "spikes/times": num_times,
            "spikes/units": num_units,
            "labels": len(self.label),
            "extra/speaker": len(self.speaker),
        }
        if len(set(lengths.values())) > 1:
            raise self._wrong(f"its parts differ in length: {lengths}")
        if len(self.label) == 0:
            raise self._wrong("there is no example in it")

    def __len__(self) -> int:
        return len(self.label)

    def examples(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Times in ms, float32, and units, uint16, of one example after the other, sorted
        by time; events of the same time keep their order.

        **Raises:** `ValueError` that names the file and the example, for spikes that
        cannot be.
        """
        for start in range(0, len(self), _EXAMPLES_PER_READ):
            stop = min(start + _EXAMPLES_PER_READ, len(self))
            with self._reading():
                pairs = zip(
                    self._file.read_lists("spikes/times", start, stop),
                    self._file.read_lists("spikes/units", start, stop),
                    strict=True,
                )
            for i, (seconds, units) in enumerate(pairs, start):
                yield self._checked(i, seconds, units)

    def _checked(self, i, seconds, units) -> tuple[np.ndarray, np.ndarray]:
        if len(seconds) != len(units):
            raise self._wrong(
                f"example {i} has {len(seconds)} times but {len(units)} units"
            )
        ms = seconds.astype(np.float64) * 1000
        wrong = ~((ms >= 0) & (ms <= np.finfo(np.float32).max))
        if wrong.any():
            raise self._wrong(
                f"times must be finite and at least 0, but example {i} has "
                f"{seconds[np.argmax(wrong)]} s"
            )
        wrong = (units < 0) | (units >= NUM_UNITS)
        if wrong.any():
            raise self._wrong(
                f"units must be from 0 to {NUM_UNITS - 1}, but example {i} has "
                f"{units[np.argmax(wrong)]}"
            )
        times = ms.astype(np.float32)
        order = np.argsort(times, kind="stable")
        return times[order], units[order].astype(np.uint16)

    def _num_lists(self, name: str, kinds: str, what: str) -> int:
        found = self._dataset(name)
        if not found["lists"] or found["kind"] not in kinds:
            raise self._wrong(
                f"`{name}` must hold lists of {what}, found "
                f"{'lists of ' if found['lists'] else ''}{found['dtype']}"
            )
        return found["shape"][0]

    def _integers(self, name: str, largest: int) -> np.ndarray:
        found = self._dataset(name)
        if found["lists"] or found["kind"] not in "iu":
            raise self._wrong(f"`{name}` must hold integers, found {found['dtype']}")
        values = self._file.read(name)
        wrong = (values < 0) | (values > largest)
        if wrong.any():
            raise self._wrong(
                f"`{name}` must be from 0 to {largest}, found {values[np.argmax(wrong)]} "
                f"at {np.argmax(wrong)}"
            )
        return values.astype(np.int64)

    def _words(self, num_classes: int) -> list[str]:
        self._dataset("extra/keys")
        values = self._file.read("extra/keys")
        words = values.tolist()
        if values.dtype.kind != "U" or not (
            len(words) == len(set(words)) == num_classes
        ):
            raise self._wrong(
                f"`extra/keys` must hold {num_classes} different words, found {words}"
            )
        return words

    def _dataset(self, name: str) -> dict[str, Any]:
        found = self._file.describe(name)
        if found is None:
            raise self._wrong(f"there is no `{name}` in it")
        if len(found["shape"]) != 1:
            raise self._wrong(
                f"`{name}` must have one axis, found the shape {tuple(found['shape'])}"
            )
        return found

    def _wrong(self, reason: str) -> ValueError:
        return ValueError(
            f"`{self._path}` is not what it should be: {reason}. Replace it by the "
            "original."
        )

    def _reading(self):
        return _damage_named(self._path)


def open_shd_file(path: Path, stack: contextlib.ExitStack) -> Hdf5File:
    """A file open for reading, unpacked to a temporary place if it is gzipped. Both last
    as long as `stack`.

    **Raises:** `ValueError` that names the file if it is damaged.
    """
    place = path
    with _damage_named(path):
        if path.suffix == PACKED:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="eventjax_")
            )
            place = Path(folder) / path.stem
            with gzip.open(path) as packed, place.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        endless = find_endless_heap(place)
        if endless is not None:
            raise OSError(f"the heap at byte {endless} has no end")
        return stack.enter_context(Hdf5File(place))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """An error of a reading library as one that names the file. What the system refuses,
    such as writing to a full disk, has a number and is left alone."""
    try:
        yield
    except (OSError, EOFError, zlib.error, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"`{path}` is damaged or incomplete: {error}. Replace it by the original."
        ) from error
