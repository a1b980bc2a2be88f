"""Bounded reading of a feature file: nothing is allocated before the file is known to hold it.

``Source`` hands out small pieces for parsing and leaves the bulk where it lies: a payload in a
pickle becomes a ``Span`` (offset, length, notation) that is read straight into the memory of the
array it belongs to.  It refuses to read past the end the file had when it was opened, to treat a
long text as a name, and to decode any notation but the five that Python's picklers write.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aqabench.data._refusal import DAMAGED, RESAVE, RefusalError

__all__ = ["MAX_NAME_BYTES", "Latin1", "Notation", "Source", "Span"]

MAX_NAME_BYTES = 1024
_MISFIT = "an array of {} bytes is given {} bytes of data"
_WINDOW = 16 * 1024
_CHUNK = 1024 * 1024
_LONGEST_ESCAPE = len(r"\xff")
# What repr() of a Python-2 str can look like inside its quotes, in whole units.
_QUOTED_UNITS = re.compile(rb"(?:[^\\\x00-\x1f\x7f-\xff]++|\\(?:x[0-9a-f]{2}|[\\'\"nrt]))*+")


class Notation(Enum):
    """How the characters of a span stand for bytes or text."""

    BYTES = "bytes"
    PY2_STRING = "Python-2 string"
    PY2_QUOTED = "quoted Python-2 string"
    UTF8 = "text"
    RAW_UNICODE = "escaped text"


_AS_IS = (Notation.BYTES, Notation.PY2_STRING)
# Bytes of the file that one byte of the value can take, at most.
_EXPANSION = {Notation.PY2_QUOTED: 4, Notation.UTF8: 2, Notation.RAW_UNICODE: 6}


class Span(NamedTuple):
    """A payload left in the file: ``length`` bytes from ``offset`` on."""

    offset: int
    length: int
    notation: Notation


class Latin1(NamedTuple):
    """Bytes that protocols 0 to 2 write as text, one character a byte."""

    text: Span


class Source:
    """A regular file of known size, read by position; never past ``size``."""

    def __init__(self, raw: io.FileIO, size: int) -> None:
        """Start at the first byte.

        Args:
            raw: the open file.
            size: its size in bytes when it was opened.
        """
        self._raw = raw
        self.size = size
        self._window = b""
        self._base = 0  # file offset of the window
        self._at = 0  # position inside the window

    @property
    def position(self) -> int:
        """Offset of the next byte, from the start of the file."""
        return self._base + self._at

    @property
    def remaining(self) -> int:
        """Bytes between the position and the end of the file."""
        return self.size - self.position

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes (at most a window full)."""
        end = self._at + count
        if end > len(self._window):
            self._refill(count)
            end = count
        piece = self._window[self._at : end]
        self._at = end
        return piece

    def line(self, limit: int) -> bytes:
        """Return the bytes up to the next newline, which is consumed; ``limit`` bytes at most."""
        reach = min(limit + 1, self.remaining)
        if self._at + reach > len(self._window):
            self._refill(reach)
        end = self._window.find(b"\n", self._at, self._at + reach)
        if end < 0:
            raise RefusalError(
                f"the line at byte {self.position} does not end within {limit} bytes"
            )
        piece = self._window[self._at : end]
        self._at = end + 1
        return piece

    def span(self, length: int, notation: Notation) -> Span:
        """Step over the next ``length`` bytes and return where they lie."""
        start = self.position
        if length > self.remaining:
            raise RefusalError(
                f"it is cut off: {length} bytes are announced at byte {start}, "
                f"{self.remaining} follow",
                DAMAGED,
            )
        self._seek(start + length)
        return Span(start, length, notation)

    def line_span(self, notation: Notation) -> Span:
        """Step over the next line, however long, and return where it lies."""
        end = self._window.find(b"\n", self._at)
        if end >= 0:  # most lines are short
            span = Span(self.position, end - self._at, notation)
            self._at = end + 1
            return span
        start = at = self.position
        while at < self.size:
            piece = self.read_at(at, min(_CHUNK if at > start else _WINDOW, self.size - at))
            end = piece.find(b"\n")
            if end >= 0:
                self._seek(at + end + 1)
                return Span(start, at + end - start, notation)
            at += len(piece)
        raise RefusalError(f"it is cut off: the line at byte {start} has no end", DAMAGED)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on, without moving the position."""
        at = offset - self._base
        if at >= 0 and at + count <= len(self._window):
            return self._window[at : at + count]
        buffer = bytearray(count)
        self._read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def name(self, span: Span) -> str:
        """Return a short text: a key, or part of a global's name."""
        if span.notation is Notation.BYTES:
            raise RefusalError("it uses bytes where a text is expected", RESAVE)
        if span.length > MAX_NAME_BYTES:
            raise RefusalError(
                f"a name in it is {span.length} bytes long, {MAX_NAME_BYTES} at most"
            )
        raw = self.read_at(span.offset, span.length)
        try:
            if span.notation is Notation.UTF8:
                return raw.decode("utf-8")
            if span.notation is Notation.RAW_UNICODE:
                return codecs.raw_unicode_escape_decode(raw)[0].encode("utf-8").decode("utf-8")
            if span.notation is Notation.PY2_QUOTED:
                raw = b"".join(self._unquoted(span))
            return raw.decode("ascii")
        except UnicodeError:
            raise RefusalError(
                f"the name at byte {span.offset} is not valid text", RESAVE
            ) from None

    def value_length_fits(self, payload: Span | Latin1, length: int) -> bool:
        """Whether the payload can decode to ``length`` bytes, judged before reading it."""
        span = payload.text if isinstance(payload, Latin1) else payload
        if span.notation is Notation.PY2_QUOTED:
            return length + 2 <= span.length <= _EXPANSION[span.notation] * length + 2
        return length <= span.length <= _EXPANSION.get(span.notation, 1) * length

    def fill(self, payload: Span | Latin1, target: NDArray[np.uint8]) -> None:
        """Read the bytes that a payload stands for.

        Args:
            payload: bytes, a Python-2 string, or text wrapped in ``Latin1``.
            target: (n,) contiguous uint8; the payload must decode to exactly n bytes.
        """
        view = target.data
        if isinstance(payload, Span) and payload.notation in _AS_IS:
            if payload.length != len(view):
                raise RefusalError(_MISFIT.format(len(view), payload.length))
            self._read_into(payload.offset, view)
            return
        written = 0
        for piece in self._decoded(payload):
            end = written + len(piece)
            if end > len(view):
                raise RefusalError(_MISFIT.format(len(view), "more"))
            view[written:end] = piece
            written = end
        if written != len(view):
            raise RefusalError(_MISFIT.format(len(view), written))

    def _decoded(self, payload: Span | Latin1) -> Iterator[bytes]:
        """Yield the value of a payload that is written in another notation, piece by piece."""
        if isinstance(payload, Span):
            if payload.notation is not Notation.PY2_QUOTED:
                raise RefusalError("it uses text where bytes are expected")
            yield from self._unquoted(payload)
            return
        span = payload.text
        codec = "utf-8" if span.notation is Notation.UTF8 else "raw-unicode-escape"
        decoder = codecs.getincrementaldecoder(codec)()
        try:
            for piece in self._chunks(span.offset, span.length):
                yield decoder.decode(piece).encode("latin-1")
            yield decoder.decode(b"", True).encode("latin-1")
        except UnicodeError:
            raise RefusalError(f"the text at byte {span.offset} does not stand for bytes") from None

    def _unquoted(self, span: Span) -> Iterator[bytes]:
        """Yield the value of a Python-2 string literal in quotes."""
        first = self.read_at(span.offset, min(span.length, 1))
        last = self.read_at(span.offset + max(span.length - 1, 0), min(span.length, 1))
        if span.length < 2 or first != last or first not in (b"'", b'"'):
            raise RefusalError(f"the string at byte {span.offset} lacks its quotes")
        rest = b""
        for piece in self._chunks(span.offset + 1, span.length - 2):
            text = rest + piece
            match = _QUOTED_UNITS.match(text)
            end = match.end() if match else 0
            rest = text[end:]
            if len(rest) >= _LONGEST_ESCAPE:
                break
            yield codecs.escape_decode(text[:end])[0]
        if rest:
            raise RefusalError(f"the string at byte {span.offset} has an escape no writer makes")

    def _chunks(self, offset: int, length: int) -> Iterator[bytes]:
        for start in range(offset, offset + length, _CHUNK):
            yield self.read_at(start, min(_CHUNK, offset + length - start))

    def _seek(self, offset: int) -> None:
        if self._base <= offset <= self._base + len(self._window):
            self._at = offset - self._base
        else:
            self._window, self._base, self._at = b"", offset, 0

    def _refill(self, count: int) -> None:
        start = self.position
        if count > self.remaining:
            raise RefusalError(f"it is cut off at byte {self.size}", DAMAGED)
        self._window = self.read_at(start, min(max(count, _WINDOW), self.remaining))
        self._base, self._at = start, 0

    def _read_into(self, offset: int, view: memoryview) -> None:
        if offset < 0 or offset + len(view) > self.size:
            raise RefusalError(f"it is cut off at byte {self.size}", DAMAGED)
        self._raw.seek(offset)
        done = 0
        while done < len(view):
            count = self._raw.readinto(view[done:])
            if not count:
                raise RefusalError("it became shorter while it was read", DAMAGED)
            done += count
