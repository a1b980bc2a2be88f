"""Feature files made by hand, honest and hostile: a small assembler of pickles, and a watch.

The assembler writes what numpy 1.x and Python's picklers wrote (protocol 2 and 3 forms, Python 2
forms), so that old files need not be kept as blobs; ``watched`` records what a load does to the
outside world.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import pickle
import pickletools  # noqa: F401  (the reader imports it when it names an opcode)
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError

for _codec in ("utf-8", "raw-unicode-escape", "utf-32-le", "utf-32-be"):
    codecs.getincrementaldecoder(_codec)  # imported now, not under watch

CANARY = "canary"  # tests run in a folder of their own
SECONDS = 10.0
MEGABYTES = 40
TOUCH = f"touch {CANARY}"
MULTIARRAY = "numpy.core.multiarray"


def header(
    descr: str = "'|O'", shape: str = "()", fortran: str = "False", version: int = 1
) -> bytes:
    """Magic and header of a `.npy` file, from raw literals."""
    return raw_header(
        f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode(),
        version,
    )


def raw_header(text: bytes, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + b"\n"


def saved(value: Any, protocol: int) -> bytes:
    """What numpy.save wrote, had it been told the protocol."""
    boxed = np.empty((), object)
    boxed[()] = value
    return header() + pickle.dumps(boxed, protocol)


def saved_by_numpy1(value: Any, protocol: int) -> bytes:
    """The same with the module names of numpy 1.x, by Python's own pickler."""
    boxed = np.empty((), object)
    boxed[()] = value
    found: Callable[..., str] = pickle.whichmodule

    def old_name(obj: Any, name: str) -> str:
        return found(obj, name).replace("numpy._core", "numpy.core")

    out = io.BytesIO()
    with mock.patch.object(pickle, "whichmodule", old_name):
        pickle._Pickler(out, protocol).dump(boxed)
    return header() + out.getvalue()


# -- assembler ---------------------------------------------------------------------------------


