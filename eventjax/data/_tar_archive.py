"""Archives of pictures: the original, or one that says of itself that it is made up."""

import io
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from ._idx import read_checked


# The first file of an archive that is made up.
MADE_UP = "MADE_UP.txt"
_ERRORS = (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error)


def read_archive(path: Path, sha256: str) -> tuple[dict[PurePosixPath, bytes], bool]:
    """The content of each file of a tar archive by its path there, and whether the archive
    is made up.

    **Raises:** `FileNotFoundError` if there is no such archive; `ValueError` if it is
    neither the original, which has this checksum, nor made up.
    """
    try:
        content, made_up = read_checked(path, sha256), False
    except ValueError:
        content, made_up = path.read_bytes(), True
        if not _says_made_up(content):
            raise
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isfile():
                    name = PurePosixPath(member.name)
                    if name in files:
                        raise ValueError(
                            f"`{name}` is in `{path}` for the second time. Replace the "
                            "archive by the original."
                        )
                    files[name] = archive.extractfile(member).read()
            # A damaged header passes for the end of an archive. What is behind the end is
            # zeros and, last of all, the checksum of the packed file.
            while rest := archive.fileobj.read(1 << 20):
                if any(rest):
                    raise tarfile.ReadError("there is something behind its end")
    except _ERRORS as error:
        raise ValueError(
            f"`{path}` is not a complete tar archive: {error}. Replace it by the original."
        ) from error
    return files, made_up


def write_made_up(path: Path, kind: str, files: dict[str, bytes]) -> None:
    """A tar archive that says of itself that it is made up, packed by `kind`, `"gz"` or
    `"xz"`."""
    note = b"Made up by eventjax, to try things out. Nothing in here is real.\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    mode: Any = f"w:{kind}"
    with path.open("xb") as file, tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in {MADE_UP: note, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _says_made_up(content: bytes) -> bool:
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            first = archive.next()
    except _ERRORS:
        return False
    return first is not None and first.name == MADE_UP
