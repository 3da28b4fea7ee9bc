"""The binary files of CIFAR-10 and CIFAR-100, and nothing else."""

from collections.abc import Sequence

import numpy as np


# Channels (red, green, blue), rows, columns.
SHAPE = (3, 32, 32)
# Of CIFAR-10, in the order of their labels.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def parse_pictures(
    content: bytes, where: str, num_classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape `(n, 3, 32, 32)`, and labels, uint8 of shape `(n, labels)`.

    A file is a sequence of records: a byte for each label, of which there are as many as
    in `num_classes`, then a byte per pixel, channel by channel and row by row.

    **Raises:** `ValueError` that begins with `where`, for another length or a label that
    there is not.
    """
    labels = len(num_classes)
    size = labels + int(np.prod(SHAPE))
    if not content or len(content) % size:
        raise ValueError(
            f"{where} must hold one or more records of {size} bytes, found {len(content)} "
            "bytes. Replace it by the original."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    for k, limit in enumerate(num_classes):
        wrong = records[:, k] >= limit
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{where} must have labels from 0 to {limit - 1} in byte {k} of its "
                f"records, found {records[first, k]} in record {first}. Replace it by the "
                "original."
            )
    return records[:, labels:].reshape(-1, *SHAPE), records[:, :labels]


def parse_names(content: bytes, where: str, num_classes: int) -> list[str]:
    """The names of classes, one a line.

    **Raises:** `ValueError` that begins with `where`, if it is no text or there is another
    number of them.
    """
    try:
        names = content.decode("utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is no text: {error}. Replace it by the original."
        ) from error
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise ValueError(
            f"{where} must hold {num_classes} different names, found {len(set(names))}: "
            f"{', '.join(names[:3])}, ... Replace it by the original."
        )
    return names
