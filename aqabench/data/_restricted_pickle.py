"""A pickle machine that can build one thing: a dictionary of numeric numpy arrays.

Python's unpickler never sees the file.  This machine interprets the opcodes that numpy's and
Python's writers (1.x and 2.x, protocols 0 to 5, Python 2 and 3) use for such a dictionary, on a
stack of inert values: a GLOBAL yields a member of an enumeration instead of an import, a call is
a comparison of its arguments with the few forms the writers produce, and array data stay in the
file until shape, type and length are known to agree.  Everything else is refused by name.

It refuses on purpose: subclasses, object, text, record, complex, long-double and time arrays;
values other than arrays (numbers, numpy scalars, lists, nested dictionaries); keys other than
text; a key given twice; and what a writer has no use for (POP, DUP, INST, OBJ, extension codes,
persistent ids, nested containers), so that no chain or depth of tricks can be built.
"""

from __future__ import annotations

import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from aqabench.data._npy_source import MAX_NAME_BYTES, Notation, Source, Span
from aqabench.data._pickle_calls import Builder
from aqabench.data._pickle_values import (
    GLOBALS,
    Array,
    Dictionary,
    List,
    Other,
    described,
)
from aqabench.data._refusal import DAMAGED, RESAVE, RefusalError, shown

__all__ = ["read_dictionary"]

# An entry takes 30 to 40 opcodes; what is refused for its number is so within a few seconds.
MAX_OPCODES = 2_000_000
MAX_MEMO = 1_000_000
MAX_STACK = 10_000  # picklers emit dictionary items in batches of 1,000 pairs
MAX_MARKS = 16  # an honest file needs six
_MAX_TUPLE = 40

_DECIMAL = re.compile(rb"-?[0-9]{1,19}L?")


def read_dictionary(source: Source) -> dict[str, NDArray[Any]]:
    """Interpret the pickle from the source's position to the end of the file.

    Raises:
        RefusalError: for anything but a 0-d object array that holds a dictionary of numeric arrays.
    """
    return _Machine(source).run()


