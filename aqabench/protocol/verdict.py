"""Pydantic's errors in a form that can be walked down a schema step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from aqabench.protocol.document import Loc

__all__ = ["Complaint", "badness", "by_step", "complaints_of"]

_BOUNDS = frozenset(
    {
        "finite_number",
        "greater_than",
        "greater_than_equal",
        "int_from_float",
        "less_than",
        "less_than_equal",
        "multiple_of",
        "none_required",
        "string_pattern_mismatch",
        "string_too_long",
        "string_too_short",
        "too_long",
        "too_short",
    }
)
_WRONG_WORD = frozenset({"literal_error", "enum"})


@dataclass(frozen=True)
class Complaint:
    """One error with the part of its path that is still to be walked."""

    rest: Loc
    kind: str
    message: str
    context: Mapping[str, Any]

    @property
    def is_shape(self) -> bool:
        """Tell whether a description of the allowed values says all there is to say."""
        return self.kind in _BOUNDS or self.kind.endswith(("_type", "_parsing", "_parsing_size"))

    @property
    def is_wrong_word(self) -> bool:
        """Tell whether the value is none of a fixed set."""
        return self.kind in _WRONG_WORD


def complaints_of(error: ValidationError) -> list[Complaint]:
    """Return all errors, with their whole paths."""
    return [
        Complaint(e["loc"], e["type"], e["msg"], e.get("ctx", {}))
        for e in error.errors(include_url=False)
    ]


def by_step(complaints: Iterable[Complaint]) -> dict[str | int, list[Complaint]]:
    """Group complaints by the first step of their paths, which is then walked."""
    groups: dict[str | int, list[Complaint]] = {}
    for complaint in complaints:
        if complaint.rest:
            step, *rest = complaint.rest
            groups.setdefault(step, []).append(replace(complaint, rest=tuple(rest)))
    return groups


def badness(group: list[Complaint]) -> tuple[int, int]:
    """Rank the members of a union: a wrong word (a wrong kind) counts before the number."""
    return sum(complaint.is_wrong_word for complaint in group), len(group)
