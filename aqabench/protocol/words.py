"""What a pydantic schema allows, and what a file holds, in plain words.

Reads pydantic's core schema (``Model.__pydantic_core_schema__``), the very tree that validation
walks, so that words and verdict cannot disagree.  Judges nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from aqabench.protocol.document import Plain

__all__ = ["LISTS", "Schema", "Schemas", "choices", "listed", "shown", "words_of"]

Schema = Mapping[str, Any]
LISTS = frozenset({"list", "tuple", "set", "frozenset"})
_MAPPINGS = frozenset({"model-fields", "typed-dict", "dict", "tagged-union"})
_INNER = {"lax-or-strict": "strict_schema", "json-or-python": "json_schema"}
_SPELLINGS = {
    "^[a-z0-9][a-z0-9._-]*$": " of small letters, digits, dots, dashes and underscores",
    "^[a-z]{1,3}$": " of 1 to 3 small letters",
}
"""What patterns of ours ask for; others are shown as they are."""
_LONGEST = 60
_LEVELS = 3


class Schemas:
    """A core schema whose references can be followed."""

    def __init__(self, core: Schema) -> None:
        self._definitions: dict[str, Schema] = {}
        while core["type"] == "definitions":
            for schema in core["definitions"]:
                self._definitions[schema["ref"]] = schema
            core = core["schema"]
        self.root: Schema = core

    def layers(self, schema: Schema) -> Iterator[Schema]:
        """Yield ``schema`` and what it wraps (defaults, validators, models), outermost first."""
        while True:
            yield schema
            if schema["type"] == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
            elif schema["type"] in _INNER:
                schema = schema[_INNER[schema["type"]]]
            elif schema["type"] == "chain":
                schema = schema["steps"][0]
            elif isinstance(schema.get("schema"), Mapping):
                schema = schema["schema"]
            else:
                return

    def core(self, schema: Schema) -> Schema:
        """Return the innermost layer: the one whose type says what data it takes."""
        *_, last = self.layers(schema)
        return last

    def fields(self, schema: Schema) -> dict[str, Schema]:
        """Return the keys that a model takes, as they are written in a file."""
        core = self.core(schema)
        if core["type"] not in {"model-fields", "typed-dict"}:
            return {}
        return {
            alias if isinstance(alias := field.get("validation_alias"), str) else name: field
            for name, field in core["fields"].items()
        }

    def item(self, schema: Schema, position: int) -> Schema:
        """Return the schema of one item of a list or tuple."""
        items = schema.get("items_schema", {"type": "any"})
        if isinstance(items, Mapping):
            return items
        variadic = schema.get("variadic_item_index")
        if variadic is not None and position >= variadic:
            return items[variadic]  # type: ignore[no-any-return]
        return items[position] if position < len(items) else {"type": "any"}

    def takes(self, schema: Schema, value: Plain) -> bool:
        """Tell whether the kind of ``value`` (list, mapping, text, number) is the right one."""
        core = self.core(schema)
        kind = core["type"]
        match value:
            case dict():
                return kind in _MAPPINGS
            case list():
                return kind in LISTS
            case _:
                return kind not in LISTS | _MAPPINGS

    def describe(self, schema: Schema, levels: int = _LEVELS) -> str:
        """Return what a value must be, e.g. ``a whole number of at least 1``.

        Args:
            schema: of the value.
            levels: how deep to describe lists within lists; a type may contain itself.
        """
        core = self.core(schema)
        text = self._describe(core, levels)
        if any(layer["type"] == "nullable" for layer in self.layers(schema)):
            text += ", or null"
        return text

    def _describe(self, core: Schema, levels: int) -> str:
        kind = core["type"]
        if kind in LISTS:
            return self._list(core, levels - 1)
        match kind:
            case "int":
                return "a whole number" + _bounds(core)
            case "float":
                return ("a number" if core.get("allow_inf_nan", True) else "a finite number") + (
                    _bounds(core)
                )
            case "bool":
                return "true or false"
            case "none":
                return "null"
            case "str":
                return "a text" + _size(core, "character") + _spelling(core.get("pattern", ""))
            case "literal" | "enum":
                words = [shown(word) for word in words_of(core)]
                return words[0] if len(words) == 1 else f"one of {listed(words_of(core))}"
            case "dict":
                return "a mapping of keys and values" + _size(core, "key")
            case "model-fields" | "typed-dict":
                return f"a mapping with the keys {listed(list(self.fields(core)))}"
            case "tagged-union":
                key, tags = core["discriminator"], listed(list(core["choices"]))
                return f"a mapping whose '{key}' is one of {tags}"
            case "union":
                return " or ".join(self.describe(choice, levels) for choice in choices(core))
            case _:
                return f"a valid {kind}"

    def _list(self, core: Schema, levels: int) -> str:
        if not levels:
            return "a list"
        items = core.get("items_schema")
        fixed = isinstance(items, list) and "variadic_item_index" not in core
        if fixed and items is not None:
            each = [self.describe(item, levels) for item in items]
            size = f" of {len(items)} item{'s' * (len(items) != 1)}"
            return f"a list{size}" + (f", each {each[0]}" if len(set(each)) == 1 else "")
        return f"a list{_size(core, 'item')}, each {self.describe(self.item(core, 0), levels)}"


def choices(core: Schema) -> list[Schema]:
    """Return the members of a union, without their labels or tags; nothing for other schemas."""
    members = core.get("choices", [])
    if isinstance(members, Mapping):
        return list(members.values())
    return [choice[0] if isinstance(choice, tuple) else choice for choice in members]


def words_of(core: Schema) -> list[Any]:
    """Return the values that a literal or an enumeration allows, as a file writes them."""
    if core["type"] == "enum":
        return [member.value for member in core["members"]]
    return [value.value if isinstance(value, Enum) else value for value in core["expected"]]


def listed(words: list[Any]) -> str:
    """Return words separated by commas, as a file writes them but without quotes."""
    return ", ".join(word if isinstance(word, str) else shown(word) for word in words)


def shown(value: object) -> str:
    """Return a value as a file shows it, shortened; of lists and mappings only the size."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return f"a mapping of {len(value)} key{'s' * (len(value) != 1)}"
        case list():
            return f"a list of {len(value)} item{'s' * (len(value) != 1)}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]}…{text[-1]}"


def _spelling(pattern: str) -> str:
    return _SPELLINGS.get(pattern, f" that matches {pattern}") if pattern else ""


def _bounds(core: Schema) -> str:
    if "ge" in core and "le" in core:
        return f" from {core['ge']} to {core['le']}"
    names = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    parts = [f"{word} {core[key]}" for key, word in names.items() if key in core]
    if "multiple_of" in core:
        parts.append(f"divisible by {core['multiple_of']}")
    return " " + " and ".join(parts) if parts else ""


def _size(core: Schema, unit: str) -> str:
    low, high = core.get("min_length"), core.get("max_length")
    if low and high is not None:
        amount = f"{low} to {high}" if low != high else str(low)
        return f" of {amount} {unit}{'s' * (high != 1)}"
    if low:
        return f" of at least {low} {unit}{'s' * (low != 1)}"
    if high is not None:
        return f" of at most {high} {unit}{'s' * (high != 1)}"
    return ""
