"""The program of a process that reads one HDF5 file: `python _hdf5_server.py PATH`.

`_hdf5_file.py` starts it. It imports nothing of eventjax, so that it starts fast.

A question is a line of JSON: the name of a data set to be told about, or that name with
a start and a stop to be given what lies between. An answer is a line of JSON and the
arrays, in NumPy's format, whose sizes in bytes are its `sizes`. A first answer without a
question says that the file is open. An `error` ends the process.
"""

import io
import json
import sys
from typing import Any

import h5py
import numpy as np


def in_lists(dataset: h5py.Dataset) -> np.dtype | None:
    """The type of what is in the lists that a data set holds, if it holds lists. Text is
    none, though h5py may say so."""
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return None
    found = h5py.check_vlen_dtype(dataset.dtype)
    return None if found is None else np.dtype(found)


def describe(file: h5py.File, name: str) -> dict[str, Any]:
    """Shape and type; if it holds lists, the type of what is in them."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        return {"shape": None}
    inner = in_lists(dataset)
    dtype = dataset.dtype if inner is None else inner
    return {
        "shape": dataset.shape,
        "lists": inner is not None,
        "dtype": str(dtype),
        "kind": dtype.kind,
    }


def read(file: h5py.File, name: str, start: int, stop: int | None) -> list[np.ndarray]:
    """Values, or lengths of lists and what is in all of them."""
    dataset = file[name]
    assert isinstance(dataset, h5py.Dataset)
    values = dataset[start:stop]
    if in_lists(dataset) is not None:
        return [np.array([len(x) for x in values], np.int64), np.concatenate(values)]
    if values.dtype.kind in "iufb":
        return [values]
    words = [x.decode() if isinstance(x, bytes) else x for x in values.tolist()]
    if not all(isinstance(x, str) for x in words):
        raise TypeError(f"`{name}` holds neither numbers nor text")
    return [np.array(words, np.str_)]


def answer(head: dict[str, Any], arrays: list[np.ndarray] | None = None) -> None:
    parts = []
    for array in arrays or []:
        part = io.BytesIO()
        np.save(part, array, allow_pickle=False)
        parts.append(part.getvalue())
    line = json.dumps({**head, "sizes": [len(x) for x in parts]}).encode() + b"\n"
    sys.stdout.buffer.write(b"".join([line, *parts]))
    sys.stdout.buffer.flush()


def main(path: str) -> None:
    try:
        with h5py.File(path, "r") as file:
            answer({})
            for line in sys.stdin:
                name, *span = json.loads(line)
                if span:
                    answer({}, read(file, name, *span))
                else:
                    answer(describe(file, name))
    # Damage shows as an error of almost any type; who asked raises it.
    except Exception as error:
        answer({"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    main(sys.argv[1])
