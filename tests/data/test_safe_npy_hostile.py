"""Hostile and mistaken pickles: each refused with a sentence, none acted upon.

Every load is watched by an audit hook (imports, executions, openings for writing) and by a canary
that the files try to create, and bounded in memory and time (``npy_forge.refusal``).
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import npy_forge as forge
import numpy as np
import pytest
from npy_forge import (
    CANARY,
    TOUCH,
    Evil,
    array,
    blank,
    boxed,
    call,
    data,
    dictionary,
    dtype,
    dtype_state,
    entry,
    frombuffer,
    glob,
    group,
    header,
    number,
    numbers,
    refusal,
    stack_global,
    text,
)

pytestmark = pytest.mark.filterwarnings("ignore:numpy.core")


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


OPEN = f"open({CANARY!r}, 'w')"

# -- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["value", "first", "inside", "key", "alone"])
def test_a_call_of_the_system(protocol: int, place: str) -> None:
    evil, honest = Evil(os.system, TOUCH), np.ones(3)
    content: Any = {
        "value": {"x": honest, "y": evil},
        "first": {"y": evil, "x": honest},
        "inside": {"x": [honest, (evil,)]},
        "key": {evil: honest},
        "alone": evil,
    }[place]
    assert "posix.system" in refusal(forge.saved(content, protocol)) or place == "inside"


def test_the_files_above_do_run_under_numpy() -> None:
    """The canary sings: without the safe loader the same bytes run."""
    Path("file.npy").write_bytes(forge.saved({"x": Evil(os.system, TOUCH)}, 4))
    np.load("file.npy", allow_pickle=True)
    assert Path(CANARY).exists()
    Path("file.npy").write_bytes(entry(call(glob("builtins", "eval"), text("1+1"))))
    assert np.load("file.npy", allow_pickle=True).item() == {"x": 2}


@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (Evil(eval, OPEN), "builtins.eval"),
        (Evil(exec, OPEN), "builtins.exec"),
        (Evil(subprocess.Popen, ["touch", CANARY]), "subprocess.Popen"),
        (Evil(getattr, os, "system"), "builtins.getattr"),
        (Evil(np.memmap, CANARY, "f4", "w+", 0, (4,)), "numpy.memmap"),
        (Evil(np.fromfile, CANARY), "fromfile"),
        (Evil(np.load, CANARY), "numpy.load"),
        (Evil(np.ndarray.tofile, np.ones(3), CANARY), "getattr"),
        (Evil(np.zeros, 10**12), "zeros"),
        (Evil(bytearray, 2**40), "builtins.bytearray"),
        (Evil(open, CANARY, "w"), "open"),
        (Evil(pickle.loads, b"cos\nsystem\n(S'touch canary'\ntR."), "loads"),
    ],
)
def test_gadgets(evil: Evil, named: str) -> None:
    evil.arguments = tuple("os" if a is os else a for a in evil.arguments)
    for protocol in (2, 4):
        assert named in refusal(forge.saved({"x": evil}, protocol))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "ndarray.tofile"),
        ("numpy", "ndarray.__class__"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.core", "multiarray._reconstruct"),
        ("numpy._core.multiarray ", "_reconstruct"),
        ("NUMPY", "ndarray"),
        ("numpy", "ndarray\x00"),
        ("numpy", "matrix"),
        ("numpy", "memmap"),
        ("numpy", "recarray"),
        ("numpy.ma.core", "_mareconstruct"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.multiarray", "_reconstructor"),
        ("numpy._core._internal", "_reconstruct"),
        ("collections", "OrderedDict"),
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("_codecs", "decode"),
        ("codecs", "encode"),
        ("builtins", "bytearray"),
        ("builtins", "str"),
        ("__main__", "x"),
        ("torch", "load"),
        ("", ""),
        ("", "numpy.ndarray"),
        ("numpy", ""),
        ("\x1b[31mnumpy", "\u202endarray"),
    ],
)
def test_globals_beside_the_list(module: str, name: str) -> None:
    for reference in (glob(module, name), stack_global(module, name)):
        message = refusal(entry(call(reference, text(TOUCH))))
        shown = f"{module}.{name}".encode("ascii", "backslashreplace").decode("ascii")
        assert shown.replace("\x00", "\\x00").replace("\x1b", "\\x1b") in message


@pytest.mark.parametrize(
    ("pickled", "named"),
    [
        (b"(ios\nsystem\n", "os.system"),
        (b"(S'touch canary'\nios\nsystem\n", "os.system"),
        (b"(" + glob("os", "system") + text(TOUCH) + b"o", "os.system"),
        (b"(" + glob("numpy", "ndarray") + b"o", "OBJ"),
        (glob("numpy", "ndarray") + b")\x81", "NEWOBJ"),
        (glob("numpy", "ndarray") + b")}\x92", "NEWOBJ_EX"),
        (b"\x82\x07", "extension code 7"),
        (b"\x83\x07\x01", "extension code 263"),
        (b"\x84\xff\xff\xff\x7f", "extension code 2147483647"),
        (b"Ptouch canary\n", "touch canary"),
        (text("id") + b"Q", "BINPERSID"),
        (b"\x97", "NEXT_BUFFER"),
        (b"\x98", "READONLY_BUFFER"),
        (b"\x8f", "EMPTY_SET"),
        (b"(\x91", "FROZENSET"),
        (b"N0", "POP"),
        (b"(1", "POP_MARK"),
        (b"N2", "DUP"),
        (b"\x8b\x01\x00\x00\x00\x01", "LONG4"),
        (b"\xff", "0xff"),
        (b"\x00", "0x00"),
    ],
)
def test_opcodes_that_no_array_needs(pickled: bytes, named: str) -> None:
    assert named in refusal(boxed(pickled))
    assert named in refusal(entry(pickled))


@pytest.mark.parametrize(
    "function",
    [
        glob("numpy", "ndarray"),
        text("os.system"),
        array(),
        dtype(),
        dictionary(),
        b"]",
        b"N",
        b")",
        b"K\x01",
        blank(),
    ],
)
def test_calls_of_what_cannot_be_called(function: bytes) -> None:
    assert "calls" in refusal(entry(call(function, numbers(10**9))))


@pytest.mark.parametrize(
    "target", [text("x"), b"N", b")", b"]", b"}", b"K\x01", glob("numpy", "ndarray"), array()]
)
def test_states_of_what_has_none(target: bytes) -> None:
    refusal(entry(target + b"}b"))
    refusal(entry(target + group(b"N", dictionary(text("__class__"), b"N")) + b"b"))
    refusal(
        entry(target + group(number(1), numbers(2), dtype(), b"\x89", data(b"12345678")) + b"b")
    )


# -- odd arguments -------------------------------------------------------------------------------

RECONSTRUCT = glob("numpy.core.multiarray", "_reconstruct")
SCALAR = glob("numpy.core.multiarray", "scalar")
DTYPE = glob("numpy", "dtype")
NDARRAY = glob("numpy", "ndarray")
ENCODE = glob("_codecs", "encode")
BUFFER = data(bytes(24))
SHAPE = numbers(2, 3)


@pytest.mark.parametrize(
    "made",
    [
        call(RECONSTRUCT),
        call(RECONSTRUCT, NDARRAY),
        call(RECONSTRUCT, NDARRAY, numbers(10**9), data(b"b")),
        call(RECONSTRUCT, NDARRAY, numbers(-1), data(b"b")),
        call(RECONSTRUCT, NDARRAY, numbers(0, 0), data(b"b")),
        call(RECONSTRUCT, NDARRAY, b"\x89\x85", data(b"O")),
        call(RECONSTRUCT, NDARRAY, numbers(0), data(b"bb")),
        call(RECONSTRUCT, NDARRAY, numbers(0), numbers(0)),
        call(RECONSTRUCT, DTYPE, numbers(0), data(b"b")),
        call(RECONSTRUCT, glob("builtins", "bytes"), numbers(0), data(b"b")),
        call(RECONSTRUCT, array(), numbers(0), data(b"b")),
        call(DTYPE),
        call(DTYPE, text("f4")),
        call(DTYPE, text("f4"), b"\x88", b"\x88"),
        call(DTYPE, text("f4"), b"\x89", b"\x89"),
        call(DTYPE, text("f4"), b"\x89", b"\x88", b"\x88"),
        call(DTYPE, b"N", b"\x89", b"\x88"),
        call(DTYPE, NDARRAY, b"\x89", b"\x88"),
        call(DTYPE, b"]", b"\x89", b"\x88"),
        call(DTYPE, b"}", b"\x89", b"\x88"),
        call(DTYPE, group(text("f4"), numbers(10**9)), b"\x89", b"\x88"),
        call(ENCODE),
        call(ENCODE, text("x")),
        call(ENCODE, text("x"), text("rot13")),
        call(ENCODE, text("x"), text("zlib")),
        call(ENCODE, text("x"), text("latin1"), text("ignore")),
        call(ENCODE, data(b"x"), text("latin1")),
        call(ENCODE, b"N", text("latin1")),
        call(glob("builtins", "bytes"), number(2**31 - 1)),
        call(glob("__builtin__", "bytes"), text("x"), text("latin1")),
        call(SCALAR),
        call(SCALAR, dtype("f4"), data(b"1234")),
        call(SCALAR, dtype("O8", state=dtype_state("|", (-1, -1, 63))), data(bytes(8))),
        call(SCALAR, dtype("f4")),
        call(SCALAR, DTYPE, data(b"1234")),
        frombuffer(BUFFER, dtype(), SHAPE),
        frombuffer(BUFFER, dtype(), SHAPE, text("A")),
        frombuffer(BUFFER, dtype(), SHAPE, text("K")),
        frombuffer(BUFFER, dtype(), SHAPE, text("C"), numbers(0, 1)),
        frombuffer(BUFFER, dtype(), SHAPE, text("K"), numbers(0, 0)),
        frombuffer(BUFFER, dtype(), SHAPE, text("K"), numbers(0, 1, 2)),
        frombuffer(BUFFER, dtype(), SHAPE, text("K"), numbers(-1, 0)),
        frombuffer(BUFFER, dtype(), SHAPE, text("K"), group(b"\x89", b"\x88")),
        frombuffer(BUFFER, dtype(), SHAPE, b"N"),
        frombuffer(BUFFER, dtype(), numbers(2, 4), text("C")),
        frombuffer(BUFFER, dtype(), numbers(2, 2), text("C")),
        frombuffer(BUFFER, dtype(), numbers(-1, 3), text("C")),
        frombuffer(BUFFER, dtype(), numbers(-1, -6), text("C")),
        frombuffer(BUFFER, dtype(), number(6), text("C")),
        frombuffer(BUFFER, text("f4"), SHAPE, text("C")),
        frombuffer(BUFFER, call(DTYPE, text("f4"), b"\x89", b"\x88"), SHAPE, text("C")),
        frombuffer(text("x" * 24), dtype(), SHAPE, text("C")),
        frombuffer(array(), dtype(), SHAPE, text("C")),
        frombuffer(b"N", dtype(), SHAPE, text("C")),
        frombuffer(
            data(bytes(16)),
            dtype("O8", state=dtype_state("|", (-1, -1, 63))),
            numbers(2),
            text("C"),
        ),
        RECONSTRUCT + b"NR",
        RECONSTRUCT + b"}R",
        RECONSTRUCT + b"]R",
        RECONSTRUCT + text("abc") + b"R",
    ],
)
def test_calls_in_a_form_no_writer_uses(made: bytes) -> None:
    refusal(entry(made))


@pytest.mark.parametrize(
    "code",
    [
        *(
            "O",
            "V8",
            "S4",
            "M8",
            "m8",
            "c8",
            "c16",
            "f16",
            "g",
            "f4,f4",
            "(2,3)f4",
            "b4",
            "f3",
            "i16",
        ),
        *("(1000000000,)f8", "V1000000000", "U99999", "f", "float32", "<f4", ">f4", "=f4", "f4 "),
        *("F4", "", "object", "f4\x00", "\u0665", "f\u0664", "a" * 5000),
        "{'names':['a'],'formats':['f4']}",
    ],
)
def test_types_that_are_no_features(code: str) -> None:
    refusal(entry(array(kind=dtype(code))))
    if code not in ("<f4", ">f4"):  # the header's own notation
        refusal(header(repr(code), "(2, 3)") + bytes(24))


@pytest.mark.parametrize(
    "state",
    [
        dtype_state("="),
        dtype_state("|"),
        dtype_state(""),
        dtype_state("<>"),
        dtype_state("<<"),
        dtype_state("<", (8, -1, 0)),
        dtype_state("<", (-1, 1000, 0)),
        dtype_state("<", (-1, -1, 63)),
        dtype_state("<", (-1, -1, 8)),
        dtype_state("|", (-1, -1, 63)),
        dtype_state("<", (0, 0, 0)),
        group(number(4), text("<"), b"NNN", numbers(-1), numbers(-1), number(0), b"N"),
        group(number(3), text("<"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00", b"}"),
        group(number(3), text("<"), group(dtype(), numbers(10**9)), b"NN", *([number(-1)] * 3)),
        group(number(3), text("<"), b"N", group(text("a")), dictionary(text("a"), b"N"), b"NNN"),
        group(number(3), text("<"), b"NN", b"}", number(-1), number(-1), number(0)),
        group(number(2), text("<"), b"NNN", number(-1), number(-1), number(0)),
        group(number(3), b"N", b"NNN", number(-1), number(-1), number(0)),
        group(number(3)),
        b")",
        b"N",
        b"}",
        text("<"),
        numbers(3, 3, 3, 3, 3, 3, 3, 3),
        array(),
    ],
)
def test_states_of_types(state: bytes) -> None:
    refusal(entry(array(kind=dtype("f4", state=state))))


def test_a_type_is_set_once_and_before_use() -> None:
    refusal(entry(array(kind=dtype() + dtype_state("<") + b"b")))
    refusal(entry(array(kind=call(DTYPE, text("f4"), b"\x89", b"\x88"))))
    # The type of the array is changed while it lies in the memo.
    late = dtype() + b"q\x09"
    refusal(entry(array(kind=late + group(b"h\x09") + b"b")))


@pytest.mark.parametrize(
    "shape",
    [
        numbers(2, 4),
        numbers(7),
        numbers(5),
        b")",
        numbers(0),
        numbers(-1),
        numbers(-2, -3),
        numbers(2, -3),
        numbers(2**62, 2**62),
        numbers(2**63 - 1, 2**63 - 1),
        numbers(2**32, 2**32),
        numbers(2**62, 4, 6),
        numbers(2**63, 0),
        numbers(-(2**63), 0),
        numbers(10**15, 0),
        numbers(0, *([2**31] * 20)),
        numbers(*([1] * 33), 6),
        numbers(*([1] * 60)),
        group(b"\x88", number(6)),
        group(number(6), b"N"),
        group(text("6")),
        group(data(b"6")),
        group(b"G" + struct.pack(">d", 6.0)),
        group(numbers(6)),
        group(dtype()),
        number(6),
        b"N",
        b"]",
        text("(6,)"),
        data(b"\x06"),
    ],
)
def test_shapes_that_lie(shape: bytes) -> None:
    refusal(entry(array(shape=shape)))
    refusal(entry(frombuffer(BUFFER, dtype(), shape, text("C"))))


@pytest.mark.parametrize(
    "state",
    [
        group(SHAPE, dtype(), b"\x89", BUFFER),
        group(number(0), SHAPE, dtype(), b"\x89", BUFFER),
        group(number(2), SHAPE, dtype(), b"\x89", BUFFER),
        group(number(1), SHAPE, dtype(), b"\x89", BUFFER, BUFFER),
        group(number(1), SHAPE, dtype(), number(2), BUFFER),
        group(number(1), SHAPE, dtype(), b"N", BUFFER),
        group(number(1), SHAPE, dtype(), text("F"), BUFFER),
        group(number(1), SHAPE, b"N", b"\x89", BUFFER),
        group(number(1), SHAPE, text("f4"), b"\x89", BUFFER),
        group(number(1), SHAPE, DTYPE, b"\x89", BUFFER),
        group(number(1), SHAPE, dtype(), b"\x89", text("x" * 24)),
        group(number(1), SHAPE, dtype(), b"\x89", b"]"),
        group(number(1), SHAPE, dtype(), b"\x89", b"N"),
        group(number(1), SHAPE, dtype(), b"\x89", call(ENCODE, text("\u20ac" * 8), text("latin1"))),
        group(
            number(1), SHAPE, dtype(), b"\x89", call(ENCODE, text("\u0100" * 12), text("latin1"))
        ),
        group(number(1), b")", dtype("O8", state=dtype_state("|", (-1, -1, 63))), b"\x89", b"]"),
        b")",
        b"N",
        b"}",
    ],
)
def test_states_of_arrays(state: bytes) -> None:
    refusal(entry(array(state=state)))


def test_an_array_is_set_once_and_before_use() -> None:
    state = group(number(1), SHAPE, dtype(), b"\x89", BUFFER)
    refusal(entry(blank()))
    refusal(entry(blank() + state + b"b" + state + b"b"))
    refusal(entry(frombuffer(BUFFER, dtype(), SHAPE, text("C")) + state + b"b"))


def test_truth_values_are_zero_or_one() -> None:
    boolean = dtype("b1", "|")
    assert "bool" in refusal(entry(array(numbers(3), boolean, raw=data(b"\x00\x01\x02"))))
    assert "bool" in refusal(header("'|b1'", "(3,)") + b"\x00\x01\xff")


# -- what the dictionary holds -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"x": [1.0, 2.0]}, "list"),
        ({"x": [np.ones(3)]}, "list"),
        ({"x": 1}, "integer"),
        ({"x": 1.5}, "float"),
        ({"x": True}, "truth value"),
        ({"x": None}, "None"),
        ({"x": "text"}, "text"),
        ({"x": b"bytes"}, "bytes"),
        ({"x": (1, 2)}, "tuple"),
        ({"x": {"y": np.ones(3)}}, "dictionary"),
        ({"x": np.float32(1)}, "numpy scalar"),
        ({"x": np.array(["a", "b"])}, "U1"),
        ({"x": np.array([b"a"])}, "S1"),
        ({"x": np.array([1, None])}, "object array"),
        ({"x": np.array([1 + 2j])}, "c16"),
        ({"x": np.array(["2020-01-01"], "M8[D]")}, "M8"),
        ({"x": np.zeros(2, [("a", "f4")])}, "V4"),
        ({"x": np.zeros(2, np.longdouble)}, "f16"),
        ({"x": np.ma.array([1.0, 2.0])}, "numpy.ma"),
        ({"x": np.asmatrix(np.ones((2, 2)))}, "numpy.matrix"),
        ({1: np.ones(3)}, "key"),
        ({b"x": np.ones(3)}, "key"),
        ({None: np.ones(3)}, "key"),
        ({("a", "b"): np.ones(3)}, "key"),
        ({1.5: np.ones(3)}, "key"),
        ({np.int64(3): np.ones(3)}, "key"),
        ({"k" * 2000: np.ones(3)}, "2000 bytes"),
        ({"\ud800": np.ones(3)}, "not valid text"),
        (OrderedDict(x=np.ones(3)), "collections.OrderedDict"),
        ([np.ones(3)], "list"),
        (np.ones(3), "an array"),
        (None, "None"),
        ("text", "text"),
        (set(), "EMPTY_SET"),
    ],
)
def test_mistakes_are_named(content: Any, named: str) -> None:
    message = refusal(forge.saved(content, 4))
    assert named in message
    assert "numpy.save(" in message or "allow_pickle" in message


def test_memory_maps_are_not_followed() -> None:
    Path(CANARY).write_bytes(bytes(12))
    mapped = np.memmap(CANARY, "f4", "r", 0, (3,))
    raw = forge.saved({"x": mapped}, 4)
    Path(CANARY).unlink()
    assert "numpy.memmap" in refusal(raw)


def test_a_key_given_twice() -> None:
    twice = boxed(dictionary(text("x"), array(), text("x"), array()))
    assert "'x' is given twice" in refusal(twice)


def test_object_arrays_of_other_shapes() -> None:
    Path("file.npy").unlink(missing_ok=True)
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}, None], object))
    assert "shape (2,)" in refusal(out.getvalue())
    state = group(
        number(1), numbers(1), dtype("O8", state=dtype_state("|", (-1, -1, 63))), b"\x89",
        b"](" + dictionary(text("x"), array()) + b"e",
    )  # fmt: skip
    refusal(header() + b"\x80\x03" + blank() + state + b"b.")
