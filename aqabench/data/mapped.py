"""Arrays written to safetensors files, and mapped into memory without a copy.

The library's numpy interface copies every tensor; a data set is then in memory twice while it is
loaded, and in every process of its own.  The file format makes mapping simple: eight bytes with
the length of a JSON header, the header with each tensor's type, shape and place, then the bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save_file

from aqabench.errors import DataError

DTYPES = {"F16": "float16", "F32": "float32"}
LARGEST_HEADER = 2**20


def save_arrays(
    arrays: Mapping[str, npt.NDArray[np.generic]],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the disk is full or may not be written; the library hides that in an error of
            its own.
    """
    try:
        save_file(dict(arrays), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        number = int(code.group(1))
        raise OSError(number, os.strerror(number), str(path)) from error


def map_array(
    path: Path, name: str, shape: tuple[int, int], dtype: str
) -> npt.NDArray[np.floating]:
    """Map one tensor of a safetensors file.

    Args:
        path: the file.
        name: the tensor.
        shape: the shape (rows, columns) it must have.
        dtype: ``float16`` or ``float32``, which it must have.

    Returns:
        An array of the file's pages; writing to it changes this process's copy only.

    Raises:
        DataError: the file holds something else.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise ValueError(f"its header claims {length} bytes")
            entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        size = shape[0] * shape[1] * np.dtype(dtype).itemsize
        kind = DTYPES[entry["dtype"]]
        if tuple(entry["shape"]) != shape or kind != dtype or end - begin != size:
            raise ValueError(f"it holds {entry}, expected {dtype} {shape}")
        return np.memmap(path, dtype, "c", offset=8 + length + begin, shape=shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be mapped ({error}). Import the data again: aqabench data import "
            f"{path.parent.name} --from FOLDER"
        ) from error
