"""Load feature files, a plain `.npy` array or a pickled dictionary of arrays, running nothing.

The published features of the field are dictionaries that ``numpy.save`` has pickled; opening one
with ``allow_pickle=True`` runs whatever its maker put there.  ``load`` reads the same files with a
machine that knows only array data (see ``_restricted_pickle``), so that a file can at worst be
refused.  It runs no code from a file, writes nothing, follows no reference outside the file,
never waits on a pipe or device, and allocates no more array memory than the file has bytes.

Loaded bit-equal: arrays and ``dict[str, array]`` of bool, (u)int8 to 64 and float16 to 64, of
numpy 1.x and 2.x (files of 1.9 to 2.5 were compared), pickle protocols 0 to 5, Python 2 and 3,
C and Fortran order, either byte order.  dtype and memory order are those ``numpy.load`` gives:
plain files and protocol 5 keep their byte order, arrays pickled by older protocols come in the
machine's.  ``numpy.str_`` keys and Python-2 ``str`` keys come back as ``str``.

Refused, though not evil: keys that are not text (bytes, integers), values that are not plain
arrays (numbers, numpy scalars, lists, nested dictionaries, ``OrderedDict``, masked or memory-mapped
arrays), complex, long-double, text, time and record types, bool bytes other than 0 and 1, and
bytes after the end of the data (``numpy.load`` would drop them in silence).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aqabench.data._npy_arrays import check_shape, read_array
from aqabench.data._npy_header import Header, read_header
from aqabench.data._npy_source import Notation, Source
from aqabench.data._refusal import ASK_AGAIN, DAMAGED, RefusalError, shown
from aqabench.data._regular_file import MAX_FILE_BYTES, open_regular
from aqabench.data._restricted_pickle import read_dictionary
from aqabench.errors import DataError, UnsafeFileError

__all__ = ["MAX_FILE_BYTES", "load"]


def load(
    path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES
) -> dict[str, NDArray[Any]] | NDArray[Any]:
    """Return the arrays in a `.npy` file, without running code from it.

    Args:
        path: a regular file, or a link to one.
        max_bytes: size in bytes above which a file is not even opened (a sparse file can claim
            any size).

    Returns:
        The array of a plain file, or the dictionary of a pickled one, in its order.  The arrays
        are writable and have the dtype and memory order that numpy.load gives.  They own their
        memory, except those with permuted axes (numpy 2.3 and later write such), which are
        transposed views.  One array stored under two keys is one array here too.  Keys come as
        written: check them before they become file names.

    Raises:
        UnsafeFileError: the file is anything but honest array data; the sentence names what it
            asked for.
        DataError: there is no such file, or it cannot be read.
    """
    name = shown(os.fsdecode(path), 4096)
    try:
        with open_regular(path, max_bytes) as raw:
            return _read(Source(raw, os.fstat(raw.fileno()).st_size))
    except RefusalError as refusal:
        raise UnsafeFileError(
            f"{name}: refused, nothing in it was run: {refusal.reason}; {refusal.advice}."
        ) from None
    except MemoryError:
        raise UnsafeFileError(
            f"{name}: refused: its arrays need more memory than there is; "
            "load it on a larger machine, or ask its maker for one file per sample."
        ) from None
    except OSError as error:
        raise DataError(
            f"{name}: cannot be read ({error.strerror or error}); look with `ls -l {name}`."
        ) from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        # A file must never end in a traceback: what no check foresaw is refused all the same.
        raise UnsafeFileError(
            f"{name}: refused, nothing in it was run: it is malformed "
            f"({type(error).__name__}: {shown(str(error))}); {ASK_AGAIN}."
        ) from error


def _read(source: Source) -> dict[str, NDArray[Any]] | NDArray[Any]:
    header = read_header(source)
    if header.code != "O":
        return _plain_array(source, header)
    if header.shape != ():
        raise RefusalError(
            f"it holds an object array of shape {shown(str(header.shape))}; only a 0-d one with a "
            "dictionary inside is read",
            "save one dictionary of arrays as numpy.save(FILE, {name: array, ...})",
        )
    return read_dictionary(source)


def _plain_array(source: Source, header: Header) -> NDArray[Any]:
    dtype = np.dtype(header.order + header.code)
    shape, size = check_shape(header.shape, dtype.itemsize)
    if size != source.remaining:
        raise RefusalError(
            f"its header claims the shape {shown(str(shape))}, {size} bytes, "
            f"and {source.remaining} bytes follow",
            DAMAGED,
        )
    payload = source.span(size, Notation.BYTES)
    return read_array(source, payload, dtype, shape, "F" if header.fortran else "C")
