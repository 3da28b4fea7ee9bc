"""Finding recordings, a file each, in a tree of folders or in a zip archive of one."""

import contextlib
import errno
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ._raw_files import ZIPPED


class Recording(NamedTuple):
    """A file that is read when it is needed.

    - `folder`: the name of the folder it lies in, which is its class.
    - `number`: the number at the end of its name.
    - `where`: what it is called in messages.
    - `read`: gives its content.
    """

    folder: str
    number: int
    where: str
    read: Callable[[], bytes]


def find_recordings(
    path: Path, suffix: str, stack: contextlib.ExitStack
) -> list[Recording]:
    """All files of a folder or zip archive whose names end in a number and `suffix`. An
    archive stays open for as long as `stack`.

    **Raises:** `ValueError` if the archive is damaged, a name has no number, or there is
    no such file.
    """
    found, others = [], []
    for name, where, read in all_files(path, stack):
        # Names with a dot in front are what an operating system has left.
        if name.name.startswith("."):
            continue
        if name.suffix != suffix:
            others.append(name.name)
            continue
        number = re.search(r"\d+$", name.stem)
        if number is None:
            raise ValueError(
                f"{where} must have a number at the end of its name, as the originals "
                "have. Give it its own name again."
            )
        found.append(Recording(name.parent.name, int(number[0]), where, read))
    if not found:
        also = f" There are others, such as `{others[0]}`." if others else ""
        raise ValueError(
            f"There is no file `*{suffix}` in `{path}`.{also} Replace it by the original."
        )
    return found


def by_class(
    recordings: Sequence[Recording], classes: Sequence[str], where: str
) -> list[list[Recording]]:
    """The recordings of each class, in the order of their numbers.

    **Raises:** `ValueError` for a recording of no class, two of one class and number, or a
    class without recordings; `where` they are is for its message.
    """
    found: dict[str, dict[int, Recording]] = {name: {} for name in classes}
    for recording in recordings:
        if recording.folder not in found:
            raise ValueError(
                f"{recording.where} is in the folder `{recording.folder}`, which is not "
                f"one of the classes: {', '.join(classes)}."
            )
        earlier = found[recording.folder].setdefault(recording.number, recording)
        if earlier is not recording:
            raise ValueError(
                f"{earlier.where} and {recording.where} have the same number. Remove the "
                "one that is not an original."
            )
    empty = [name for name, numbers in found.items() if not numbers]
    if empty:
        raise ValueError(
            f"There is no recording of {', '.join(empty)} in {where}. Complete it from the "
            "originals."
        )
    return [[numbers[k] for k in sorted(numbers)] for numbers in found.values()]


def all_files(
    path: Path, stack: contextlib.ExitStack
) -> Iterator[tuple[PurePosixPath, str, Callable[[], bytes]]]:
    """Path, name for messages, and content of every file. Paths begin with the folder, so
    that files directly in it have a folder, too."""
    if path.suffix == ZIPPED:
        with _damage_named(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
        for entry in archive.infolist():
            with _damage_named(path):
                is_file = not entry.is_dir()
                # A file is named in the archive's listing and where it lies. If the names
                # differ it is another file, which might be left alone: better to know.
                if is_file:
                    archive.open(entry).close()
            if is_file:
                where = f"`{entry.filename}` in `{path}`"
                read = _zip_reader(archive, entry, path)
                yield PurePosixPath(path.stem, entry.filename), where, read
    else:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                name = PurePosixPath(path.name, file.relative_to(path).as_posix())
                yield name, f"`{file}`", file.read_bytes


def _zip_reader(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path
) -> Callable[[], bytes]:
    def read() -> bytes:
        with _damage_named(path):
            return archive.read(entry)

    return read


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """An error of reading an archive as one that names it. What the system refuses has a
    number and is left alone, but for a place in the file that cannot be."""
    try:
        yield
    except (
        OSError,
        EOFError,
        RuntimeError,
        IndexError,
        ValueError,
        lzma.LZMAError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in (None, errno.EINVAL):
            raise
        raise ValueError(
            f"`{path}` is damaged or incomplete: {error}. Replace it by the original."
        ) from error
