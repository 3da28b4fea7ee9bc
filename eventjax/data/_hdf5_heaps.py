"""What is looked at in an HDF5 file first, where its library would never come back."""

import mmap
from pathlib import Path


_SIGNATURE = b"GCOL"
# Of a collection: signature, version, three bytes, and its size. Of an object in it: its
# number, how often it is used, four bytes, and its size.
_HEADER = 16
_ALIGNMENT = 8
_WRAP = 1 << 64


def find_endless_heap(path: Path) -> int | None:
    """Where in a file a list of objects begins that has no end, or `None`.

    Lists of unequal length lie in global heaps: collections of objects one after the
    other, each with its size. An object without number is free space, whose size includes
    its header. If that size is 0, version 2.0 of the HDF5 library takes it for the next
    object again and again.
    """
    size = path.stat().st_size
    if size == 0:  # cannot be mapped
        return None
    with path.open("rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(_SIGNATURE)
            while start >= 0:
                if _is_endless(content, start):
                    return start
                start = content.find(_SIGNATURE, start + 1)
    return None


def _is_endless(content: mmap.mmap, start: int) -> bool:
    number = lambda place, size: int.from_bytes(content[place : place + size], "little")
    end = min(start + number(start + 8, 8), len(content))
    place = start + _HEADER
    while place + _HEADER <= end:
        size = number(place + 8, 8)
        if number(place, 2):
            size = -(-size // _ALIGNMENT) * _ALIGNMENT + _HEADER
        if size % _WRAP == 0:
            return True
        place += size
    return False
