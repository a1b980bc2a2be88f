"""How a model's own validators say which keys do not fit together.

A plain ``ValueError`` is placed at the whole model; a :class:`MisfitError` names the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from aqabench.protocol.document import Loc

__all__ = ["MisfitError", "Note"]


@dataclass(frozen=True)
class Note:
    """A fault that a validator of a model found, at a path below that model."""

    at: Loc
    problem: str
    got: str = ""
    suggestion: str = ""


class MisfitError(ValueError):
    """Raised by a validator; carries one note for each fault it found."""

    def __init__(self, *notes: Note) -> None:
        """Keep the notes; each becomes one fault."""
        self.notes = notes
        super().__init__("; ".join(note.problem for note in notes))
