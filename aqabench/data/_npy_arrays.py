"""Memory for arrays: shapes checked against the bytes at hand before anything is allocated.

Refuses shapes that are not shapes, arrays without elements that claim astronomic axes, and truth
values that are neither 0 nor 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aqabench.data._npy_source import Latin1, Source, Span
from aqabench.data._refusal import DAMAGED, RefusalError, shown

__all__ = ["NUMERIC_CODES", "check_shape", "read_array"]

NUMERIC_CODES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
MAX_DIMENSIONS = 32  # numpy 1.x's own limit
MAX_EMPTY_ELEMENTS = 2**24  # product of the other axes of an array without elements


def check_shape(shape: object, itemsize: int) -> tuple[tuple[int, ...], int]:
    """Return a shape and the bytes it takes, or refuse it.

    Args:
        shape: what the file gives for a shape.
        itemsize: bytes of one element.

    Raises:
        RefusalError: not a tuple of axis lengths, or absurd though empty.
    """
    if type(shape) is not tuple:
        raise RefusalError("an array in it has a shape that is no tuple")
    if len(shape) > MAX_DIMENSIONS:
        raise RefusalError(f"an array in it has {len(shape)} axes, {MAX_DIMENSIONS} at most")
    count = others = 1
    for length in shape:
        if type(length) is not int or not 0 <= length < 2**63:
            raise RefusalError("an array in it has an axis whose length is no integer from 0 on")
        count *= length
        others *= length or 1
    if count == 0 and others > MAX_EMPTY_ELEMENTS:
        raise RefusalError(f"an array without elements claims the shape {shown(str(shape))}")
    return shape, count * itemsize


def read_array(
    source: Source,
    payload: Span | Latin1,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    order: str,
) -> NDArray[Any]:
    """Return a new array, owner of its memory, with the payload's bytes in it.

    Args:
        source: the file.
        payload: where its bytes lie; as many as ``check_shape`` found.
        dtype: a numeric type.
        shape: checked lengths of the axes.
        order: ``"F"`` if the first axis varies fastest in the payload, else ``"C"``.
    """
    array = np.empty(shape, dtype, order="F" if order == "F" else "C")
    straight = array if array.flags.c_contiguous else array.T
    flat = straight.reshape(-1).view(np.uint8)  # (nbytes,) the same memory
    source.fill(payload, flat)
    if dtype.kind == "b" and flat.size and int(flat.max()) > 1:
        # numpy's own loops misbehave on such values
        raise RefusalError("a bool array in it has values other than 0 and 1", DAMAGED)
    return array
