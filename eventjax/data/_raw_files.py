"""Raw files in a folder, where a file `x` may also be there as `x.gz`, and a folder `x` as
`x.zip`."""

from pathlib import Path


PACKED = ".gz"
ZIPPED = ".zip"


def locate(folder: Path, name: str) -> Path | None:
    """The file of this name, or else its packed form, or else `None`.

    A name without a suffix is that of a folder, in upper or lower case, whose packed form
    is a zip archive.
    """
    path = folder / name
    if path.suffix:
        choices = [path, folder / f"{name}{PACKED}"]
        return next((choice for choice in choices if choice.is_file()), None)
    if path.is_dir():
        return path
    zipped = folder / f"{name}{ZIPPED}"
    if zipped.is_file():
        return zipped
    # Copies from discs and from archives differ in whether names are in upper case.
    others = sorted(folder.iterdir()) if folder.is_dir() else []
    alike = (x for x in others if x.is_dir() and x.name.lower() == name.lower())
    return next(alike, None)


def unpacked_size(path: Path) -> int:
    """Bytes of a file when unpacked, modulo 2**32: what gzip notes at the end of a file.
    Of a folder, the bytes of all files in it; of a zip archive, its own.

    That a file was replaced by another can be seen from it without reading the file.
    """
    if path.is_dir():
        sizes = (x.stat().st_size for x in path.rglob("*") if x.is_file())
        return sum(sizes) % (1 << 32)
    if path.suffix != PACKED:
        return path.stat().st_size % (1 << 32)
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4, 0))
        return int.from_bytes(file.read(4), "little")
