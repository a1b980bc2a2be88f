"""From pydantic's verdict on a document to faults: place, sentence, nearest valid word.

Pydantic finds the faults; this module only says them.  It walks each error's path down the core
schema and the data side by side, because the path also names union members that no file contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator

from aqabench.errors import Fault, nearest
from aqabench.protocol.document import Document, Loc, Plain
from aqabench.protocol.misfit import MisfitError
from aqabench.protocol.verdict import Complaint, badness, by_step, complaints_of
from aqabench.protocol.words import LISTS, Schema, Schemas, choices, listed, shown, words_of
from aqabench.protocol.yaml12 import CORE_SCALARS

__all__ = ["Repair", "explain"]

_SURE = 0.8
"""Similarity from which a key of this level is a better guess than the same key elsewhere."""
_WORDY_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


@dataclass(frozen=True)
class Repair:
    """A change that lets validation go on past a fault and find those behind it.

    Attributes:
        loc: the mapping to change.
        drop: a key to take out, because it is unknown.
        key: the key that was meant, if that can be guessed.
        value: the text to put there; None keeps what stood under ``drop``.
    """

    loc: Loc
    drop: str | None = None
    key: str | None = None
    value: str | None = None


def explain(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    data: Plain,
    renamed: Mapping[Loc, Loc],
) -> tuple[list[Fault], list[Repair]]:
    """Say every fault that pydantic found.

    Args:
        error: the verdict on ``data``.
        model: the class that ``data`` was checked against.
        document: gives the places; its own faults are not repeated.
        data: the document's data, or a repaired copy of it.
        renamed: paths of the copy whose keys were repaired, and what they are in the document.

    Returns:
        The faults in no particular order, and repairs that would let more be found.
    """
    walk = _Walk(Schemas(model.__pydantic_core_schema__), document, renamed)
    walk.down(walk.schemas.root, data, (), complaints_of(error))
    return walk.faults, walk.repairs


class _Walk:
    def __init__(self, schemas: Schemas, document: Document, renamed: Mapping[Loc, Loc]) -> None:
        self.schemas = schemas
        self.document = document
        self.renamed = renamed
        self.faults: list[Fault] = []
        self.repairs: list[Repair] = []
        self.homes: dict[str, set[str]] | None = None

    def down(self, schema: Schema, data: Plain, path: Loc, complaints: Iterable[Complaint]) -> None:
        """Say the complaints about ``data``, which stands at ``path`` and must fit ``schema``."""
        origin = self._origin(path)
        if any(origin[:n] in self.document.doubtful for n in range(len(origin) + 1)):
            return
        core = self.schemas.core(schema)
        here = [c for c in complaints if not c.rest]
        below = by_step(complaints)
        if core["type"] == "union":
            self._union(core, schema, data, path, here, list(below.values()))
            return
        for c in here:
            self._value(schema, core, data, path, c)
        if core["type"] == "tagged-union":
            for tag, group in below.items():
                choice = next(s for t, s in core["choices"].items() if _text(t) == _text(tag))
                self._keys(choice, data, path, group, siblings=core)
        elif core["type"] in {"model-fields", "typed-dict", "dict"}:
            self._keys(schema, data, path, [c for c in complaints if c.rest])
        else:
            for position, group in below.items():
                self._item(schema, core, data, path, position, group)

    def _item(
        self,
        schema: Schema,
        core: Schema,
        data: Plain,
        path: Loc,
        position: str | int,
        group: list[Complaint],
    ) -> None:
        if isinstance(data, list) and isinstance(position, int) and position < len(data):
            item = self.schemas.item(core, position)
            self.down(item, data[position], (*path, position), group)
        else:  # a tuple that is too short, or a validator's own path
            for c in group:
                self._value(schema, core, data, path, c)

    def _keys(
        self,
        schema: Schema,
        data: Plain,
        path: Loc,
        complaints: Iterable[Complaint],
        siblings: Schema | None = None,
    ) -> None:
        """Say the complaints about the keys of a mapping and what stands under them."""
        core = self.schemas.core(schema)
        fields = self.schemas.fields(core)
        unknown, missing, deeper = [], [], []
        for c in complaints:
            if not c.rest:
                self._value(schema, core, data, path, c)
            elif len(c.rest) == 1 and c.kind == "extra_forbidden":
                unknown.append(str(c.rest[0]))
            elif len(c.rest) == 1 and c.kind == "missing" and c.rest[0] in fields:
                missing.append(str(c.rest[0]))
            else:
                deeper.append(c)
        given = data if isinstance(data, dict) else {}
        free = [key for key in fields if key not in given]
        meant = {self._unknown(key, path, free, list(fields), given, siblings) for key in unknown}
        for key in missing:
            # A misspelt key is one fault, not two.
            if key not in meant and self._origin(path) not in self.document.incomplete:
                self._missing(key, path, self.schemas.describe(fields[key]))
        for step, group in by_step(deeper).items():
            key = str(step)
            inner: Schema = fields.get(key) or core.get("values_schema", {"type": "any"})
            if group[0].rest[:1] == ("[key]",):
                inner = core.get("keys_schema", {"type": "any"})
                problem = f"as a key, must be {self.schemas.describe(inner)}"
                self._fault((*path, key), problem, key=True)
            else:
                self.down(inner, given.get(key), (*path, key), group)

    def _unknown(
        self,
        key: str,
        path: Loc,
        free: list[str],
        allowed: list[str],
        given: Mapping[str, Plain],
        siblings: Schema | None,
    ) -> str | None:
        """Say that a key is unknown; return the key of this level that was probably meant."""
        loc = (*path, key)
        if siblings is not None and isinstance(siblings["discriminator"], str):
            tags = [
                _text(tag)
                for tag, choice in siblings["choices"].items()
                if key in self.schemas.fields(choice)
            ]
            if tags:
                name = siblings["discriminator"]
                problem = f"{name} '{given.get(name)}' does not take this key; {listed(tags)} " + (
                    "does" if len(tags) == 1 else "do"
                )
                self._fault(loc, problem, key=True)
                self.repairs.append(Repair(path, drop=key))
                return None
        here = nearest(key, free)
        sure = here is not None and SequenceMatcher(None, key, here).ratio() >= _SURE
        if sure or here is None:
            self.repairs.append(Repair(path, drop=key, key=here))
        if not sure:
            homes = self._homes().get(key, set())
            if len(homes) == 1:
                self._fault(loc, "unknown key", suggestion=next(iter(homes)), key=True)
                return None
        if here is not None:
            self._fault(loc, "unknown key", suggestion=here, key=True)
        else:
            self._fault(loc, f"unknown key; allowed here: {listed(allowed)}", key=True)
        return here

    def _homes(self) -> dict[str, set[str]]:
        """Return, for each key that the schema knows, the dotted paths where it belongs."""
        if self.homes is None:
            self.homes = {}
            self._settle(self.schemas.root, "", frozenset(), self.homes)
        return self.homes

    def _settle(
        self, schema: Schema, prefix: str, above: frozenset[int], homes: dict[str, set[str]]
    ) -> None:
        core = self.schemas.core(schema)
        if id(core) in above:  # a model that contains itself
            return
        above |= {id(core)}
        for key, field in self.schemas.fields(core).items():
            home = f"{prefix}.{key}" if prefix else key
            homes.setdefault(key, set()).add(home)
            self._settle(field, home, above, homes)
        if core["type"] in LISTS:
            self._settle(self.schemas.item(core, 0), prefix, above, homes)
        for member in choices(core):
            self._settle(member, prefix, above, homes)

    def _missing(self, key: str, path: Loc, what: str) -> None:
        self._fault((*path, key), f"required key is missing; it must be {what}", at=path, key=True)

    def _union(
        self,
        core: Schema,
        schema: Schema,
        data: Plain,
        path: Loc,
        here: list[Complaint],
        groups: list[list[Complaint]],
    ) -> None:
        """Say what is wrong with a value that fits no member of a union: one fault, not one each.

        Pydantic reports every member in order.  For a list or mapping the member of the right kind
        with the fewest complaints is the one that was meant.
        """
        members = choices(core)
        bare = self._bare(members, data)
        if bare:
            assert isinstance(data, dict)
            key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
            self._fault(path, f"'{bare}' stands alone, not in a mapping", suggestion=f"{key}{bare}")
            return
        if len(members) == len(groups):
            fitting = [
                (group, member)
                for group, member in zip(groups, members, strict=True)
                if self.schemas.takes(member, data)
            ]
            own = [(g, m) for g, m in fitting if any(c.kind == "value_error" for c in g)]
            if own or (fitting and isinstance(data, dict | list)):
                group, member = min(own or fitting, key=lambda pair: badness(pair[0]))
                self.down(member, data, path, group)
                return
        custom = [c for c in here if not c.is_shape]
        for c in custom:
            self._value(schema, core, data, path, c)
        if not custom:
            near = _near(data, self._words(members))
            self._must(schema, data, path, near or self._wrapped(members, data))

    def _words(self, members: list[Schema]) -> list[Any]:
        """Return the words that stand alone among the members of a union."""
        cores = map(self.schemas.core, members)
        return [w for core in cores if core["type"] in {"literal", "enum"} for w in words_of(core)]

    def _bare(self, members: list[Schema], data: Plain) -> str:
        """Return WORD where ``{kind: WORD}`` was written and the bare word is a member."""
        if not isinstance(data, dict):
            return ""
        words = self._words(members)
        for member in members:
            core = self.schemas.core(member)
            name = core["discriminator"] if core["type"] == "tagged-union" else None
            if isinstance(name, str) and data.get(name) in words:
                return str(data[name])
        return ""

    def _wrapped(self, members: list[Schema], data: Plain) -> str:
        """Return ``{kind: WORD}`` where the bare word is one of the kinds of a member."""
        for member in members:
            core = self.schemas.core(member)
            if core["type"] == "tagged-union" and data in [_text(tag) for tag in core["choices"]]:
                return f"{{{core['discriminator']}: {data}}}"
        return ""

    def _value(self, schema: Schema, core: Schema, data: Plain, path: Loc, c: Complaint) -> None:
        """Say one complaint about the value at ``path``."""
        kind = core["type"]
        if c.kind == "value_error" and isinstance(misfit := c.context.get("error"), MisfitError):
            for note in misfit.notes:
                self._fault((*path, *note.at), note.problem, note.got, note.suggestion)
        elif c.kind in {"value_error", "assertion_error"}:
            self._fault(path, str(c.context.get("error", c.message)))
        elif c.is_wrong_word and kind in {"literal", "enum"}:
            self._word(data, words_of(core), path, schema)
        elif c.kind == "union_tag_invalid" and isinstance(data, dict):
            self._tag(core, data, path)
        elif c.kind == "union_tag_not_found" and isinstance(data, dict):
            self._tag_missing(core, data, path)
        elif c.kind == "too_short" and isinstance(data, dict | list) and _long_enough(core, data):
            return  # pydantic counts only the items that are valid; those faults are said already
        elif c.is_shape or (c.kind == "missing" and kind in LISTS):
            self._must(schema, data, path)
        else:
            problem = c.message.replace("Input should be", "must be")
            self._fault(path, problem[:1].lower() + problem[1:], shown(data))

    def _must(self, schema: Schema, data: Plain, path: Loc, suggestion: str = "") -> None:
        problem = f"must be {self.schemas.describe(schema)}"
        core = self.schemas.core(schema)
        kind = core["type"]
        if isinstance(data, str):
            if kind == "bool":
                suggestion = _WORDY_BOOLEANS.get(data.lower(), data.lower())
                suggestion = suggestion if suggestion in {"true", "false"} else ""
            elif kind in {"int", "float"} and _is_number(data):
                problem += ", without quotes"
        elif kind == "str" and isinstance(data, int | float):
            problem += "; put it in quotes"
        elif kind == "int" and isinstance(data, float) and data.is_integer():
            suggestion = str(int(data)) if abs(data) < 2**53 else ""
        if kind in LISTS and not suggestion and self._is_item(core, data):
            suggestion = f"[{data}]"
        self._fault(path, problem, shown(data), suggestion)

    def _is_item(self, core: Schema, data: Plain) -> bool:
        """Would a list of this value alone be allowed?"""
        if not isinstance(data, str | int | float) or int(core.get("min_length", 0)) > 1:
            return False
        items = core.get("items_schema")
        if isinstance(items, list) and "variadic_item_index" not in core and len(items) != 1:
            return False
        item = self.schemas.core(self.schemas.item(core, 0))
        if item["type"] not in {"str", "int", "float", "literal"}:
            return False
        try:
            SchemaValidator(item).validate_python(data, strict=True)
        except ValidationError:
            return False
        return True

    def _word(self, data: Plain, words: list[Any], path: Loc, schema: Schema) -> None:
        if isinstance(data, dict | list | None):
            self._must(schema, data, path)
        else:
            problem = f"{shown(data)} is not one of {listed(words)}"
            self._fault(path, problem, suggestion=_near(data, words))

    def _tag(self, core: Schema, data: dict[str, Plain], path: Loc) -> None:
        name, tags = core["discriminator"], [_text(tag) for tag in core["choices"]]
        if not isinstance(name, str):
            self._must(core, data, path)
            return
        value = data.get(name)
        near = _near(value, tags)
        self._fault((*path, name), f"{shown(value)} is not one of {listed(tags)}", suggestion=near)
        if near:
            self.repairs.append(Repair(path, key=name, value=near))

    def _tag_missing(self, core: Schema, data: dict[str, Plain], path: Loc) -> None:
        name, tags = core["discriminator"], [_text(tag) for tag in core["choices"]]
        if not isinstance(name, str):
            self._must(core, data, path)
            return
        known = {key for choice in core["choices"].values() for key in self.schemas.fields(choice)}
        misspelt = nearest(name, [key for key in data if key not in known])
        if misspelt is None:
            if self._origin(path) not in self.document.incomplete:
                self._missing(name, path, f"one of {listed(tags)}")
            return
        self._fault((*path, misspelt), "unknown key", suggestion=name, key=True)
        self.repairs.append(Repair(path, drop=misspelt, key=name))

    def _fault(
        self,
        loc: Loc,
        problem: str,
        got: str = "",
        suggestion: str = "",
        *,
        key: bool = False,
        at: Loc | None = None,
    ) -> None:
        loc, at = self._origin(loc), None if at is None else self._origin(at)
        fault = self.document.fault(loc, problem, got=got, suggestion=suggestion, key=key, at=at)
        self.faults.append(fault)

    def _origin(self, loc: Loc) -> Loc:
        """Return the path as the document has it, before repairs."""
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.renamed:
                loc = self.renamed[loc[:length]] + loc[length:]
        return loc


def _text(tag: object) -> str:
    """Return a tag as a file writes it (an enumeration's member by its value)."""
    return str(getattr(tag, "value", tag))


def _near(value: Plain, words: list[Any]) -> str:
    texts = [word for word in words if isinstance(word, str)]
    return (nearest(value, texts) or "") if isinstance(value, str) else ""


def _is_number(text: str) -> bool:
    return any(CORE_SCALARS[kind].match(text) for kind in ("int", "float"))


def _long_enough(core: Schema, data: Sized) -> bool:
    return len(data) >= int(core.get("min_length", 0))
