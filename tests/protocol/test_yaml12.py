"""The strict YAML reader: what each scalar means, what is refused, and where."""

from __future__ import annotations

import math

import pytest

from aqabench.errors import ProtocolError
from aqabench.protocol.document import Document
from aqabench.protocol.yaml12 import MAX_BYTES, MAX_DEPTH, parse, read, scalar

# Expected values: YAML 1.2.2 section 10.3.2 (core schema), and its own examples.
SCALARS = {
    "2e-4": 0.0002,
    "1e3": 1000.0,
    "-2E+05": -200000.0,
    "12.": 12.0,
    ".5": 0.5,
    "+.5e1": 5.0,
    "-0.0": -0.0,
    "0.": 0.0,
    "0e5": 0.0,
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "+.INF": math.inf,
    "0": 0,
    "-19": -19,
    "+12": 12,
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "0b11": "0b11",
    "0o8": "0o8",
    "-0x1F": "-0x1F",
    "1_000": "1_000",
    "1:30": "1:30",
    "1.2.3": "1.2.3",
    "1e": "1e",
    ".": ".",
    "-": "-",
    "inf": "inf",
    "nan": "nan",
    "no": "no",
    "No": "No",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "y": "y",
    "true": True,
    "True": True,
    "TRUE": True,
    "tRue": "tRue",
    "false": False,
    "False": False,
    "FALSE": False,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "nULL": "nULL",
    "": None,
    "2024-01-31": "2024-01-31",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "=": "=",
    "Räty 弓 🎿": "Räty 弓 🎿",
}


def same(a: object, b: object) -> bool:
    """Tell whether two scalars are the same value of the same type, signs of zero included."""
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_unquoted_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    if text != "-":  # an empty list item in a document
        document = parse(f"key: {text}\n", "f.yaml")
        assert isinstance(document.data, dict)
        assert same(document.data["key"], value)
    assert same(scalar(text), value)


@pytest.mark.parametrize("text", [t for t in SCALARS if "'" not in t])
def test_quoted_words_are_text(text: str) -> None:
    assert parse(f"key: '{text}'\n", "f.yaml").data == {"key": text}
    assert parse(f'key: "{text}"\n', "f.yaml").data == {"key": text}


def test_not_a_number_is_a_number() -> None:
    value = scalar(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1e-999", "9" * 301, "0x" + "f" * 300])
def test_a_number_that_would_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"64 bits|digits"):
        scalar(text)
    assert faults(f"a: 1\nb: {text}\n") == ["2:4 b"]


def test_words_as_keys_stay_words() -> None:
    assert parse("no: 1\non: 2\n2024-01-01: 3\n", "f").data == {"no": 1, "on": 2, "2024-01-01": 3}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: [1, x, {b: 2}]\n", {"a": [1, "x", {"b": 2}]}),
        ("a:\n- 1\n-\n- - 2\n", {"a": [1, None, [2]]}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("a: |\n  x\n   y\n\nb: >-\n  x\n  y\n", {"a": "x\n y\n", "b": "x y"}),
        ("\ufeffa: 1\n", {"a": 1}),
        (b"\xef\xbb\xbfa: \xc3\xa4\r\nb: 2\r\n", {"a": "ä", "b": 2}),
        ('{"a": [1.5, null, true], "b": {}}', {"a": [1.5, None, True], "b": {}}),
        ('a: "\\u2028\\U0001F3BF\\t"', {"a": "\u2028🎿\t"}),
        ("- 1\n- 2\n", [1, 2]),
        ("word", "word"),
    ],
)
def test_documents(text: str | bytes, data: object) -> None:
    assert parse(text, "f.yaml").data == data


def faults(text: str | bytes) -> list[str]:
    """Return ``line:column key`` of every fault; also checks that parse refuses the text."""
    document = read(text, "f.yaml")
    with pytest.raises(ProtocolError) as caught:
        parse(text, "f.yaml")
    assert caught.value.faults == document.faults
    assert all(str(fault).startswith("f.yaml:") for fault in document.faults)
    return [f"{f.line}:{f.column} {f.key}".strip() for f in document.faults]


