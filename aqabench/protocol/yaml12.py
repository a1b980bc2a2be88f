"""Strict YAML: one meaning per file, and a line and column for each thing in it.

PyYAML reads YAML 1.1, where ``2e-4`` is text, ``no`` is false, ``010`` is eight and a repeated key
silently wins.  Here its scanner and parser are kept and the rest is replaced: scalars follow the
YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), the same that editors check
against.  What could give a file two meanings, or none, is refused: repeated keys, anchors, aliases,
merge keys, tags, directives, keys that are not text, several documents, other encodings than UTF-8.
It builds plain data only; what the data must look like is :mod:`aqabench.protocol.load`'s matter.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from types import MappingProxyType

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from aqabench.errors import Fault, ProtocolError
from aqabench.protocol.document import Document, Loc, Mark, Plain, Scalar, dotted
from aqabench.protocol.syntax import explain_syntax

__all__ = [
    "CORE_SCALARS",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "parse",
    "read",
    "scalar",
]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_DIGITS = 300

CORE_SCALARS: dict[str, re.Pattern[str]] = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
"""What an unquoted word must look like to be anything but text; the first that matches counts."""

# Not printable in YAML, or a line break for YAML 1.1 only (so the two versions would disagree).
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_MOST_ODD = 20  # a binary file would list its every byte
_BREAK = re.compile("\r\n|\r|\n")
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def scalar(text: str) -> Scalar:
    """Return what an unquoted word means in YAML 1.2.

    Raises:
        ValueError: for a number that does not fit 64-bit floats or has too many digits.
    """
    kind = next((kind for kind, pattern in CORE_SCALARS.items() if pattern.match(text)), "text")
    if kind in ("int", "float") and len(text) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} digits")
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            # Base 0 would refuse 010, which YAML 1.2 reads as ten.
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        case "float":
            return _float(text.lower())
        case _:
            return text


def _float(text: str) -> float:
    if text.endswith(("inf", "nan")):
        return float(text.replace(".", ""))
    number = float(text)
    # 1e999 would become infinite and 1e-999 zero without a word.
    if math.isinf(number) or (number == 0 and text.partition("e")[0].strip("+-0.")):
        raise ValueError(f"the number {text} does not fit 64 bits")
    return number


def parse(text: str | bytes, name: str) -> Document:
    """Read one YAML document, refusing it when anything is wrong with the text.

    Args:
        text: the file's bytes (UTF-8, with or without a byte-order mark) or its text.
        name: file name for messages.

    Raises:
        ProtocolError: with every fault that could be found.
    """
    document = read(text, name)
    if document.faults:
        raise ProtocolError(f"{name} is not one clear YAML document:", document.faults)
    return document


def read(text: str | bytes, name: str) -> Document:
    """Read one YAML document as :func:`parse` does, but keep the faults in the result."""
    decoded = _decode(text, name)
    if isinstance(decoded, Fault):
        return Document(name, None, (decoded,), broken=True)
    odd = [
        Fault(
            name,
            *_place(decoded, match.start()),
            "",
            f"the character U+{ord(match[0]):04X} is not allowed here; remove it or escape it",
        )
        for match in islice(_FORBIDDEN.finditer(decoded), _MOST_ODD)
    ]
    if odd:
        return Document(name, None, tuple(odd), broken=True)
    return _Builder(decoded, name).document()


def _decode(text: str | bytes, name: str) -> str | Fault:
    """Return the text without its byte-order mark, or why it cannot be had."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        problem = f"the file is larger than {MAX_BYTES} bytes; that is no settings file"
        return Fault(name, 1, 1, "", problem, f"{len(raw)} bytes")
    if raw.startswith(_UTF16_OR_32):
        return Fault(name, 1, 1, "", "the file is UTF-16 or UTF-32; save it as UTF-8")
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the mark; so does the text before the fault.
        body = raw.removeprefix(b"\xef\xbb\xbf")
        before = body[: error.start].decode("utf-8", "replace")
        problem = "the file is not UTF-8 text; save it as UTF-8"
        return Fault(
            name, *_place(before, len(before)), "", problem, f"byte {body[error.start]:#x}"
        )


def _place(text: str, offset: int) -> Mark:
    """Return line and column of a character."""
    breaks = [match.end() for match in _BREAK.finditer(text, 0, offset)]
    return len(breaks) + 1, offset - (breaks[-1] if breaks else 0) + 1


class _StopError(Exception):
    """Reading further makes no sense; the fault is already noted."""


