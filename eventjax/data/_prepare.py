"""Preparing a data set on disk, once, from raw files that stay as they are."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._folder import DATA_VARIABLE
from ._raw_files import locate, unpacked_size, ZIPPED


# Builders are typed `Any` here: their type is tensorflow-datasets', which is an extra.


def prepare(
    builder_class: Callable[..., Any], prepared_dir: Path, raw_root: Path | None
) -> Any:
    """A prepared builder: from what is in `prepared_dir`, or else made now from the raw
    files in the data folder `raw_root`.

    **Raises:** `ValueError` if what is in `prepared_dir` was made from other raw files
    than those in the data folder.
    """
    found = _open(builder_class, prepared_dir)
    if _is_prepared(found):
        _check_counts(found)
        _check_origin(found, raw_root)
        return found
    raw_folder = _find_raw_files(builder_class, raw_root)
    try:
        _prepare_on_disk(found, raw_folder)
    except OSError:
        # If another process has put its folder in place meanwhile, ours could not be
        # renamed and is gone; theirs is as good.
        if not _is_prepared(found):
            raise
    # Opened anew, because a builder reads its metadata only when it is made.
    return _open(builder_class, prepared_dir)


def _open(builder_class: Callable[..., Any], prepared_dir: Path) -> Any:
    try:
        # The default format could be neither written nor read without TensorFlow.
        made = builder_class(data_dir=prepared_dir, file_format="array_record")
        made.info.metadata  # is read when it is asked for
        return made
    except Exception as error:  # of many kinds, depending on what is damaged
        folder = prepared_dir / builder_class.name / str(builder_class.VERSION)
        refused = isinstance(error, OSError) and error.errno is not None
        if refused or not folder.exists():
            raise
        raise damaged_folder(folder, error) from error


def _is_prepared(builder: Any) -> bool:
    """Whether the builder's folder is there: it is renamed into place when complete."""
    if not builder.data_path.exists():
        return False
    if not (builder.data_path / "dataset_info.json").exists():
        raise damaged(builder, "it has no file dataset_info.json")
    return True


def _check_counts(builder: Any) -> None:
    """A `RuntimeError` if there are not as many examples as the set says of itself: it
    might ask for some of them only."""
    from array_record.python.array_record_module import ArrayRecordReader

    for name, split in builder.info.splits.items():
        try:
            readers = [ArrayRecordReader(str(path)) for path in split.filepaths]
            found = sum(reader.num_records() for reader in readers)
        except Exception as error:  # of many kinds: names of files are among the damage
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise damaged(builder, error) from error
        if found != split.num_examples:
            reason = (
                f"the split {name!r} has {found} examples, not {split.num_examples}"
            )
            raise damaged(builder, reason)


def damaged(builder: Any, reason: object) -> RuntimeError:
    return damaged_folder(builder.data_path, reason)


def damaged_folder(folder: object, reason: object) -> RuntimeError:
    return RuntimeError(
        f"The prepared set in `{folder}` is damaged: {reason}. Delete that "
        "folder, and load the set again to prepare it anew."
    )


def _prepare_on_disk(builder: Any, raw_folder: Path | None) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=raw_folder)
    # Progress is printed to standard output, which belongs to the calling program.
    with contextlib.redirect_stdout(sys.stderr):
        builder.download_and_prepare(download_config=config)


def _find_raw_files(builder_class: Any, raw_root: Path | None) -> Path | None:
    """The folder with all raw files of a set; `None` for a set that has none.

    That is the set's own subfolder of the data folder, or else the data folder itself.
    """
    if builder_class.SUBFOLDER is None:
        return None
    names = [name for files in builder_class.FILES.values() for name in files.values()]
    if raw_root is None:
        place, absent = "no data folder was given", names
    else:
        folder = raw_root / builder_class.SUBFOLDER
        for candidate in (folder, raw_root):
            if all(locate(candidate, name) for name in names):
                return candidate
        absent = [name for name in names if not locate(folder, name)]
        place = f"they are not in `{folder}`"
    sums = {name: f"  sha256 {x}" for name, x in builder_class.SHA256.items()}
    listing = "".join(f"  {name}{sums.get(name, '')}\n" for name in absent)
    raise FileNotFoundError(
        f"The set cannot be prepared without these files, and {place}:\n{listing}"
        f"Put the originals into the subfolder `{builder_class.SUBFOLDER}` of a data "
        f"folder, and name the data folder in the option `data_dir` or in the "
        f"environment variable {DATA_VARIABLE}. "
        f"{builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )


def _check_origin(builder: Any, raw_root: Path | None) -> None:
    """Refuse a prepared set that is not that of the raw files at hand.

    Only for sets whose files need not have a known checksum, and which note the size of
    what they were made from.
    """
    noted = (builder.info.metadata or {}).get("raw_sizes")
    if raw_root is None or noted is None:
        return
    for name, size in noted.items():
        for folder in (raw_root / builder.SUBFOLDER, raw_root):
            path = locate(folder, name)
            if path is None or (path.suffix == ZIPPED and path.name != name):
                # A folder and an archive of it have no size in common.
                continue
            if unpacked_size(path) != size:
                raise ValueError(
                    f"The prepared set in `{builder.data_path}` was made from another "
                    f"file than `{path}`: it had {size} bytes when unpacked, this has "
                    f"{unpacked_size(path)}. Give another folder in `prepared_dir`, or "
                    "delete the prepared set if it is the wrong one."
                )
            break
