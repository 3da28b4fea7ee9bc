"""Reading FLAC recordings strictly, and writing them, by the package soundfile."""

import hashlib
import importlib
import io
from typing import Any

import numpy as np
from jaxtyping import Int16


FLAC = b"fLaC"
# Where a file keeps the MD5 checksum of its samples: behind the 4 bytes that say what it
# is, 4 for the kind and length of its first block and 18 of that block.
_CHECKSUM = slice(26, 42)
# So many are read at a time: how many there are is what a damaged file says.
_SAMPLES_PER_READ = 1 << 20


def read_flac(
    content: bytes, sample_rate: int, where: str
) -> Int16[np.ndarray, " samples"]:
    """The samples of a FLAC file of one channel and 16 bits; `where` it is, is for
    messages.

    **Raises:** `ValueError` for another layout, or a file that is damaged or empty, which
    shows in the checksums that it holds; `ImportError` without the extra `eventjax[data]`.
    """
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            layout = (file.channels, file.subtype, file.samplerate)
            size, parts = file.frames, [np.empty(0, np.int16)]
            if layout == (1, "PCM_16", sample_rate):
                while len(part := file.read(_SAMPLES_PER_READ, dtype="int16")):
                    parts.append(part)
    except soundfile.SoundFileError as error:
        raise ValueError(
            f"{where} is not a complete FLAC file: {error}. Replace it by the original."
        ) from error
    if layout != (1, "PCM_16", sample_rate):
        raise ValueError(
            f"{where} must have 1 channel of 16 bits (PCM_16) at {sample_rate} Hz, found "
            "{} of {} at {} Hz.".format(*layout)
        )
    samples = np.concatenate(parts)
    if len(samples) == 0 or len(samples) != size:
        raise ValueError(
            f"{where} is damaged or empty: its header gives {size} samples, found "
            f"{len(samples)}."
        )
    checksum = content[_CHECKSUM]
    found = hashlib.md5(samples.astype("<i2").tobytes(), usedforsecurity=False).digest()
    if any(checksum) and checksum != found:  # zeros where none was noted
        raise ValueError(
            f"{where} is damaged: its samples have another checksum than it notes. Replace "
            "it by the original."
        )
    return samples


def flac_bytes(
    samples: Int16[np.ndarray, " samples *channels"],
    sample_rate: int,
    subtype: str = "PCM_16",
) -> bytes:
    """The content of a FLAC file, of one channel where `samples` has one axis."""
    file = io.BytesIO()
    _soundfile().write(file, samples, sample_rate, subtype, format="FLAC")
    return file.getvalue()


def _soundfile() -> Any:
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # it may lack the library that it calls
        raise ImportError(
            f"FLAC recordings need soundfile, but: {error}. Install `eventjax[data]`."
        ) from error