def glob(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return (
        b"J" + struct.pack("<i", value)
        if -(2**31) <= value < 2**31
        else b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
    )


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(*values: int) -> bytes:
    return group(*(number(value) for value in values))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + group(*arguments) + b"R"


def dtype_state(order: str = "<", tail: tuple[int, int, int] = (-1, -1, 0)) -> bytes:
    return group(number(3), text(order), b"NNN", *(number(value) for value in tail))


def dtype(code: str = "f4", order: str = "<", state: bytes | None = None) -> bytes:
    made = call(glob("numpy", "dtype"), text(code), b"\x89", b"\x88")
    return made + (dtype_state(order) if state is None else state) + b"b"


def blank(subclass: bytes | None = None, module: str = MULTIARRAY) -> bytes:
    return call(
        glob(module, "_reconstruct"),
        subclass or glob("numpy", "ndarray"),
        numbers(0),
        data(b"b"),
    )


def array(
    shape: bytes | None = None,
    kind: bytes | None = None,
    fortran: bytes = b"\x89",
    raw: bytes | None = None,
    state: bytes | None = None,
) -> bytes:
    """An array of (2, 3) float32 unless told otherwise."""
    if state is None:
        raw = data(np.arange(6, dtype="<f4").tobytes()) if raw is None else raw
        state = group(number(1), shape or numbers(2, 3), kind or dtype(), fortran, raw)
    return blank() + state + b"b"


def frombuffer(raw: bytes, kind: bytes, shape: bytes, *order: bytes) -> bytes:
    return call(glob("numpy.core.numeric", "_frombuffer"), raw, kind, shape, *order)


def dictionary(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"u"


def boxed(content: bytes, protocol: bytes = b"\x80\x03") -> bytes:
    """A whole file: a 0-d object array that holds the content."""
    kind = dtype("O8", state=dtype_state("|", (-1, -1, 63)))
    state = group(number(1), b")", kind, b"\x89", b"](" + content + b"e")
    return header() + protocol + blank() + state + b"b."


def entry(value: bytes, name: str = "x") -> bytes:
    """A whole file: one entry under a name."""
    return boxed(dictionary(text(name), value))


# -- Python 2 ----------------------------------------------------------------------------------


def python2_array(values: np.ndarray[Any, Any], protocol: int) -> bytes:
    """An array as Python 2's cPickle and numpy 1.9 wrote it, with long axis lengths."""
    if protocol == 0:
        shape = b"(" + b"".join(f"L{n}L\n".encode() for n in values.shape) + b"t"
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
            + shape
            + f"cnumpy\ndtype\n(S'{values.dtype.str[1:]}'\nI0\nI1\ntR".encode()
            + f"(I3\nS'{values.dtype.str[0]}'\nNNNI-1\nI-1\nI0\ntbI00\n".encode()
            + b"S"
            + python2_repr(values.tobytes())
            + b"\ntb"
        )
    raw = values.tobytes()
    shape = b"(" + b"".join(b"\x8a\x02" + struct.pack("<h", n) for n in values.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\nU\x02"
        + values.dtype.str[1:].encode()
        + b"K\x00K\x01\x87R(K\x03U\x01"
        + values.dtype.str[0].encode()
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


_PYTHON2_ESCAPES = (
    {byte: rb"\x%02x" % byte for byte in range(256)}
    | {byte: bytes([byte]) for byte in range(32, 127)}
    | {9: rb"\t", 10: rb"\n", 13: rb"\r", 39: rb"\'", 92: rb"\\"}
)


def python2_repr(raw: bytes) -> bytes:
    """The literal that Python 2 prints for a string."""
    return b"'" + b"".join(_PYTHON2_ESCAPES[byte] for byte in raw) + b"'"


def python2_file(entries: dict[str, np.ndarray[Any, Any]], protocol: int) -> bytes:
    """A dictionary as Python 2 saved it; keys are Python-2 strings."""
    zero = protocol == 0
    kind = (
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
        if zero
        else b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK?tb"
    )
    items = b"".join(
        (
            b"S'" + key.encode() + b"'\n" + python2_array(values, 0) + b"s"
            if zero
            else b"U" + bytes([len(key)]) + key.encode() + python2_array(values, 2) + b"s"
        )
        for key, values in entries.items()
    )
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(t"
        if zero
        else b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01)"
    )
    listed = b"(l(d" + items + b"atb." if zero else b"]}" + items + b"atb."
    return header("'|O8'") + start + kind + (b"I00\n" if zero else b"\x89") + listed


# -- the outside world -------------------------------------------------------------------------

_events: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None:
        return
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & 0b11:
            _events.append(f"open for writing: {arguments[0]}")
    elif not event.startswith(("object.", "sys._getframe", "gc.", "marshal.")):
        _events.append(f"{event} {arguments!r:.80}")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Record imports, executions, calls of the system and openings for writing."""
    global _events
    if _audit not in _installed:
        sys.addaudithook(_audit)
        _installed.append(_audit)
    _events = []
    try:
        yield _events
    finally:
        _events = None


_installed: list[Any] = []


class Evil:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def refusal(raw: bytes, name: str = "file.npy") -> str:
    """Write a file, load it, check that nothing happened, return the sentence."""
    path = Path(name)
    path.write_bytes(raw)
    tracemalloc.start()
    start = time.monotonic()
    try:
        with watched() as events, pytest.raises(UnsafeFileError) as caught:
            load(path)
        took, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert events == []
    assert [path.name for path in Path().iterdir()] == [name]
    assert path.read_bytes() == raw
    assert took < SECONDS
    assert peak < MEGABYTES * 2**20
    assert caught.value.__cause__ is None  # foreseen by a check, not caught by the last net
    message = str(caught.value)
    assert message.startswith(f"{name}: refused")
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 700
    return message
