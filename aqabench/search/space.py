"""The ranges of a card: what may be proposed for a setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from aqabench.errors import MethodError
from aqabench.method.card import MethodCard, Setting

__all__ = ["Range", "ranges_of"]

FORMS = "('log', low, high), ('linear', low, high) or ('choice', a, b, …)"


@dataclass(frozen=True)
class Range:
    """What one setting may be.

    Attributes:
        kind: ``log`` and ``linear`` are between two limits, both included; ``choice`` is a list.
        values: the limits, or the list.
    """

    kind: Literal["log", "linear", "choice"]
    values: tuple[Setting, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value of a range that is no choice."""
        low, high = self.values
        return cast(float, low), cast(float, high)

    @property
    def whole(self) -> bool:
        """Whole numbers only?"""
        return all(isinstance(value, int) for value in self.values)

    def holds(self, value: Setting) -> bool:
        """Is a value one that may be proposed?"""
        if self.kind == "choice":
            return any(value == own and type(value) is type(own) for own in self.values)
        low, high = self.limits
        return isinstance(value, int | float) and low <= value <= high

    @property
    def written(self) -> tuple[Setting, ...]:
        """As a card has it."""
        return (self.kind, *self.values)


def ranges_of(card: MethodCard, given: Mapping[str, Setting]) -> dict[str, Range]:
    """Return the ranges of a card, without settings that are given by hand; sorted by name.

    Raises:
        MethodError: a range on the card cannot be meant.
    """
    return {
        name: _range(card, name, card.search[name])
        for name in sorted(card.search)
        if name not in given
    }


def _range(card: MethodCard, name: str, form: tuple[object, ...]) -> Range:
    def wrong(why: str) -> MethodError:
        return MethodError(
            f"The search range of '{name}' on the card of {card.name} {why}: {form!r}. Write "
            f"{FORMS}, with values of the type that the setting has."
        )

    if name not in card.settings:
        raise wrong(f"is of no setting ({card.name} has {', '.join(sorted(card.settings))})")
    default = card.settings[name]
    kind, values = (form[0], form[1:]) if form else ("", ())
    if isinstance(default, float):  # 0 and 1 are written for 0.0 and 1.0
        values = tuple(float(v) if type(v) is int else v for v in values)
    if kind not in ("log", "linear", "choice"):
        raise wrong(f"is of an unknown kind {kind!r}")
    if default is not None and any(type(v) is not type(default) for v in values):
        raise wrong(f"has values that are not {type(default).__name__}, as its default is")
    found = Range(cast(Literal["log"], kind), cast(tuple[Setting, ...], values))
    if kind == "choice":
        if len(values) < 2:
            raise wrong("offers less than two values")
        return found
    if len(values) != 2 or not all(type(v) in (int, float) for v in values):
        raise wrong("does not have two numbers as its limits")
    low, high = found.limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise wrong("does not have its lower limit below the upper one")
    if kind == "log" and low <= 0:
        raise wrong("is logarithmic and begins at or below zero")
    return found
