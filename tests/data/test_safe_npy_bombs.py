"""Bombs, headers that lie, broken files and files of another kind: refused, cheaply."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import npy_forge as forge
import numpy as np
import pytest
from npy_forge import (
    SECONDS,
    TOUCH,
    Evil,
    array,
    boxed,
    dtype,
    entry,
    glob,
    header,
    numbers,
    raw_header,
    refusal,
    stack_global,
    text,
)

from aqabench.data.safe_npy import load
from aqabench.errors import DataError, UnsafeFileError

pytestmark = pytest.mark.filterwarnings("ignore:numpy.core")


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- bombs ---------------------------------------------------------------------------------------

BOMBS = {
    "memo index": b"N" + b"r" + struct.pack("<I", 2**28),
    "memo index, largest": b"N" + b"r\xff\xff\xff\xff",
    "memo index in text": b"Np99999999999999999\n",
    "memo index below zero": b"Np-1\n",
    "memo flood": b"N" + b"\x94" * 20_000,
    "memo read": b"j\xff\xff\xff\xff",
    "marks": b"(" * 12_000,
    "lists in lists": b"](" * 12_000,
    "tuples in tuples": b")" + b"\x85" * 12_000,
    "dictionaries in dictionaries": (b"}" + text("x")) * 12_000,
    "tuples doubled": b")q\x01" + b"h\x01h\x01\x86q\x01" * 60,
    "tuples doubled as key": b"})q\x01" + b"h\x01h\x01\x86q\x01" * 60 + b"Ns",
    "wide tuple": b"(" + b"N" * 60_000 + b"t",
    "wide list": b"](" + b"K\x01" * 9_000 + b"e",
    "stack": b"N" * 60_000,
    "frames": (b"\x95" + bytes(8)) * 11_000,
    "frame beyond the end": b"\x95" + struct.pack("<Q", 2**60),
    "protocol again": b"\x80\x04" * 3,
    "integer of many digits": b"I" + b"9" * 1_000_000 + b"\n",
    "long of many digits": b"L" + b"9" * 1_000_000 + b"L\n",
    "long without end": b"L" + b"9" * 1_000_000,
    "integer of 255 bytes": b"\x8a\xff" + b"\x7f" * 255,
    "integer of gigabytes": b"\x8b\xff\xff\xff\x7f",
    "integer in words": b"Ione\n",
    "integer in other digits": "I\u0661\n".encode(),
    "integer with underscores": b"I1_0\n",
    "float of many digits": b"F" + b"1" * 1_000_000 + b"\n",
    "bytes beyond the end": b"\x8e" + struct.pack("<Q", 2**62),
    "bytes beyond any file": b"\x8e" + b"\xff" * 8,
    "bytes, 4 GiB": b"B\xff\xff\xff\xff",
    "byte array beyond the end": b"\x96" + struct.pack("<Q", 2**40),
    "text beyond the end": b"\x8d" + struct.pack("<Q", 2**62),
    "text, 4 GiB": b"X\xff\xff\xff\xff",
    "string below zero": b"T" + struct.pack("<i", -5),
    "global without end": b"c" + b"a" * 1_000_000,
    "name of a megabyte": stack_global("numpy", "a" * 1_000_000),
    "string without quotes": b"Sabc\n" + array(),
    "one quote": b"S'\n",
    "empty string literal": b"S\n",
    "self": b"}q\x01" + text("x") + b"h\x01s",
    "list of itself": b"]q\x01h\x01a",
    "stop at once": b".",
    "nothing": b"",
    "unpaired": b"(" + text("x") + b"u",
    "no mark": b"t",
    "empty stack": b"R",
    "set on nothing": b"s",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    refusal(header() + b"\x80\x04" + BOMBS[name] + b".")
    refusal(boxed(BOMBS[name]))
    refusal(entry(BOMBS[name]))


@pytest.mark.parametrize(
    "literal",
    [b"'\\x4'", b"'\\8'", b"'\\u0041'", b"'\\N{SPACE}'", b"'\\400'", b"'\\'", b"'\xe9'", b"'\\q'"],
)
def test_string_literals_no_writer_makes(literal: bytes) -> None:
    refusal(entry(b"S" + literal + b"\n" + array() + b"s"))
    refusal(boxed(b"}S" + literal + b"\n" + array() + b"s"))
    refusal(entry(array(numbers(1), dtype("u1", "|"), raw=b"S" + literal + b"\n")))


def test_data_shared_by_many_arrays_do_not_multiply() -> None:
    """A megabyte that 2,000 arrays claim would be 2 GB; one array under 2,000 keys is fine."""
    payload = b"B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\x01"
    arguments = b"(h\x01" + dtype("u1", "|") + numbers(2**20) + text("C") + b"tq\x02"
    function = glob("numpy.core.numeric", "_frombuffer") + b"q\x03"
    many = b"".join(text(f"k{i}") + b"h\x03h\x02Rs" for i in range(2000))
    # the three lie in the memo after a first array took them
    first = b"}" + text("a") + function + arguments.replace(b"(h\x01", b"(" + payload, 1) + b"Rs"
    assert "repeat their data" in refusal(boxed(first + many))
    same = b"".join(text(f"k{i}") + b"h\x04s" for i in range(2000))
    Path("file.npy").write_bytes(boxed(first[:-1] + b"q\x04s" + same))
    got = load("file.npy")
    assert isinstance(got, dict)
    assert len(got) == 2001
    assert len({id(value) for value in got.values()}) == 1


def test_text_that_is_read_again_and_again() -> None:
    """A long text in the memo, offered as data to arrays that it does not fit."""
    long = b"X" + struct.pack("<I", 2**20) + b"x" * 2**20 + b"q\x01"
    encoded = glob("_codecs", "encode") + b"(" + long + text("latin1") + b"tRq\x02"
    for shape in (numbers(2**19 - 1), numbers(2**20 + 1), numbers(1)):
        refusal(entry(array(shape, dtype("u1", "|"), raw=encoded)))


LIMITED = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError
import numpy, pickletools
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for path in sys.argv[2:]:
    start = time.monotonic()
    try:
        load(path)
    except UnsafeFileError as error:
        assert error.__cause__ is None, error
        print(f"{time.monotonic() - start:.2f}", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space by Linux means")
@pytest.mark.parametrize("opcodes", [200_000, pytest.param(2_100_000, marks=pytest.mark.slow)])
def test_floods_within_limits_of_memory_and_time(opcodes: int) -> None:
    """Floods in a process that cannot take 400 MB more, nor write a byte.

    The larger number is past every limit on opcodes, memo and arrays; the smaller ends otherwise.
    """
    shared = (
        b"\x80\x05" + glob("numpy.core.numeric", "_frombuffer") + b"\x94(C\x00" + dtype()
        + numbers(0) + text("C") + b"t\x94}"
    )  # fmt: skip
    floods = {
        "memo": b"\x80\x04N" + b"\x94" * (opcodes // 2),
        "slots": b"\x80\x04N" + b"".join(b"r" + struct.pack("<I", i) for i in range(opcodes // 2)),
        "frames": b"\x80\x04" + (b"\x95" + bytes(8)) * opcodes,
        "arrays": shared
        + b"".join(text(f"{i:06x}") + b"h\x00h\x01Rs" for i in range(opcodes // 20)),
        "line": b"\x80\x04V" + b"a" * 50_000_000,
        "huge": b"",
    }
    for name, raw in floods.items():
        Path(f"{name}.npy").write_bytes(header() + raw + b".")
    Path("huge.npy").write_bytes(header("'<f8'", "(1000000, 1000000)") + bytes(64))
    with Path("sparse.npy").open("wb") as stream:  # claims 8 GB and has them, as holes
        stream.write(header("'<f8'", "(1000000000,)"))
        stream.truncate(stream.tell() + 8 * 10**9)
    names = [f"{name}.npy" for name in [*floods, "sparse"]]
    before = sorted(Path().iterdir())
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(Path(__file__).resolve().parents[2]), *names],
        capture_output=True, text=True, timeout=150, check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        took, message = line.split(" ", 1)
        assert message.startswith(f"{name}: refused")
        assert float(took) < 30
    assert sorted(Path().iterdir()) == before


# -- plain arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        *(
            "(1000000000000,)",
            "(1000000, 1000000)",
            "(4,)",
            "(2,)",
            "(-3,)",
            "(3.0,)",
            "(3",
            "3",
            "3,",
        ),
        *("(9223372036854775807, 9223372036854775807)", "(4294967296, 4294967296)", "(0x3,)"),
        *("(18446744073709551617,)", "(1_0,)", "(3,,)", "(,)", "(,3)", "(3)", "((3,),)", "(3 3,)"),
        *("(3, 1000000000000, 0)", "()", "[3]", "None", "(True,)", "(3L L,)", "(\u0663,)"),
        *("(3,) + (4,)", "(3,) * 10**9", "(" + "9" * 5000 + ",)", "(" + "1, " * 60 + "3)"),
        "(1," * 2000 + ")" * 2000,
    ],
)
def test_shapes_of_plain_headers(shape: str) -> None:
    refusal(header("'<f4'", shape) + bytes(12))
    refusal(header("'<f4'", shape, fortran="True", version=2) + bytes(12))


@pytest.mark.parametrize(
    "text_",
    [
        b"",
        b"{}",
        b"{" * 5000,
        b"(" * 9000,
        b"[" * 9000 + b"]" * 9000,
        b"-" * 9000 + b"1",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'extra': 1}",
        b"{'descr': '<f4', 'fortran_order': False}",
        b"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
        b"{'descr': '<f4', 'fortran_order': None, 'shape': (3,)}",
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': ('<f4', (1000000000,)), 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': 'O', 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': '<f4' '<f4', 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': r'<f4', 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} # x",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}; import os",
        b"__import__('os').system('touch canary')",
        b"{'descr': __import__('os').system('touch canary'), 'fortran_order': False, 'shape': ()}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)",
        b"{'descr': '<f4', 'fortran_order': False 'shape': (3,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\x00",
        b"{'descr': '<f4',\n'fortran_order': False, 'shape': (3,)}",
        b"\xff\xfe\xfd",
        b"{'" + b"a" * 9000 + b"': 1}",
        b"{'descr': '" + b"<f4" * 3000 + b"'}",
        b"{'a" + b"\\" * 9000,
        b"{" + b"'a': 1, " * 1200,
        b"{'descr': " + b" " * 9000,
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_that_lie(text_: bytes, version: int) -> None:
    refusal(raw_header(text_, version) + bytes(12))


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (4, 0), (255, 255), (2, 1)])
def test_unknown_versions(version: tuple[int, int]) -> None:
    raw = header("'<f4'", "(3,)") + bytes(12)
    assert "version" in refusal(raw[:6] + bytes(version) + raw[8:])


def test_header_lengths_that_lie() -> None:
    assert "claims" in refusal(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{}")
    assert "claims" in refusal(b"\x93NUMPY\x01\x00\xff\xff" + b" " * 65535)
    assert "cut off" in refusal(b"\x93NUMPY\x01\x00\x76\x00" + b"{}")


def test_every_truncation_and_addition() -> None:
    for whole in (
        forge.saved({"x": np.ones((2, 3), "f4")}, 4),
        forge.saved({"x": np.ones((2, 3), "f4")}, 0),
        header("'<f4'", "(2, 3)") + bytes(24),
    ):
        for length in range(len(whole)):
            refusal(whole[:length])
        assert "follow" in refusal(whole + b"\x00")
        assert "follow" in refusal(whole + whole)


# -- other files ---------------------------------------------------------------------------------


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "empty"),
        (_archive(), "zip or .npz"),
        (gzip.compress(b"x" * 100, mtime=0), "gzip -dc"),
        (pickle.dumps({"x": 1}, 4), "bare pickle"),
        (pickle.dumps({"x": Evil(os.system, TOUCH)}, 2), "bare pickle"),
        (pickle.dumps({"x": 1}, 0), "bare pickle"),
        (b"cos\nsystem\n(S'touch canary'\ntR.", "bare pickle"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\n\n  <HTML><head>quota exceeded", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (struct.pack("<Q", 2) + b"{}" + bytes(8), ".safetensors"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"1.0,2.0\n3.0,4.0\n", "text file"),
        (bytes(4096), "zero bytes"),
        (b"\x93NUMPX" + bytes(100), "93 4e 55 4d 50 58"),
        (b"\x7fELF" + bytes(range(256)), "7f 45 4c 46"),
        (b"\x80", "begins with 80"),
        (b"\x93NUMPY", "cut off"),
    ],
)
def test_files_of_another_kind(raw: bytes, named: str) -> None:
    assert named in refusal(raw)


def test_folder_pipe_socket_and_device() -> None:
    Path("folder.npy").mkdir()
    os.mkfifo("pipe.npy")
    Path("link.npy").symlink_to("/dev/zero")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket.npy")
    start = time.monotonic()
    try:
        for name, kind in [
            ("folder.npy", "a folder"),
            ("pipe.npy", "a pipe"),
            ("link.npy", "a device"),
            ("socket.npy", "a socket"),
            ("/dev/stdin" if Path("/dev/stdin").is_char_device() else "/dev/null", "a device"),
        ]:
            with pytest.raises(UnsafeFileError, match=kind):
                load(name)
    finally:
        listener.close()
    assert time.monotonic() - start < SECONDS


def test_missing_and_unreadable_files() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load("absent.npy")
    with pytest.raises(DataError, match="cannot be read"):
        load("a" * 5000)
    Path("loop.npy").symlink_to("loop.npy")
    with pytest.raises(DataError, match="cannot be read"):
        load("loop.npy")
    with pytest.raises(UnsafeFileError, match="malformed"):
        load("nul\x00.npy")


def test_size_limit() -> None:
    Path("file.npy").write_bytes(header("'<f4'", "(3,)") + bytes(12))
    with pytest.raises(UnsafeFileError, match="max_bytes"):
        load("file.npy", max_bytes=50)
    assert load("file.npy", max_bytes=5000) is not None


def test_file_that_shrinks_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = header("'<f4'", "(1000, 1000)") + bytes(4_000_000)
    Path("file.npy").write_bytes(raw)
    from aqabench.data import _npy_arrays

    honest = np.empty

    def shrink(*arguments: Any, **options: Any) -> Any:
        os.truncate("file.npy", 1000)
        return honest(*arguments, **options)

    monkeypatch.setattr(_npy_arrays.np, "empty", shrink)
    with pytest.raises(UnsafeFileError, match="shorter"):
        load("file.npy")


def test_memory_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file.npy").write_bytes(header("'<f4'", "(3,)") + bytes(12))
    from aqabench.data import _npy_arrays

    def none_left(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(_npy_arrays.np, "empty", none_left)
    with pytest.raises(UnsafeFileError, match="more memory"):
        load("file.npy")


def test_peak_of_an_honest_load_is_its_arrays(tmp_path: Path) -> None:
    """No copy of the file beside the arrays, whatever the protocol."""
    for protocol in (0, 2, 4):
        Path("file.npy").write_bytes(forge.saved({"x": np.full((500, 4000), 7, "u1")}, protocol))
        tracemalloc.start()
        got = load("file.npy")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(got, dict)
        assert peak < 2_000_000 + (500_000 if protocol == 4 else 8 * 2**20)
