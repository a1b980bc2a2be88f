"""Honest feature files of every writer load bit-equal; numpy's own reader is the reference."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import npy_forge as forge
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy_format

from aqabench.data.safe_npy import load

pytestmark = pytest.mark.filterwarnings("ignore:numpy.core")  # the old names are the point

CODES = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
Arrays = dict[str, np.ndarray[Any, Any]]


def entries() -> Arrays:
    """Every numeric type, order, byte order and degenerate shape, with awkward bytes."""
    generator = np.random.default_rng(3)
    made: Arrays = {}
    for code in CODES:
        values = (generator.standard_normal((3, 4, 5)) * 50).astype(code)
        made[f"c_{code}"] = values
        made[f"fortran_{code}"] = np.asfortranarray(values)
        made[f"permuted_{code}"] = values.transpose(1, 0, 2)
        made[f"strided_{code}"] = values[::2, :, 1:]
        made[f"empty_{code}"] = values[:0]
        made[f"scalar_{code}"] = values[:1, 0, 0].reshape(())
        made[f"swapped_{code}"] = values.astype(values.dtype.newbyteorder(">"))
    made["letter b"] = np.array([98], "i1")  # its data are the byte string that dtype codes share
    made["all bytes"] = np.arange(256, dtype="u1")
    made["escapes"] = np.frombuffer(b"\\u0041\\x41\\\n\r\x00\x1a'\"" * 9, "u1").copy()
    made["nan"] = np.array([0x7FC00001, 0xFFC12345, 0x7F800001], "<u4").view("<f4")
    made["six axes"] = generator.standard_normal((1, 2, 3, 1, 2, 2))
    made["twice"] = made["six axes"]
    made["视频 é"] = generator.standard_normal((2, 2))
    return made


def assert_equal(got: object, want: np.ndarray[Any, Any]) -> None:
    """Same type, dtype, order in memory and bits."""
    assert type(got) is np.ndarray
    assert got.dtype.str == want.dtype.str
    assert got.shape == want.shape
    assert got.size < 2 or got.strides == want.strides
    assert got.tobytes() == want.tobytes()
    assert got.flags.writeable
    assert got.flags.aligned


def assert_like_numpy(path: Path, expected: Arrays | None = None) -> None:
    """The loader gives what numpy gives, key for key."""
    reference = np.load(path, allow_pickle=True, encoding="latin1").item()
    got = load(path)
    assert isinstance(got, dict)
    assert list(got) == [str(key) for key in reference]
    assert all(type(key) is str for key in got)
    for key, value in reference.items():
        assert_equal(got[str(key)], np.asarray(value))
    for key, value in (expected or {}).items():  # values, whatever the byte order
        assert got[key].tobytes() == value.astype(got[key].dtype).tobytes()


@pytest.mark.parametrize("protocol", range(6))
def test_dictionary_of_numpy2(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(forge.saved(entries(), protocol))
    assert_like_numpy(path, entries())


@pytest.mark.parametrize("protocol", range(6))
def test_dictionary_of_numpy1(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "features.npy"
    made = entries()
    if protocol == 5:  # Python's own pickler cannot write two empty buffers with protocol 5
        made = {key: value for key, value in made.items() if value.size}
    raw = forge.saved_by_numpy1(made, protocol)
    assert b"numpy.core.multiarray" in raw
    assert b"numpy._core" not in raw
    path.write_bytes(raw)
    assert_like_numpy(path, made)


def test_what_numpy_save_writes(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    np.save(path, entries())  # type: ignore[arg-type]
    assert_like_numpy(path, entries())
    np.save(path, {})  # type: ignore[arg-type]
    assert load(path) == {}


@pytest.mark.parametrize("protocol", [0, 2])
def test_dictionary_of_python2(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "features.npy"
    made = {
        "a": np.arange(256, dtype="|u1").reshape(16, 16),
        "b": np.linspace(-3, 3, 40, dtype=">f4").reshape(8, 5),
        "c": np.frombuffer(b"\\x41\\'\"\n\t\r\\", "|i1"),
    }
    path.write_bytes(forge.python2_file(made, protocol))
    assert_like_numpy(path, made)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_numpy_text_keys_become_text(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "features.npy"
    names = np.array(["v1", "视频", "a longer name"])
    path.write_bytes(forge.saved({name: np.ones(3) for name in names}, protocol))
    assert_like_numpy(path)


def test_assembled_file_is_what_numpy_reads(tmp_path: Path) -> None:
    """The assembler behind the hostile files is itself honest when it deviates in nothing."""
    path = tmp_path / "features.npy"
    path.write_bytes(forge.entry(forge.array()))
    assert_like_numpy(path, {"x": np.arange(6, dtype="<f4").reshape(2, 3)})
    raw = forge.data(np.arange(24, dtype=">i2").tobytes())
    kind, shape = forge.dtype("i2", ">"), forge.numbers(2, 3, 4)
    path.write_bytes(forge.entry(forge.frombuffer(raw, kind, shape, forge.text("F"))))
    assert_like_numpy(path)


def test_permuted_axes_of_protocol_5(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    raw = forge.data(np.arange(24, dtype="<i2").tobytes())
    permuted = forge.frombuffer(
        raw,
        forge.dtype("i2"),
        forge.numbers(2, 3, 4),
        forge.text("K"),
        forge.numbers(2, 0, 1),
    )
    path.write_bytes(forge.entry(permuted))
    got = load(path)
    assert isinstance(got, dict)
    assert_equal(got["x"], np.arange(24, dtype="<i2").reshape(2, 3, 4).transpose(2, 0, 1))


def test_one_array_under_two_keys_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    np.save(path, entries())  # type: ignore[arg-type]
    got = load(path)
    assert isinstance(got, dict)
    assert got["twice"] is got["six axes"]


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_payloads_larger_than_a_chunk(tmp_path: Path, protocol: int) -> None:
    """Escapes and two-byte characters fall across the borders of the pieces that are decoded."""
    path = tmp_path / "features.npy"
    values = np.random.default_rng(0).integers(0, 256, 1_500_000, dtype="u1")
    path.write_bytes(forge.saved({"x": values, "y": values[::-1] // 2}, protocol))
    got = load(path)
    assert isinstance(got, dict)
    assert np.array_equal(got["x"], values)
    assert np.array_equal(got["y"], values[::-1] // 2)


def test_python2_string_larger_than_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    values = np.random.default_rng(0).integers(0, 256, (900, 1000), dtype="u1")
    path.write_bytes(forge.python2_file({"x": values}, 0))
    got = load(path)
    assert isinstance(got, dict)
    assert np.array_equal(got["x"], values)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_plain_arrays(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "array.npy"
    for value in entries().values():
        with path.open("wb") as stream:
            npy_format.write_array(stream, value, version=version)
        got = load(path)
        assert_equal(got, np.load(path))
        assert isinstance(got, np.ndarray)
        assert got.flags.owndata


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }",  # Python 2
        b'{"shape": (2,3), "descr": "<f4", "fortran_order": False}',  # other writers
        b"{'descr':'<f4','fortran_order':False,'shape':(2, 3,)}",
    ],
)
def test_headers_of_other_writers(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(forge.raw_header(text) + np.arange(6, dtype="<f4").tobytes())
    assert_equal(load(path), np.arange(6, dtype="<f4").reshape(2, 3))


def test_arrays_can_be_changed_and_own_their_memory(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(forge.saved(entries(), 4))
    before = path.read_bytes()
    got = load(path)
    assert isinstance(got, dict)
    for value in got.values():
        assert value.flags.owndata
        value[...] = 1
    assert path.read_bytes() == before


def test_link_and_name_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "файл\n.npy"
    np.save(path, np.arange(3.0))
    link = tmp_path / "link.npy"
    link.symlink_to(path)
    assert_equal(load(link), np.arange(3.0))
    assert_equal(load(str(path)), np.arange(3.0))


def test_many_small_entries(tmp_path: Path) -> None:
    """Picklers emit dictionaries in batches of a thousand; the memo passes 256 and 65,536."""
    path = tmp_path / "features.npy"
    made = {f"clip {i}": np.full(2, i, "f4") for i in range(12_000)}
    np.save(path, made)  # type: ignore[arg-type]
    got = load(path)
    assert isinstance(got, dict)
    assert list(got) == list(made)
    assert got["clip 11999"].tolist() == [11999, 11999]


@settings(max_examples=60, deadline=None)
@given(
    code=st.sampled_from(CODES),
    big=st.booleans(),
    shape=st.lists(st.integers(0, 5), max_size=5),
    seed=st.integers(0, 2**32 - 1),
    axes=st.randoms(use_true_random=False),
    protocol=st.integers(0, 5),
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_any_array(
    tmp_path_factory: pytest.TempPathFactory,
    code: str,
    big: bool,
    shape: list[int],
    seed: int,
    axes: Any,
    protocol: int,
    key: str,
) -> None:
    raw = np.random.default_rng(seed).bytes(8 * max(1, int(np.prod(shape))))
    kind = np.dtype(code).newbyteorder(">" if big else "<")
    values = np.frombuffer(raw, "u1" if code == "b1" else kind)[: int(np.prod(shape))]
    values = (values & 1).astype("b1") if code == "b1" else values
    order = list(range(len(shape)))
    axes.shuffle(order)
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(forge.saved({key: values.reshape(shape).transpose(order)}, protocol))
    assert_like_numpy(path)


def test_reading_never_reaches_the_unpickler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(forge.saved({"x": np.ones(3)}, 4))

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("the unpickler was called")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    with forge.watched() as events:
        got = load(path)
    assert isinstance(got, dict)
    assert [event for event in events if not event.startswith("open ")] == []


def test_header_length_field_of_version_2(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }" + b" " * 9000
    path.write_bytes(forge.raw_header(text, version=2) + struct.pack("3B", 1, 2, 3))
    assert_equal(load(path), np.array([1, 2, 3], "u1"))
