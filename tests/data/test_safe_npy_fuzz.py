"""A seeded mutation fuzzer: a spoilt honest file loads as arrays or is refused, nothing else."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import npy_forge as forge
import numpy as np
import pytest

from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError

pytestmark = pytest.mark.filterwarnings("ignore:numpy.core")

# Bytes that mean something in a pickle or a header, and lengths at their limits.
OPCODES = (
    b"\x80\x93\x94\x95\x81\x82\x85\x86\x87\x88\x89\x8a\x8c\x8d\x8e\x96()[]{}.012NRbcdehijlopqrstu"
)
FRAGMENTS = (
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"r\xff\xff\xff\x0f",
    b"cos\nsystem\n",
    b"(S'touch canary'\nios\nsystem\n",
    b"cbuiltins\neval\n",
    b"cnumpy\nmemmap\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"\x8c\x05posix\x8c\x06system\x93",
    b"tR",
    b"h\x00",
    b"h\x01",
    b"g0\n",
    b"(1000000000000,)",
    b"'|O'",
    b"'<f8'",
    b"True",
    b"K\x00",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"tb",
    b"u",
    b"\x94" * 40,
    b"(" * 40,
)


def seeds() -> list[bytes]:
    """Honest files of every protocol and writer, small enough to be hit where it matters."""
    generator = np.random.default_rng(11)
    values = {
        "a": generator.standard_normal((2, 3)).astype("f4"),
        "b": np.asfortranarray(generator.integers(0, 9, (3, 2))).astype(">i2"),
        "c": np.array([True, False]),
        "d": np.zeros((0, 4), "f2"),
    }
    files = [forge.saved(values, protocol) for protocol in range(6)]
    files += [forge.python2_file({"a": values["a"], "c": values["c"]}, p) for p in (0, 2)]
    files += [forge.saved(dict.fromkeys(np.array(["x", "yy"]), values["a"]), 4)]
    files += [forge.entry(forge.array())]
    files += [forge.header("'<f4'", "(2, 3)", version=v) + bytes(24) for v in (1, 2, 3)]
    return files


def mutate(raw: bytes, others: list[bytes], generator: np.random.Generator) -> bytes:
    """Apply one or a few random changes."""
    out = bytearray(raw)
    for _ in range(int(generator.geometric(0.4))):
        at = int(generator.integers(0, len(out) + 1))
        length = int(generator.integers(1, 17))
        match int(generator.integers(0, 9)):
            case 0 if at < len(out):
                out[at] ^= 1 << int(generator.integers(0, 8))
            case 1 if at < len(out):
                out[at] = int(generator.integers(0, 256))
            case 2 if at < len(out):
                out[at] = OPCODES[int(generator.integers(0, len(OPCODES)))]
            case 3:
                out[at:at] = FRAGMENTS[int(generator.integers(0, len(FRAGMENTS)))]
            case 4:
                fragment = FRAGMENTS[int(generator.integers(0, len(FRAGMENTS)))]
                out[at : at + len(fragment)] = fragment
            case 5:
                del out[at : at + length]
            case 6:  # a piece again, elsewhere
                start = int(generator.integers(0, len(out) + 1))
                out[at:at] = out[start : start + 4 * length]
            case 7:  # the end of another file
                other = others[int(generator.integers(0, len(others)))]
                out[at:] = other[int(generator.integers(0, len(other))) :]
            case _:
                del out[at:]
    return bytes(out)


def outcome(path: Path) -> Any:
    """What a load returns, or how it refuses."""
    try:
        return load(path)
    except UnsafeFileError as error:
        return error


def assert_like_numpy(got: Any, path: Path) -> None:
    """Numpy reads the same from a file that was found harmless."""
    reference = np.load(path, allow_pickle=True, encoding="latin1")
    if isinstance(got, np.ndarray):
        got, reference = {"": got}, {"": reference}
    else:
        reference = {str(key): value for key, value in reference.item().items()}
    assert list(got) == list(reference), path.read_bytes()
    for key, value in got.items():
        other = reference[key]
        same = value.dtype == other.dtype and value.shape == other.shape
        assert same, path.read_bytes()
        assert value.tobytes() == other.tobytes(), path.read_bytes()


def run(count: int, seed: int, folder: Path) -> tuple[int, int]:
    """Load that many mutants; return how many loaded and how many were refused."""
    generator = np.random.default_rng(seed)
    originals = seeds()
    path = folder / "mutant.npy"
    loaded = refused = 0
    for number in range(count):
        raw = mutate(originals[number % len(originals)], originals, generator)
        path.write_bytes(raw)
        start = time.monotonic()
        with forge.watched() as events:
            got = outcome(path)
        assert time.monotonic() - start < 5, raw
        assert events == [], raw
        if isinstance(got, UnsafeFileError):
            refused += 1
            assert got.__cause__ is None, raw  # a check foresaw it
            assert str(got).isprintable(), raw
            continue
        loaded += 1
        assert_like_numpy(got, path)
        assert type(got) in (np.ndarray, dict), raw
        arrays = [got] if isinstance(got, np.ndarray) else list(got.values())
        assert all(type(a) is np.ndarray and a.dtype.kind in "biuf" for a in arrays), raw
        assert sum(a.nbytes for a in {id(a): a for a in arrays}.values()) <= len(raw), raw
    assert [entry.name for entry in folder.iterdir()] == ["mutant.npy"]
    return loaded, refused


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    ("count", "seed"), [(2_000, 1), pytest.param(25_000, 2, marks=pytest.mark.slow)]
)
def test_mutants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    for raw in seeds():  # they are honest
        Path("seed.npy").write_bytes(raw)
        load("seed.npy")
    Path("seed.npy").unlink()
    before = peak_megabytes()
    loaded, refused = run(count, seed, tmp_path)
    assert loaded + refused == count
    assert loaded > count // 100  # changed numbers and names still load
    assert refused > count // 2
    assert peak_megabytes() - before < 100
