"""The calls and states a pickle of numeric arrays may ask for, compared with what writers produce.

Nothing is called: ``Builder.call`` and ``Builder.build`` check the arguments against the few forms
that numpy 1.x and 2.x and Python's picklers write, and make the array themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aqabench.data._npy_arrays import NUMERIC_CODES, check_shape, read_array
from aqabench.data._npy_source import MAX_NAME_BYTES, Latin1, Notation, Source, Span
from aqabench.data._pickle_values import Array, List, Other, Symbol, Type, described
from aqabench.data._refusal import NUMERIC_ONLY, RESAVE, RefusalError, shown

__all__ = ["Builder"]

MAX_ARRAYS = 100_000
_TEXT_TYPE = re.compile("U[0-9]{1,4}")


class Builder:
    """Makes dtypes, byte strings and arrays from checked arguments."""

    def __init__(self, source: Source) -> None:
        """Keep the file, whose size is the budget of all arrays together.

        Arrays may share a payload (picklers share empty and one-byte strings), but an honest file
        carries each array's bytes.
        """
        self.source = source
        self.budget = source.size
        self.arrays = 0

    def call(self, function: object, arguments: object) -> object:
        """Return what a REDUCE yields."""
        handler = _CALLS.get(function) if isinstance(function, Symbol) else None
        if handler is None:
            raise RefusalError(f"it calls {described(function)}")
        if type(arguments) is not tuple:
            raise RefusalError(f"it calls {described(function)} on {described(arguments)}")
        return handler(self, arguments)

    def build(self, target: object, state: object) -> None:
        """Set the state of a dtype or of an array, once."""
        if type(state) is not tuple:
            raise RefusalError(f"it sets the state of {described(target)} to {described(state)}")
        if isinstance(target, Type) and not target.order:
            self._build_type(target, state)
        elif isinstance(target, Array) and target.holds is None:
            self._build_array(target, state)
        else:
            raise RefusalError(f"it sets the state of {described(target)}")

    # -- calls ---------------------------------------------------------------------------

    def _call_reconstruct(self, arguments: tuple[object, ...]) -> object:
        if len(arguments) != 3 or arguments[0] is not Symbol.NDARRAY:
            first = described(arguments[0]) if arguments else "nothing"
            raise RefusalError(f"it reconstructs an array of {first}")
        if not _same_integers(arguments[1], (0,)) or self._one_byte(arguments[2]) != b"b":
            raise RefusalError("it reconstructs an array in a form no writer uses")
        return Array()

    def _call_dtype(self, arguments: tuple[object, ...]) -> object:
        code = self._text(arguments[0]) if arguments else ""
        known = code in NUMERIC_CODES or code in ("O4", "O8") or _TEXT_TYPE.fullmatch(code)
        if not known:
            raise RefusalError(f"it has an array of dtype {shown(code)!r}: {NUMERIC_ONLY}", RESAVE)
        if not _same_integers(tuple(arguments[1:]), (0, 1)):
            raise RefusalError("it makes a dtype in a form no writer uses")
        return Type(code)

    def _call_encode(self, arguments: tuple[object, ...]) -> object:
        match arguments:
            case (
                Span(notation=Notation.UTF8 | Notation.RAW_UNICODE) as text,
                Span() as codec,
            ) if self._text(codec) in ("latin1", "latin-1"):
                return Latin1(text)
        raise RefusalError("it encodes text in a form no writer uses")

    def _call_bytes(self, arguments: tuple[object, ...]) -> object:
        if arguments:
            raise RefusalError("it calls builtins.bytes with arguments")
        return Span(0, 0, Notation.BYTES)

    def _call_scalar(self, arguments: tuple[object, ...]) -> object:
        """Accept numpy.str_ (dictionary keys taken from a text array); name other scalars."""
        kind, raw = arguments if len(arguments) == 2 else (None, None)
        if not isinstance(kind, Type) or not kind.order:
            raise RefusalError("it makes a numpy scalar in a form no writer uses")
        if not kind.code.startswith("U") or not isinstance(raw, Span | Latin1):
            return Other.SCALAR
        length = 4 * int(kind.code[1:])
        if length > 4 * MAX_NAME_BYTES or not self.source.value_length_fits(raw, length):
            raise RefusalError("a numpy text in it is not as long as its dtype says")
        target = np.empty(length, np.uint8)
        self.source.fill(raw, target)
        try:
            name = target.tobytes().decode("utf-32-le" if kind.order == "<" else "utf-32-be")
        except UnicodeError:
            raise RefusalError("a numpy text in it is not valid text", RESAVE) from None
        return name.rstrip("\0")  # as numpy does

    def _call_frombuffer(self, arguments: tuple[object, ...]) -> object:
        if len(arguments) not in (4, 5):
            raise RefusalError("it calls numpy's _frombuffer in a form no writer uses")
        buffer, kind, shape = arguments[:3]
        order = self._text(arguments[3])
        axes = arguments[4] if len(arguments) == 5 else None
        if order == "K" and type(axes) is tuple and type(shape) is tuple:
            if not _is_permutation(axes, len(shape)):
                raise RefusalError("it orders the axes of an array in a way that is none")
            return Array(self._numeric(buffer, kind, shape, "C", native=False).transpose(axes))
        if order not in ("C", "F") or axes is not None:
            raise RefusalError("it calls numpy's _frombuffer in a form no writer uses")
        return Array(self._numeric(buffer, kind, shape, order, native=False))

    # -- states --------------------------------------------------------------------------

    def _build_type(self, target: Type, state: tuple[object, ...]) -> None:
        order = self._text(state[1]) if len(state) == 8 else ""
        if target.code[0] == "O":
            orders, tail = "|", (-1, -1, 63)
        elif target.code[0] == "U":
            orders, tail = "<>", (4 * int(target.code[1:]), 4, 8)
        else:
            orders, tail = "|" if target.code[1] == "1" else "<>", (-1, -1, 0)
        plain = len(state) == 8 and state[2:5] == (None, None, None)
        if not (plain and _same_integers((state[0], *state[5:]), (3, *tail))):
            raise RefusalError(f"the dtype {target.code} in it has fields, a sub-array or metadata")
        if len(order) != 1 or order not in orders:
            raise RefusalError(f"the dtype {target.code} in it has the byte order {shown(order)!r}")
        target.order = order

    def _build_array(self, target: Array, state: tuple[object, ...]) -> None:
        if len(state) != 5 or not _same_integers(state[:1], (1,)):
            raise RefusalError("an array in it has a state no writer makes")
        shape, kind, fortran, raw = state[1:]
        if type(fortran) not in (bool, int) or fortran not in (0, 1):
            raise RefusalError("an array in it has a state no writer makes")
        if isinstance(kind, Type) and kind.order and kind.code[0] == "O":
            if shape != () or not isinstance(raw, List) or raw.item is None:
                raise RefusalError(
                    "it holds an object array; only a 0-d one with a dictionary inside is read",
                    RESAVE,
                )
            target.holds = raw.item
            return
        # numpy.load turns this form, and only this one, to the machine's byte order.
        target.holds = self._numeric(raw, kind, shape, "F" if fortran else "C", native=True)

    def _numeric(
        self, raw: object, kind: object, shape: object, order: str, *, native: bool
    ) -> NDArray[Any]:
        """Return a new array with the payload's bytes in it.

        Args:
            raw: where the bytes lie.
            kind: the complete dtype.
            shape: lengths of the axes.
            order: ``"F"`` if the first axis varies fastest, else ``"C"``.
            native: whether to turn the values to the machine's byte order.
        """
        if not isinstance(kind, Type) or not kind.order:
            raise RefusalError(f"an array in it has {described(kind)} for its dtype")
        if kind.code not in NUMERIC_CODES:
            raise RefusalError(f"it has an array of dtype {kind.code}: {NUMERIC_ONLY}", RESAVE)
        if not isinstance(raw, Span | Latin1):
            raise RefusalError(f"an array in it has {described(raw)} for its data")
        dtype = np.dtype(kind.order + kind.code)
        lengths, size = check_shape(shape, dtype.itemsize)
        if not self.source.value_length_fits(raw, size):
            raise RefusalError(
                f"an array in it claims the shape {shown(str(lengths))}, {size} bytes, "
                "which its data do not have"
            )
        self.arrays += 1
        if self.arrays > MAX_ARRAYS:
            raise RefusalError(f"it has more than {MAX_ARRAYS} arrays")
        self.budget -= size
        if self.budget < 0:
            raise RefusalError("its arrays repeat their data until they are larger than the file")
        if native and not dtype.isnative:
            array = read_array(self.source, raw, dtype.newbyteorder("="), lengths, order)
            return array.byteswap(inplace=True)
        return read_array(self.source, raw, dtype, lengths, order)

    def _text(self, value: object) -> str:
        return self.source.name(value) if isinstance(value, Span) else ""

    def _one_byte(self, value: object) -> bytes:
        """Return the value of a payload of one byte, else nothing."""
        if not isinstance(value, Span | Latin1) or not self.source.value_length_fits(value, 1):
            return b""
        target = np.empty(1, np.uint8)
        self.source.fill(value, target)
        return target.tobytes()


def _same_integers(values: object, expected: tuple[int, ...]) -> bool:
    """Whether a tuple holds just these integers; writers may give True for 1 and False for 0."""
    return (
        type(values) is tuple
        and len(values) == len(expected)
        and all(type(value) in (int, bool) for value in values)
        and values == expected
    )


def _is_permutation(axes: tuple[object, ...], count: int) -> bool:
    numbers = [axis for axis in axes if type(axis) is int]
    return len(numbers) == len(axes) and sorted(numbers) == list(range(count))


_CALLS: dict[Symbol, Callable[[Builder, tuple[object, ...]], object]] = {
    Symbol.RECONSTRUCT: Builder._call_reconstruct,
    Symbol.DTYPE: Builder._call_dtype,
    Symbol.ENCODE: Builder._call_encode,
    Symbol.BYTES: Builder._call_bytes,
    Symbol.SCALAR: Builder._call_scalar,
    Symbol.FROMBUFFER: Builder._call_frombuffer,
}