class _Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[object] = []
        self.below: list[list[object]] = []  # the stacks under each mark
        self.memo: dict[int, object] = {}
        self.opcodes = 0
        self.builder = Builder(source)

    def run(self) -> dict[str, NDArray[Any]]:
        source, handlers = self.source, _HANDLERS
        while True:
            self.opcodes += 1
            if self.opcodes > MAX_OPCODES:
                raise RefusalError(f"it has more than {MAX_OPCODES} pickle opcodes")
            opcode = source.take(1)
            if opcode == b".":
                break
            handler = handlers.get(opcode)
            if handler is None:
                _refuse_opcode(opcode)
            handler(self)
            if len(self.stack) > MAX_STACK:
                raise RefusalError(f"its pickle stack grows beyond {MAX_STACK} values")
        if len(self.stack) != 1 or self.below:
            raise RefusalError("its pickle stops with an untidy stack")
        if source.remaining:
            raise RefusalError(
                f"{source.remaining} bytes follow the end of its pickle at byte {source.position}",
                DAMAGED,
            )
        whole = self.stack[0]
        if not isinstance(whole, Array) or not isinstance(whole.holds, Dictionary):
            raise RefusalError(
                f"it holds {described(whole)}, not a dictionary of arrays in a 0-d object array",
                RESAVE,
            )
        return whole.holds.entries

    # -- stack ---------------------------------------------------------------------------

    def pop(self) -> object:
        if not self.stack:
            raise RefusalError("its pickle takes more from the stack than it put there")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise RefusalError("its pickle takes more from the stack than it put there")
        return self.stack[-1]

    def pop_to_mark(self) -> list[object]:
        if not self.below:
            raise RefusalError("its pickle looks for a mark that is not there")
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        if len(self.below) >= MAX_MARKS:
            raise RefusalError(f"its pickle nests deeper than {MAX_MARKS} levels")
        self.below.append(self.stack)
        self.stack = []

    def number(self, count: int) -> int:
        return int.from_bytes(self.source.take(count), "little")

    # -- framing and memo ----------------------------------------------------------------

    def proto(self) -> None:
        version = self.number(1)
        if self.opcodes != 1 or version > 5:
            raise RefusalError(f"it announces pickle protocol {version} where none such belongs")

    def frame(self) -> None:
        length = self.number(8)
        if length > self.source.remaining:
            raise RefusalError(
                f"it is cut off: a frame of {length} bytes is announced, "
                f"{self.source.remaining} follow",
                DAMAGED,
            )

    def remember(self, index: int) -> None:
        # Writers number the memo densely; a number beyond the opcodes read is an attack.
        if not 0 <= index <= self.opcodes or len(self.memo) >= MAX_MEMO:
            raise RefusalError(f"memo slot {index} is out of bounds")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise RefusalError(f"memo slot {index} is read before it is written")
        self.stack.append(self.memo[index])

    # -- constants -----------------------------------------------------------------------

    def decimal(self) -> int:
        line = self.source.line(24)
        if not _DECIMAL.fullmatch(line):
            raise RefusalError(f"it gives {shown(line.decode('latin-1'))!r} for an integer")
        return int(line.rstrip(b"L"))

    def integer_line(self) -> None:
        start = self.source.position
        number = self.decimal()
        if self.source.position - start == 3 and number in (0, 1):  # "00\n" and "01\n"
            self.stack.append(bool(number))
        else:
            self.stack.append(number)

    def long1(self) -> None:
        length = self.number(1)
        if length > 9:
            raise RefusalError(f"it has an integer of {length} bytes")
        self.stack.append(int.from_bytes(self.source.take(length), "little", signed=True))

    def float_line(self) -> None:
        self.source.line(40)
        self.stack.append(Other.FLOAT)

    def binfloat(self) -> None:
        self.source.take(8)
        self.stack.append(Other.FLOAT)

    def binint(self) -> None:
        self.stack.append(struct.unpack("<i", self.source.take(4))[0])

    def payload(self, length: int, notation: Notation) -> None:
        self.stack.append(self.source.span(length, notation))

    # -- containers ----------------------------------------------------------------------

    def push_tuple(self, items: list[object]) -> None:
        if len(items) > _MAX_TUPLE:
            raise RefusalError(f"a tuple in it has {len(items)} items")
        for item in items:
            if type(item) is tuple and any(type(inner) is tuple for inner in item):
                raise RefusalError("its tuples are nested deeper than any array needs")
        self.stack.append(tuple(items))

    def short_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push_tuple(items[::-1])

    def extend(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, List):
            raise RefusalError(f"it appends to {described(target)}")
        for item in items:
            if not isinstance(item, Dictionary) or target.item is not None:
                raise RefusalError(
                    f"it holds a list or an object array with {described(item)} in it", RESAVE
                )
            target.item = item

    def append(self) -> None:
        item = self.pop()
        self.extend([item])

    def push_list(self) -> None:
        items = self.pop_to_mark()
        self.stack.append(List())
        self.extend(items)

    def store(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, Dictionary):
            raise RefusalError(f"it sets items of {described(target)}")
        if len(items) % 2:
            raise RefusalError("it sets a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            name = self.key(key)
            if not isinstance(value, Array) or not isinstance(value.holds, np.ndarray):
                raise RefusalError(
                    f"the entry {shown(name)!r} is {described(value)}, not a numeric array", RESAVE
                )
            if name in target.entries:
                raise RefusalError(f"the entry {shown(name)!r} is given twice")
            target.entries[name] = value.holds

    def key(self, key: object) -> str:
        if isinstance(key, str):
            return key
        if isinstance(key, Span) and key.notation is not Notation.BYTES:
            return self.source.name(key)
        raise RefusalError(f"a key of its dictionary is {described(key)}, not text", RESAVE)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.store([key, value])

    def push_dictionary(self) -> None:
        items = self.pop_to_mark()
        self.stack.append(Dictionary())
        self.store(items)

    # -- globals and calls ---------------------------------------------------------------

    def push_global(self, module: str, name: str) -> None:
        symbol = GLOBALS.get((module, name))
        if symbol is None:
            raise RefusalError(f"it asks for {_named(module, name)}, which no array data need")
        self.stack.append(symbol)

    def global_lines(self) -> None:
        module, name = (self.source.line(MAX_NAME_BYTES) for _ in range(2))
        self.push_global(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, Span) or not isinstance(module, Span):
            raise RefusalError(f"it names a global by {described(module)} and {described(name)}")
        self.push_global(self.source.name(module), self.source.name(name))

    def inst(self) -> NoReturn:
        module, name = (self.source.line(MAX_NAME_BYTES).decode("latin-1") for _ in range(2))
        raise RefusalError(f"it asks to build {_named(module, name)}, which no array data need")

    def extension(self, count: int) -> NoReturn:
        raise RefusalError(
            f"it asks for the extension code {self.number(count)} of the copyreg module"
        )

    def persistent_line(self) -> NoReturn:
        name = shown(self.source.line(MAX_NAME_BYTES).decode("latin-1"))
        raise RefusalError(f"it asks for the object with the persistent id {name!r}")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.stack.append(self.builder.call(function, arguments))

    def build(self) -> None:
        state = self.pop()
        self.builder.build(self.top(), state)


def _named(module: str, name: str) -> str:
    """Return a global as it stands in the file, and what it is called in Python 3 if that differs.

    Protocols 0 to 2 write ``commands.Popen`` for ``subprocess.Popen``.
    """
    written = f"{shown(module)}.{shown(name)}"
    now = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return written if now == (module, name) else f"{shown('.'.join(now))} (written {written})"


def _refuse_opcode(opcode: bytes) -> NoReturn:
    import pickletools  # only the table of names; loaded when there is something to refuse

    code = opcode.decode("latin-1")
    name = next((op.name for op in pickletools.opcodes if op.code == code), f"0x{opcode.hex()}")
    raise RefusalError(f"it uses the pickle opcode {name}, which no array data need")


# Names: the comments of Lib/pickletools.py, by protocol.
_HANDLERS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.proto,
    b"\x95": _Machine.frame,
    b"(": _Machine.mark,
    # memo: PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    b"p": lambda m: m.remember(m.decimal()),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.recall(m.decimal()),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    # None, truth values and numbers: INT LONG LONG1 BININT BININT1 BININT2 FLOAT BINFLOAT
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"I": _Machine.integer_line,
    b"L": lambda m: m.stack.append(m.decimal()),
    b"\x8a": _Machine.long1,
    b"J": _Machine.binint,
    b"K": lambda m: m.stack.append(m.number(1)),
    b"M": lambda m: m.stack.append(m.number(2)),
    b"F": _Machine.float_line,
    b"G": _Machine.binfloat,
    # Python-2 strings: STRING SHORT_BINSTRING BINSTRING
    b"S": lambda m: m.stack.append(m.source.line_span(Notation.PY2_QUOTED)),
    b"U": lambda m: m.payload(m.number(1), Notation.PY2_STRING),
    b"T": lambda m: m.payload(m.number(4), Notation.PY2_STRING),
    # text: UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    b"V": lambda m: m.stack.append(m.source.line_span(Notation.RAW_UNICODE)),
    b"\x8c": lambda m: m.payload(m.number(1), Notation.UTF8),
    b"X": lambda m: m.payload(m.number(4), Notation.UTF8),
    b"\x8d": lambda m: m.payload(m.number(8), Notation.UTF8),
    # bytes: SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8
    b"C": lambda m: m.payload(m.number(1), Notation.BYTES),
    b"B": lambda m: m.payload(m.number(4), Notation.BYTES),
    b"\x8e": lambda m: m.payload(m.number(8), Notation.BYTES),
    b"\x96": lambda m: m.payload(m.number(8), Notation.BYTES),
    # containers
    b")": lambda m: m.stack.append(()),
    b"\x85": lambda m: m.short_tuple(1),
    b"\x86": lambda m: m.short_tuple(2),
    b"\x87": lambda m: m.short_tuple(3),
    b"t": lambda m: m.push_tuple(m.pop_to_mark()),
    b"]": lambda m: m.stack.append(List()),
    b"l": _Machine.push_list,
    b"a": _Machine.append,
    b"e": lambda m: m.extend(m.pop_to_mark()),
    b"}": lambda m: m.stack.append(Dictionary()),
    b"d": _Machine.push_dictionary,
    b"s": _Machine.set_item,
    b"u": lambda m: m.store(m.pop_to_mark()),
    # globals, calls and state
    b"c": _Machine.global_lines,
    b"\x93": _Machine.stack_global,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    # refused with the name of what they ask for: INST EXT1 EXT2 EXT4 PERSID
    b"i": _Machine.inst,
    b"\x82": lambda m: m.extension(1),
    b"\x83": lambda m: m.extension(2),
    b"\x84": lambda m: m.extension(4),
    b"P": _Machine.persistent_line,
}