class _Builder:
    """Turns parser events into plain data; events show anchors and tags that nodes no longer do."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.parser = yaml.SafeLoader(text)
        self.faults: list[Fault] = []
        self.doubtful: set[Loc] = set()
        self.incomplete: set[Loc] = set()
        self.values: dict[Loc, Mark] = {}
        self.keys: dict[Loc, Mark] = {}
        self.muted = 0  # above zero: inside something refused, which leaves no trace but faults

    def document(self) -> Document:
        data: Plain = None
        broken = False
        try:
            data = self._stream()
        except _StopError:
            broken = True
        except yaml.MarkedYAMLError as error:
            broken = True
            problem, mark = explain_syntax(error)
            self._note((mark.line + 1, mark.column + 1) if mark else (1, 1), problem)
        except ValueError:  # PyYAML passes an escape beyond U+10FFFF to chr()
            broken = True
            self._note(self._here(), "an escape in this text names no Unicode character")
        return Document(
            self.name,
            None if broken else data,
            tuple(sorted(self.faults, key=lambda f: (f.line, f.column))),
            broken,
            frozenset(self.doubtful),
            frozenset(self.incomplete),
            MappingProxyType(self.values),
            MappingProxyType(self.keys),
        )

    def _stream(self) -> Plain:
        self._next()  # stream start
        event = self._next()
        if isinstance(event, StreamEndEvent):
            self._note((1, 1), "the file is empty")
            raise _StopError
        assert isinstance(event, DocumentStartEvent)
        if event.version or event.tags:
            self._note(_mark(event), "a %YAML or %TAG directive is not allowed; remove the line")
        first = self._next()
        if isinstance(first, ScalarEvent) and first.value == "" and first.implicit[0]:
            self._note((1, 1), "the file is empty")
            raise _StopError
        data = self._node(first, (), 1)
        self._next()  # document end
        event = self._next()
        if not isinstance(event, StreamEndEvent):
            self._note(_mark(event), "a second document begins here; a file holds one")
            raise _StopError
        return data

    def _node(self, event: Event, loc: Loc, depth: int) -> Plain:
        """Return the value that ``event`` begins."""
        if not self.muted:
            self.values[loc] = self._value_mark(event, loc)
        if isinstance(event, AliasEvent):
            self._refuse(event, f"the alias '*{event.anchor}' is not allowed; write it out", loc)
            return None
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        if event.anchor is not None:
            self._note(_mark(event), f"the anchor '&{event.anchor}' is not allowed; remove it", loc)
        if event.tag is not None:
            self._refuse(event, f"the tag '{_short_tag(event.tag)}' is not allowed; remove it", loc)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, loc)
        if depth > MAX_DEPTH:
            self._note(_mark(event), f"lists and mappings are nested deeper than {MAX_DEPTH}")
            raise _StopError
        if isinstance(event, MappingStartEvent):
            return self._mapping(loc, depth)
        return self._sequence(loc, depth)

    def _sequence(self, loc: Loc, depth: int) -> list[Plain]:
        items: list[Plain] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._node(event, (*loc, len(items)), depth + 1))
        return items

    def _mapping(self, loc: Loc, depth: int) -> dict[str, Plain]:
        items: dict[str, Plain] = {}
        seen: dict[str, Mark] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, loc, depth)
            # What stands under a key that is refused is read for its faults only.
            refused = key is None or key in seen
            below = loc if key is None else (*loc, key)
            if key is not None and key in seen:
                line, column = seen[key]
                problem = f"key given twice, first at line {line}, column {column}"
                self._note(_mark(event), problem, below)
            elif key is not None:
                seen[key] = _mark(event)
                if not self.muted:
                    self.keys[below] = _mark(event)
            self.muted += refused
            value = self._node(self._next(), below, depth + 1)
            self.muted -= refused
            if key is not None and not refused:
                items[key] = value
        return items

    def _key(self, event: Event, loc: Loc, depth: int) -> str | None:
        """Return the key, or None after noting why it is none."""
        before = len(self.faults)
        self.muted += 1
        key = self._node(event, loc, depth + 1)
        self.muted -= 1
        plain = isinstance(event, ScalarEvent) and event.implicit[0]
        if isinstance(key, str) and not (key == "<<" and plain):
            return key
        if not self.muted:
            self.incomplete.add(loc)
        if len(self.faults) > before:
            return None
        if not isinstance(event, ScalarEvent):
            problem = "a key must be one word, not a list or mapping"
        elif key == "<<":
            problem = "a merge key '<<' is not allowed; write the keys out"
        elif event.value == "":
            problem = "a key is missing before the ':'"
        else:
            problem = f"a key must be text; put it in quotes: '{event.value}'"
        self._note(_mark(event), problem, loc)
        return None

    def _scalar(self, event: ScalarEvent, loc: Loc) -> Scalar:
        value = event.value
        if any("\ud800" <= character <= "\udfff" for character in value):
            problem = r"a surrogate escape is no character; write it as \UXXXXXXXX"
            self._refuse(event, problem, loc)
            return None
        if not event.implicit[0]:  # quoted; or tagged, which is refused already
            return value
        try:
            return scalar(value)
        except ValueError as error:
            self._refuse(event, str(error), loc)
            return None

    def _value_mark(self, event: Event, loc: Loc) -> Mark:
        """Place of a value; a block that begins below its key has the place of the key."""
        place = _mark(event)
        key = self.keys.get(loc)
        block = isinstance(event, CollectionStartEvent) and not event.flow_style
        return key if block and key is not None else place

    def _next(self) -> Event:
        event: Event = self.parser.get_event()  # type: ignore[no-untyped-call]
        return event

    def _here(self) -> Mark:
        mark = self.parser.get_mark()
        return mark.line + 1, mark.column + 1

    def _refuse(self, event: Event, problem: str, loc: Loc) -> None:
        """Note a fault of a value, whose true meaning is thereby unknown."""
        self._note(_mark(event), problem, loc)
        if not self.muted:
            self.doubtful.add(loc)

    def _note(self, place: Mark, problem: str, loc: Loc = ()) -> None:
        self.faults.append(Fault(self.name, *place, dotted(loc), problem))


def _mark(event: Event) -> Mark:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
