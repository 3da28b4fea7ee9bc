"""Preparing a data set on disk, once, from raw files that stay as they are."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._folder import DATA_VARIABLE


# Builders are typed `Any` here: their type is tensorflow-datasets', which is an extra.


def prepare(
    builder_class: Callable[..., Any], prepared_dir: Path, raw_root: Path | None
) -> Any:
    """A prepared builder: from what is in `prepared_dir`, or else made now from the raw
    files in the data folder `raw_root`."""
    found = _open(builder_class, prepared_dir)
    if _is_prepared(found):
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
    # The default format could be neither written nor read without TensorFlow.
    return builder_class(data_dir=prepared_dir, file_format="array_record")


def _is_prepared(builder: Any) -> bool:
    """Whether the builder's folder is there: it is renamed into place when complete."""
    if not builder.data_path.exists():
        return False
    if not (builder.data_path / "dataset_info.json").exists():
        raise damaged(builder, "it has no file dataset_info.json")
    return True


def damaged(builder: Any, reason: object) -> RuntimeError:
    return RuntimeError(
        f"The prepared set in `{builder.data_path}` is damaged: {reason}. Delete that "
        "folder, and load the set again to prepare it anew."
    )


def _prepare_on_disk(builder: Any, raw_folder: Path | None) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=raw_folder)
    # Progress is printed to standard output, which belongs to the calling program.
    with contextlib.redirect_stdout(sys.stderr):
        builder.download_and_prepare(download_config=config)


def _find_raw_files(builder_class: Any, raw_root: Path | None) -> Path | None:
    """The folder with all raw files of a set; `None` for a set that has none."""
    if builder_class.SUBFOLDER is None:
        return None
    names = [name for files in builder_class.FILES.values() for name in files.values()]
    if raw_root is None:
        place, absent = "no data folder was given", names
    else:
        folder = raw_root / builder_class.SUBFOLDER
        absent = [name for name in names if not (folder / name).is_file()]
        if not absent:
            return folder
        place = f"they are not in `{folder}`"
    listing = "".join(
        f"  {name}  sha256 {builder_class.SHA256[name]}\n" for name in absent
    )
    raise FileNotFoundError(
        f"The set cannot be prepared without these files, and {place}:\n{listing}"
        f"Put the originals into the subfolder `{builder_class.SUBFOLDER}` of a data "
        f"folder, and name the data folder in the option `data_dir` or in the "
        f"environment variable {DATA_VARIABLE}. "
        f"{builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
