"""Plain data to canonical YAML: block mappings in the given order, short lists on one line.

A text is quoted whenever YAML 1.1 or YAML 1.2 would take it for something else, so that every
reader gets the same value.  Anchors are never written.
"""

from __future__ import annotations

import re
import sys

import yaml

from aqabench.protocol.document import Plain
from aqabench.protocol.yaml12 import CORE_SCALARS

__all__ = ["emit"]

_PARAGRAPHS = re.compile(r"[^\s](?:[\n -~\u00a0-\u2027\u202a-\ud7ff]*[^\s])?\n?\Z")
"""Texts that look the same in a literal block (``|``)."""
_PRINTABLE = re.compile(r"[ -~\u00a0-\u2027\u202a-\ud7ff]*\Z")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Write shared values out each time."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style: str | None
    if "\n" in value and _PARAGRAPHS.match(value) and " \n" not in value:
        style = "|"
    else:
        style = None if _PRINTABLE.match(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


def _list(dumper: yaml.SafeDumper, value: list[Plain]) -> yaml.Node:
    flow = not any(isinstance(item, list | dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
for _kind, _pattern in CORE_SCALARS.items():  # beside those of YAML 1.1, which are inherited
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, None)


def emit(data: Plain) -> str:
    """Return ``data`` as YAML text with a final newline."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=sys.maxsize,
    )
    return text
