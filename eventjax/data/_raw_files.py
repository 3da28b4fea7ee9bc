"""Raw files in a folder, where a file `x` may also be there as `x.gz`."""

from pathlib import Path


PACKED = ".gz"


def locate(folder: Path, name: str) -> Path | None:
    """The file of this name, or else its packed form, or else `None`."""
    for path in (folder / name, folder / f"{name}{PACKED}"):
        if path.is_file():
            return path
    return None


def unpacked_size(path: Path) -> int:
    """Bytes of a file when unpacked, modulo 2**32: what gzip notes at the end of a file.

    That a file was replaced by another can be seen from it without reading the file.
    """
    if path.suffix != PACKED:
        return path.stat().st_size % (1 << 32)
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4, 0))
        return int.from_bytes(file.read(4), "little")
