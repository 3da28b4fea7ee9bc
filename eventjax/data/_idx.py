"""Reading gzipped idx files strictly: the right checksum, header and length, or an
error that says what is wrong."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np


_UNSIGNED_BYTE = 0x08


def read_checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file, after its sha256 was found to be the expected one.

    **Raises:** `FileNotFoundError` if there is no such file; `ValueError` if its
    checksum is another.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file `{path.name}` (sha256 {sha256}) in `{path.parent}`."
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"`{path}` is damaged or not the original file: expected sha256 {sha256}, "
            f"found {found} ({len(content)} bytes). Replace it by the original."
        )
    return content


def parse_idx(compressed: bytes, name: str, ndim: int) -> np.ndarray:
    """The unsigned bytes of a gzipped idx file, as an array of `ndim` axes.

    An idx file is two zero bytes, one byte for the type of the values (8: unsigned
    byte), one for the number of axes, the length of each axis as a big-endian 32-bit
    integer, then the values in C order and nothing else. `name` is for messages.

    **Raises:** `ValueError` for anything else.
    """
    try:
        content = gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"`{name}` is not a complete gzip file: {error}.") from error

    header_length = 4 + 4 * ndim
    if len(content) < header_length:
        raise ValueError(
            f"`{name}` ends inside its idx header: expected {header_length} bytes, "
            f"found {len(content)}."
        )
    expected = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    if content[:4] != expected:
        raise ValueError(
            f"`{name}` has a wrong idx header: expected the bytes {expected.hex(' ')} "
            f"(unsigned bytes, {ndim} axes), found {content[:4].hex(' ')}."
        )
    shape = struct.unpack(f">{ndim}I", content[4:header_length])
    num_values = len(content) - header_length
    if num_values != math.prod(shape):
        raise ValueError(
            f"`{name}` has a wrong length: its idx header gives the shape {shape}, "
            f"expected {math.prod(shape)} values, found {num_values}."
        )
    return np.frombuffer(content, np.uint8, offset=header_length).reshape(shape)
