"""The inert values on the stack of the restricted pickle machine.

A global of the file is a member of an enumeration, never an imported object; an array in the
making is a box with nothing callable inside.  No value is ever walked into recursively.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from numpy.typing import NDArray

from aqabench.data._npy_source import Latin1, Span

__all__ = ["GLOBALS", "Array", "Dictionary", "List", "Other", "Symbol", "Type", "described"]


class Symbol(Enum):
    """The globals a writer of numeric arrays refers to; inert names here."""

    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    SCALAR = "numpy.core.multiarray.scalar"
    FROMBUFFER = "numpy.core.numeric._frombuffer"
    ENCODE = "_codecs.encode"
    BYTES = "builtins.bytes"


GLOBALS = {
    ("numpy", "ndarray"): Symbol.NDARRAY,
    ("numpy", "dtype"): Symbol.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): Symbol.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Symbol.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): Symbol.SCALAR,
    ("numpy._core.multiarray", "scalar"): Symbol.SCALAR,
    ("numpy.core.numeric", "_frombuffer"): Symbol.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): Symbol.FROMBUFFER,
    ("_codecs", "encode"): Symbol.ENCODE,
    ("__builtin__", "bytes"): Symbol.BYTES,
    ("builtins", "bytes"): Symbol.BYTES,
}


class Type:
    """A numpy dtype in the making: its code first, its byte order with BUILD."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = ""  # unknown before BUILD


class Array:
    """An array in the making: numeric values, or the one dictionary of a 0-d object array."""

    __slots__ = ("holds",)

    def __init__(self, holds: NDArray[Any] | Dictionary | None = None) -> None:
        self.holds = holds


class Dictionary:
    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[str, NDArray[Any]] = {}


class List:
    """The list in the state of a 0-d object array: one dictionary."""

    __slots__ = ("item",)

    def __init__(self) -> None:
        self.item: Dictionary | None = None


class Other(Enum):
    """Values that a file may hold by mistake; kept to be named, never used."""

    FLOAT = "a Python float"
    SCALAR = "a numpy scalar"


def described(value: object) -> str:
    """Name a stack value without walking into it."""
    match value:
        case Other():
            return value.value
        case Array():
            return "an array that is not numeric or not complete"
        case Dictionary():
            return "a dictionary"
        case List():
            return "a list"
        case Type():
            return "a dtype"
        case Symbol():
            return f"the global {value.value}"
        case Latin1():
            return "bytes"
        case Span():
            return value.notation.value
        case str():
            return "text"
        case tuple():
            return "a tuple"
        case bool():
            return "a truth value"
        case int():
            return "a Python integer"
    return "None"
