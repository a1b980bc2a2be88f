"""The identity of a model: its field values, written in one way only, and their hash.

Two models have the same digest exactly when their field values are equal, whatever file, key order
or number spelling they came from.  Custom serialisers and computed fields play no part.  A field
that came in a later release counts only where it differs from its default, so that files written
before it keep their digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aqabench.protocol.document import Plain

__all__ = ["canonical_json", "digest", "plain"]


def plain(value: object) -> Plain:
    """Return a model (or a field's value) as text, numbers, lists and mappings.

    Keys are the aliases, as a file writes them.  Sets become sorted lists.

    Raises:
        TypeError: for a value that has no such form.
    """
    match value:
        case BaseModel():
            return {
                field.alias or name: plain(getattr(value, name))
                for name, field in type(value).model_fields.items()
                if not _left_out(field, getattr(value, name))
            }
        case Enum():
            return plain(value.value)
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {_key(key): plain(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=_compact)
        case list() | tuple():
            return [plain(item) for item in value]
        case date():
            return value.isoformat()
        case PurePath():
            return value.as_posix()
        case _:
            kind = type(value).__name__
            raise TypeError(f"a {kind} has no canonical form; use text, numbers, lists or models")


def canonical_json(model: BaseModel, *, exclude: Collection[str] = ()) -> bytes:
    """Return the field values as ASCII JSON: sorted keys, no spaces, floats as ``repr``.

    Args:
        model: any model.
        exclude: names of its own fields to leave out, e.g. prose that changes no number; names
            that it does not have are no error, so that one list serves several classes.
    """
    fields = type(model).model_fields
    left_out = {fields[name].alias or name for name in exclude if name in fields}
    values = plain(model)
    assert isinstance(values, dict)
    return _compact({key: item for key, item in values.items() if key not in left_out}).encode()


def digest(model: BaseModel, *, exclude: Collection[str] = ()) -> str:
    """Return the SHA-256 of :func:`canonical_json` as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(model, exclude=exclude)).hexdigest()


def _left_out(field: FieldInfo, value: object) -> bool:
    """Is it a field that a later release added, at its default?

    Such a field says nothing, and a file that was written before it keeps its digest.
    """
    extra = field.json_schema_extra
    return isinstance(extra, dict) and "x-added-later" in extra and value == field.default


def _key(key: object) -> str:
    text = plain(key)
    return text if isinstance(text, str) else _compact(text)


def _compact(value: Plain) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