REFUSED = {
    "key twice": ("a: 1\nb: 2\na: 3\n", ["3:1 a"], "first at line 1, column 1"),
    "key twice, quoted": ("a: 1\n'a': 3\n", ["2:1 a"], "first at line 1, column 1"),
    "key twice, flow": ("x: {a: 1, a: 2}\n", ["1:11 x.a"], "first at line 1, column 5"),
    "key thrice": ("a: 1\na: 3\na: 4\n", ["2:1 a", "3:1 a"], "given twice"),
    "key twice within a list": (
        "x:\n  - {a: 1}\n  - a: 1\n    a: 2\n",
        ["4:5 x[1].a"],
        "first at line 3, column 5",
    ),
    "key twice below a key twice": ("a: 1\na: {b: 1, b: 2}\n", ["2:1 a", "2:11 a.b"], "twice"),
    "anchor": ("a: 1\nb: &x 2\n", ["2:4 b"], "the anchor '&x'"),
    "anchor and alias": ("a: &x 1\nb: *x\n", ["1:4 a", "2:4 b"], "write it out"),
    "merge key": ("a:\n  <<: {b: 1}\n", ["2:3 a"], "a merge key '<<'"),
    "tag": ("a: !!int 3\n", ["1:4 a"], "the tag '!!int'"),
    "own tag": ("a: !x 3\n", ["1:4 a"], "the tag '!x'"),
    "python tag": ("a: !!python/name:os.system\n", ["1:4 a"], "the tag '!!python"),
    "tag on a list": ("a: !!set [1]\n", ["1:4 a"], "the tag '!!set'"),
    "undefined tag handle": ("a: !x!y 3\n", ["1:4"], "a tag"),
    "number as a key": ("1: a\n", ["1:1"], "put it in quotes: '1'"),
    "truth as a key": ("a: 1\ntrue: a\n", ["2:1"], "put it in quotes: 'true'"),
    "null as a key": ("a: {~: 1}\n", ["1:5 a"], "put it in quotes: '~'"),
    "list as a key": ("? [a]\n: b\n", ["1:3"], "not a list or mapping"),
    "alias as a key": ("*a : 1\n", ["1:1"], "the alias"),
    "no key": (": 1\n", ["1:1"], "a key is missing"),
    "no key in braces": ("a: {: 1}\n", ["1:5"], "is missing before ':'"),
    "two documents": ("a: 1\n---\nb: 2\n", ["2:1"], "a second document"),
    "text behind the end": ("a: 1\n...\nb: 2\n", ["3:1"], "one document"),
    "empty": ("", ["1:1"], "the file is empty"),
    "only a comment": ("# nothing\n\n", ["1:1"], "the file is empty"),
    "only a start": ("---\n", ["1:1"], "the file is empty"),
    "version": ("%YAML 1.1\n---\na: 010\n", ["1:1"], "directive"),
    "tag directive": ("%TAG ! tag:x,2000:\n---\na: 1\n", ["1:1"], "directive"),
    "tab as indentation": ("a:\n\tb: 1\n", ["2:1"], "a tab is not allowed"),
    "tab after a colon": ("a:\t1\n", ["1:3"], "a tab is not allowed"),
    "colon in a text": ("a: b: c\n", ["1:5"], "a ':' is not allowed here"),
    "key indented too far": ("a: 1\n  b: 2\n", ["2:4"], "line a key up"),
    "key indented too little": ("a:\n  - b\n c: d\n", ["3:2"], "check the indentation"),
    "no colon": ("a: 1\nb\nc: 2\n", ["2:1"], "a ':' is missing"),
    "quote left open": ("a: 'x\nb: 1\n", ["1:4"], "never closed"),
    "bracket left open": ("a: [1, 2\n", ["1:4"], "add ']'"),
    "brace left open": ("a: {b: 1\n", ["1:4"], "add '}'"),
    "no comma": ("a: ['x' 'y']\n", ["1:9"], "a ',' or ']' is missing"),
    "two commas": ("a: [1,,2]\n", ["1:7"], "a value is missing before ','"),
    "text behind a quote": ("a: 'b' c\n", ["1:8"], "the quotes"),
    "percent": ("a: %x\n", ["1:4"], "cannot begin with %"),
    "at": ("a: @x\n", ["1:4"], "cannot begin with @"),
    "list on a key's line": ("a: - b\n", ["1:4"], "begin it on its own line"),
    "list beside keys": ("a: 1\n- b\n", ["2:1"], "check the indentation"),
    "bare ampersand": ("a: & b\n", ["1:4"], "quote it"),
    "unknown escape": ('a: "\\q"\n', ["1:6"], "is no escape"),
    "short escape": ('a: "\\u12"\n', ["1:7"], "needs 4 hexadecimal digits"),
    "escape beyond Unicode": ('a: "\\U00110000"\n', ["1:7"], "no Unicode character"),
    "surrogate": ('a: "\\ud83d"\n', ["1:4 a"], "surrogate"),
    "control character": ("a: 1\nb: x\x07y\n", ["2:5"], "U+0007"),
    "line break of YAML 1.1 only": ("a: x\u2028b\n", ["1:5"], "U+2028"),
    "next line": ("a: x\x85", ["1:5"], "U+0085"),
    "byte-order mark inside": ("a: \ufeffx\n", ["1:4"], "U+FEFF"),
    "two odd characters": ("a: \x01\r\nb: \x02\r", ["1:4", "2:4"], "U+0001"),
    "not UTF-8": (b"a: 1\nb: \xe4\n", ["2:4"], "not UTF-8"),
    "not UTF-8, with mark": (b"\xef\xbb\xbf\xc3\xa4: \xff\n", ["1:4"], "0xff"),
    "UTF-16": ("a: 1\n".encode("utf-16"), ["1:1"], "save it as UTF-8"),
    "too large": ("#" * (MAX_BYTES + 1), ["1:1"], "larger than"),
    "too large in bytes": ("#" + "ä" * (MAX_BYTES // 2), ["1:1"], "larger than"),
    "too deep": ("a: " + "[" * MAX_DEPTH, [f"1:{MAX_DEPTH + 3}"], "deeper than"),
    "too deep, dashes": ("- " * 5000, [f"1:{2 * MAX_DEPTH + 1}"], "deeper than"),
    "too deep, keys": ("? " * 5000, [f"1:{2 * MAX_DEPTH + 1}"], "deeper than"),
    "all at once": (
        "a: &x 1\nb: *x\n<<: *x\na: 3\n1: 2\nc: !!int 3\n",
        ["1:4 a", "2:4 b", "3:1", "3:5", "4:1 a", "5:1", "6:4 c"],
        "anchor",
    ),
    "faults before broken syntax": (
        "a: 1\na: 2\nb: [\n",
        ["2:1 a", "4:1"],
        "the file ends in the middle",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_place_and_reason(case: str) -> None:
    text, places, words = REFUSED[case]
    assert faults(text) == places
    assert any(words in str(fault) for fault in read(text, "f.yaml").faults)


def test_the_largest_and_the_deepest_still_pass() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert not read(deepest, "f").faults
    assert not read("a: 1\n" + "#" * (MAX_BYTES - 5), "f").faults


def test_a_bomb_of_aliases_is_refused_unexpanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    document = read("\n".join(lines), "f")
    assert len(document.faults) == 12 + 11 * 9


PLACES = """\
# comment
name: x
split:
  validation:
    fraction: 0.1
list: [1, {a: 2}]
items:
  - kind: a
    rate: 1
  -
    kind: b
text:
  below
none:
"""


@pytest.mark.parametrize(
    ("loc", "value", "key"),
    [
        ((), (2, 1), (2, 1)),
        (("name",), (2, 7), (2, 1)),
        (("split",), (3, 1), (3, 1)),
        (("split", "validation"), (4, 3), (4, 3)),
        (("split", "validation", "fraction"), (5, 15), (5, 5)),
        (("list",), (6, 7), (6, 1)),
        (("list", 0), (6, 8), (6, 8)),
        (("list", 1), (6, 11), (6, 11)),
        (("list", 1, "a"), (6, 15), (6, 12)),
        (("items",), (7, 1), (7, 1)),
        (("items", 0), (8, 5), (8, 5)),
        (("items", 0, "rate"), (9, 11), (9, 5)),
        (("items", 1), (11, 5), (11, 5)),
        (("text",), (13, 3), (12, 1)),
        (("none",), (14, 6), (14, 1)),
        (("split", "validation", "absent"), (4, 3), (4, 3)),
        (("split", "absent", "deeper"), (3, 1), (3, 1)),
        (("name", "absent"), (2, 1), (2, 1)),
        (("items", 7), (7, 1), (7, 1)),
        (("absent",), (2, 1), (2, 1)),
    ],
)
def test_marks(loc: tuple[str | int, ...], value: tuple[int, int], key: tuple[int, int]) -> None:
    document = parse(PLACES, "f.yaml")
    assert document.mark(loc) == value
    assert document.mark(loc, key=True) == key


def test_a_document_is_a_value() -> None:
    document = parse("a: 1\n", "f.yaml")
    assert isinstance(document, Document)
    with pytest.raises(AttributeError):
        document.name = "g.yaml"  # type: ignore[misc]
