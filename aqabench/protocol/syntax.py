"""PyYAML's complaints about broken syntax, said in the words of the person who writes the file.

Knows nothing but the parser's messages.  A message that is not in the table is passed on as it is.
"""

from __future__ import annotations

import re

import yaml

__all__ = ["explain_syntax"]

_AT_CONTEXT = True
_AT_PROBLEM = False

# (what PyYAML says: context and problem, our sentence, whose place is the helpful one)
_TABLE: tuple[tuple[str, str, bool], ...] = (
    (
        r".*mapping values are not allowed here",
        "a ':' is not allowed here; quote a text that holds one, line a key up with its neighbours",
        _AT_PROBLEM,
    ),
    (r".*found character '\\t'.*", "a tab is not allowed here; use spaces", _AT_PROBLEM),
    (
        r".*found character '(.+)' that cannot start any token",
        r"a text cannot begin with \1; put it in quotes",
        _AT_PROBLEM,
    ),
    (r".*could not find expected ':'", "a ':' is missing after this key", _AT_CONTEXT),
    (
        r"while scanning a quoted scalar: found unexpected end of stream",
        "the quote that opens here is never closed",
        _AT_CONTEXT,
    ),
    (
        r".*flow (?:sequence|mapping): expected ',' or '(.)', but got '<stream end>'",
        r"the bracket that opens here is never closed; add '\1'",
        _AT_CONTEXT,
    ),
    (
        r".*flow (?:sequence|mapping): expected ',' or '(.)', but got .*",
        r"a ',' or '\1' is missing before this",
        _AT_PROBLEM,
    ),
    (
        r".*expected the node content, but found '<stream end>'",
        "the file ends in the middle of a list or mapping",
        _AT_PROBLEM,
    ),
    (
        r".*expected the node content, but found '(.+)'",
        r"a value is missing before '\1'",
        _AT_PROBLEM,
    ),
    (
        r".*found unknown escape character '(.*)'",
        r"'\\\1' is no escape; use single quotes, or two backslashes for one",
        _AT_PROBLEM,
    ),
    (
        r".*expected escape sequence of (\d+) hexadecimal numbers.*",
        r"this escape needs \1 hexadecimal digits",
        _AT_PROBLEM,
    ),
    (
        r".*expected '<document start>'.*",
        "text follows the end of the document; a file holds one document",
        _AT_PROBLEM,
    ),
    (
        r".*sequence entries are not allowed here",
        "a list item '-' is not allowed here; begin it on its own line",
        _AT_PROBLEM,
    ),
    (
        r".*expected <block end>, but found ':'",
        "a key is missing before the ':'",
        _AT_PROBLEM,
    ),
    (
        r".*expected <block end>, but found .*",
        "this does not fit what stands before it; check the indentation and the quotes",
        _AT_PROBLEM,
    ),
    (
        r"while (?:scanning|parsing) an? (?:tag|node|directive).*",
        "a tag or directive is not allowed; if the text begins with '!' or '%', quote it",
        _AT_PROBLEM,
    ),
    (
        r"while scanning an (?:anchor|alias).*",
        "an anchor or alias is not allowed; if the text begins with '&' or '*', quote it",
        _AT_CONTEXT,
    ),
)


def explain_syntax(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """Return one sentence and the place that a person should look at."""
    said = ": ".join(part for part in (error.context, error.problem) if part)
    for pattern, sentence, at_context in _TABLE:
        match = re.fullmatch(pattern, said, re.DOTALL)
        if match:
            mark = error.context_mark if at_context else error.problem_mark
            return match.expand(sentence), mark or error.problem_mark or error.context_mark
    return f"this is no YAML: {said}", error.problem_mark or error.context_mark
