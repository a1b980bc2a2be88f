"""What a file is, from its first bytes: the header of a `.npy` file, or what else it looks like.

The header of a `.npy` file is a Python literal.  It is matched here against the few forms that
writers of arrays produce and never given to a Python parser, whose errors and recursion are a way
in.  Record types, sub-arrays and everything that is neither a number nor an object are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aqabench.data._npy_arrays import NUMERIC_CODES
from aqabench.data._npy_source import Source
from aqabench.data._refusal import DAMAGED, NUMERIC_ONLY, RESAVE, RefusalError, shown

__all__ = ["Header", "read_header"]

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # numpy's own limit; a plain array needs a hundred

_TEXT = r"(?:'[^'\\]*+'|\"[^\"\\]*+\")"
_SHAPE = r"\([ 0-9L,]*+\)"
_PAIR = re.compile(rf" *+({_TEXT}) *+: *+({_TEXT}|{_SHAPE}|True|False|\[|\(|[^,}}]?) *+(,|(?=\}}))")
_LENGTH = r"(?:0|[1-9][0-9]{0,18})L?"
_LENGTHS = re.compile(rf" *+{_LENGTH} *+(?:, *+{_LENGTH} *+)*+,? *+")
_OBJECT = re.compile(r"[|](?:O|O4|O8)")
_DESCR = re.compile(r"([<>|])([a-z][0-9]{1,2})")


@dataclass(frozen=True)
class Header:
    """What a `.npy` header says.

    Args:
        code: ``"f4"`` and the like, or ``"O"`` for objects.
        order: ``"<"``, ``">"`` or ``"|"``.
        fortran: whether the first axis varies fastest.
        shape: lengths of the axes as they stand there, unchecked against the file.
    """

    code: str
    order: str
    fortran: bool
    shape: tuple[int, ...]


def read_header(source: Source) -> Header:
    """Read magic, version and header; leave the source at the first byte of the data.

    Raises:
        RefusalError: not a `.npy` file, or not one of numbers or objects.
    """
    start = source.read_at(0, min(source.size, 512))
    if not start.startswith(MAGIC):
        raise _looks_like(start, source.size)
    source.take(len(MAGIC))
    major, minor = source.take(2)
    if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
        raise RefusalError(f"it has .npy format version {major}.{minor}; 1.0, 2.0 and 3.0 exist")
    length = int.from_bytes(source.take(2 if major == 1 else 4), "little")
    if length > MAX_HEADER_BYTES:
        raise RefusalError(f"its header claims {length} bytes, {MAX_HEADER_BYTES} at most")
    return _parsed(source.take(length).decode("latin-1"))


def _parsed(text: str) -> Header:
    body = text.strip(" \n")
    if not (body.startswith("{") and body.endswith("}")):
        raise RefusalError("its header is not a dictionary", DAMAGED)
    found: dict[str, str] = {}
    at = 1
    while match := _PAIR.match(body, at):
        key = match[1][1:-1]
        if key in found:
            raise RefusalError(f"its header gives {shown(key)!r} twice")
        found[key] = match[2]
        at = match.end()
        if key == "descr" and match[2] in ("[", "("):
            break
    descr = found.get("descr", "")
    if descr[:1] in ("[", "("):
        raise RefusalError("it holds records or sub-arrays, not plain numbers", RESAVE)
    if body[at:].strip(" ") != "}" or set(found) != {"descr", "fortran_order", "shape"}:
        raise RefusalError(f"its header is no array's: {shown(body)!r}", DAMAGED)
    if found["fortran_order"] not in ("True", "False"):
        raise RefusalError(
            f"its header has fortran_order {shown(found['fortran_order'])!r}", DAMAGED
        )
    code, order = _parsed_type(descr[1:-1])
    return Header(code, order, found["fortran_order"] == "True", _parsed_shape(found["shape"]))


def _parsed_type(descr: str) -> tuple[str, str]:
    if _OBJECT.fullmatch(descr):
        return "O", "|"
    match = _DESCR.fullmatch(descr)
    if not match or match[2] not in NUMERIC_CODES or (match[1] == "|" and match[2][1] != "1"):
        raise RefusalError(f"it holds an array of dtype {shown(descr)!r}: {NUMERIC_ONLY}", RESAVE)
    return match[2], match[1]


def _parsed_shape(text: str) -> tuple[int, ...]:
    inner = text[1:-1]
    listed = "," in inner and _LENGTHS.fullmatch(inner)
    if not text.startswith("(") or not (listed or not inner.strip(" ")):
        raise RefusalError(f"its header has the shape {shown(text)!r}", DAMAGED)
    return tuple(int(number) for number in re.findall(r"[0-9]+", inner))


_WEB_PAGE = (
    "a web page (a log-in, quota or error page saved in place of the file)",
    "open the download link in a browser and fetch the file itself",
)
_UNPACK_ZIP = (
    "a zip or .npz archive",
    "unpack it with `python -m zipfile -e FILE FOLDER` and give the .npy files inside",
)
_LOOKS = (
    (b"PK\x03\x04", *_UNPACK_ZIP),
    (b"PK\x05\x06", *_UNPACK_ZIP),
    (b"\x1f\x8b", "a gzip file", "unpack it with `gzip -dc FILE > NEW.npy`"),
    (b"BZh", "a bzip2 file", "unpack it with `bzip2 -dc FILE > NEW.npy`"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it with `xz -dc FILE > NEW.npy`"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with `zstd -dc FILE > NEW.npy`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "unpack it with `7z x FILE`"),
    (b"Rar!", "a RAR archive", "unpack it with `unrar x FILE`"),
    (b"\x89HDF\r\n", "an HDF5 file", "read it with h5py and save each array with numpy.save"),
    (b"MATLAB 5.0", "a MATLAB file", "read it with scipy.io.loadmat and save it with numpy.save"),
    (b"PAR1", "a Parquet file", "read it with pandas.read_parquet and save it with numpy.save"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file it stands for",
        "fetch the file itself with `git lfs pull`",
    ),
)
_PICKLE = (
    "a bare pickle, which can run code when it is opened",
    "look at it without running it by `python -m pickletools FILE`, "
    "and ask its maker for .npy or safetensors",
)


def _looks_like(start: bytes, size: int) -> RefusalError:
    """Name what lies in the place of a `.npy` file, and what to type next."""
    if not size:
        return RefusalError("it is empty", DAMAGED)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    look = next(((what, advice) for magic, what, advice in _LOOKS if start.startswith(magic)), None)
    if look is None and text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        look = _WEB_PAGE
    elif look is None and start[8:10] in (b'{"', b"{ ", b"{}"):
        look = ("a safetensors file", "give it a name that ends in .safetensors")
    elif look is None and start[257:262] == b"ustar":
        look = ("a tar archive", "unpack it with `tar -xf FILE`")
    elif look is None and (
        (start[:1] == b"\x80" and 2 <= start[1:2][0] <= 5 if len(start) > 1 else False)
        or re.match(rb"\(?[cildp(][a-zA-Z_0-9.]*\n", start)
    ):
        look = _PICKLE
    elif look is None and not any(start.replace(b"\0", b"")):
        look = ("a run of zero bytes (an unfinished download)", DAMAGED)
    elif look is None and all(31 < byte < 127 or byte in b"\t\r\n" for byte in start):
        look = ("a text file", "save the numbers with numpy.save, or fetch the right file")
    if look is None:
        return RefusalError(f"it is no .npy file: it begins with {start[:8].hex(' ')}", DAMAGED)
    return RefusalError(f"it is no .npy file but looks like {look[0]}", look[1])
