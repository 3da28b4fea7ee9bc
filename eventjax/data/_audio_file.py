"""Reading recordings strictly: RIFF (wav), NIST SPHERE and FLAC, one channel of 16 bits, or
an error that says what is wrong."""

import io
import re
import wave

import numpy as np
from jaxtyping import Int16

from ._flac_file import FLAC, read_flac


_SPHERE = b"NIST_1A\n"
# How SPHERE names the order of the two bytes of a sample.
_ORDERS = {"01": "<i2", "10": ">i2"}


def read_audio(
    content: bytes, sample_rate: int, where: str
) -> Int16[np.ndarray, " samples"]:
    """The samples of a RIFF, NIST SPHERE or FLAC file, whatever its name ends in; `where`
    it is, is for messages.

    **Raises:** `ValueError` for a file that is neither, of another layout or sample rate,
    of another compression, damaged or empty; `ImportError` for FLAC without the extra
    `eventjax[data]`.
    """
    if content.startswith(_SPHERE):
        return read_sphere(content, sample_rate, where)
    if content.startswith(b"RIFF"):
        return read_wav(content, sample_rate, where)
    if content.startswith(FLAC):
        return read_flac(content, sample_rate, where)
    raise ValueError(
        f"{where} is neither a NIST SPHERE nor a RIFF nor a FLAC file: it begins with "
        f"{content[:8]!r}. Replace it by the original."
    )


def read_sphere(
    content: bytes, sample_rate: int, where: str
) -> Int16[np.ndarray, " samples"]:
    """The samples of a NIST SPHERE file of one channel and 16 bits without compression.

    It begins with 8 bytes that say what it is, 8 for the length of the header, and, a line
    each, fields of a name, a type and a value. Samples follow the header.

    **Raises:** `ValueError` for anything else.
    """
    fields, start = _sphere_header(content, where)
    coding = fields.get("sample_coding", "pcm")
    if coding != "pcm":
        raise ValueError(
            f"{where} is compressed or encoded: its `sample_coding` is {coding!r}, and "
            "only 'pcm' is read. Decode it first, for example with `sph2pipe -p`."
        )
    if (width := fields.get("sample_n_bytes")) != "2":
        raise ValueError(f"{where} must have 2 bytes per sample, found {width}.")
    if (channels := fields.get("channel_count", "1")) != "1":
        raise ValueError(f"{where} must have 1 channel, found {channels}.")
    if (rate := fields.get("sample_rate")) != str(sample_rate):
        raise ValueError(
            f"{where} must have a sample rate of {sample_rate} Hz, found {rate}. Resample "
            "it, or replace it by the original."
        )
    order = fields.get("sample_byte_format")
    if order not in _ORDERS:
        raise ValueError(
            f"{where} must give its byte order in `sample_byte_format` as 01 or 10, found "
            f"{order}."
        )
    size, found = fields.get("sample_count"), len(content) - start
    if size != str(found // 2) or found % 2 or found == 0:
        raise ValueError(
            f"{where} is damaged: its header gives {size} samples of 2 bytes, found "
            f"{found} bytes. Replace it by the original."
        )
    return np.frombuffer(content, _ORDERS[order], offset=start).astype(np.int16)


def _sphere_header(content: bytes, where: str) -> tuple[dict[str, str], int]:
    """Values of fields by their names, as text, and where the samples start."""
    length = re.fullmatch(rb"\s*(\d+)\n", content[8:16])
    start = int(length[1]) if length else 0
    header = content[16:start].decode("latin-1")
    lines, end, _ = header.partition("end_head")
    if start > len(content) or not end:
        raise ValueError(
            f"{where} ends, or is damaged, inside its SPHERE header. Replace it by the "
            "original."
        )
    parts = [line.split(maxsplit=2) for line in lines.splitlines()]
    return {part[0]: part[2].strip() for part in parts if len(part) == 3}, start


def read_wav(content: bytes, sample_rate: int, where: str) -> np.ndarray:
    """The samples of a RIFF file of one channel and 16 bits, int16 of shape `(samples,)`;
    `where` it is, is for messages.

    **Raises:** `ValueError` for another layout, or a file that is damaged or empty.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            layout = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            size = file.getnframes()
            samples = file.readframes(size)
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError(f"{where} is not a complete wav file: {error!r}.") from error
    if layout != (1, 16, sample_rate):
        raise ValueError(
            f"{where} must have 1 channel of 16 bits at {sample_rate} Hz, found "
            "{} of {} bits at {} Hz.".format(*layout)
        )
    if size == 0 or len(samples) != 2 * size:
        raise ValueError(
            f"{where} is damaged: its header gives {size} samples, found "
            f"{len(samples) // 2}."
        )
    _check_chunks(content, where)
    return np.frombuffer(samples, "<i2")


def _check_chunks(content: bytes, where: str) -> None:
    """After 12 bytes that say what it is, a RIFF file is a row of chunks, each with 4 bytes
    for its name, 4 for its length and, if that is odd, one to fill up. `wave` stops at the
    samples, and would not see that they are fewer than there were.

    **Raises:** `ValueError` if they do not end where the file does.
    """
    place = 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    if place - len(content) not in (0, 1):
        raise ValueError(
            f"{where} is not a complete wav file: its chunks end at byte {place} of "
            f"{len(content)}. Replace it by the original."
        )
