"""What a settings file holds, and where in the file each part of it stands.

Plain data beside line and column, so that a fault found long after reading still points at the
word that caused it.  Reads nothing itself: :mod:`aqabench.protocol.yaml12` makes documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aqabench.errors import Fault

__all__ = ["Document", "Loc", "Mark", "Plain", "Scalar", "dotted"]

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]
"""What a file holds: text, numbers, true/false, null, lists and mappings with text keys."""
Loc = tuple[str | int, ...]
"""A path into a document: mapping keys and list positions."""
Mark = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True)
class Document:
    """Plain data, the place of each part of it, and what was wrong with the text.

    Attributes:
        name: file name for messages.
        data: what could be read; None where nothing could (see ``broken``).
        faults: everything wrong with the text itself, in file order.
        broken: the text could not be read to its end, so ``data`` means nothing.
        doubtful: paths whose value is unknown, e.g. because an alias stood there.
        incomplete: paths of mappings some of whose keys are unknown, e.g. merged ones.
    """

    name: str
    data: Plain
    faults: tuple[Fault, ...] = ()
    broken: bool = False
    doubtful: frozenset[Loc] = frozenset()
    incomplete: frozenset[Loc] = frozenset()
    _values: Mapping[Loc, Mark] = field(default_factory=dict, repr=False)
    _keys: Mapping[Loc, Mark] = field(default_factory=dict, repr=False)

    def mark(self, loc: Loc, *, key: bool = False) -> Mark:
        """Return line and column of the value (or of the key) at ``loc``.

        A list or mapping that begins below its key has the place of its key.  For a path that is
        not in the file, the nearest ancestor's place is returned.
        """
        while loc and loc not in self._values:
            loc, key = loc[:-1], True
        if key and loc in self._keys:
            return self._keys[loc]
        return self._values.get(loc, (1, 1))

    def fault(
        self,
        loc: Loc,
        problem: str,
        *,
        got: str = "",
        suggestion: str = "",
        key: bool = False,
        at: Loc | None = None,
    ) -> Fault:
        """Return a fault of the thing at ``loc``, placed there or at the path ``at``."""
        line, column = self.mark(loc if at is None else at, key=key)
        return Fault(self.name, line, column, dotted(loc), problem, got, suggestion)


def dotted(loc: Loc) -> str:
    """Return a path as people write it: ``scenarios[0].rates``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
