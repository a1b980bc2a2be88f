"""Every error aqabench raises on purpose.

A message is one sentence that says what went wrong, where, what was expected, and what to type
next.  The command line prints the sentence and nothing else; a traceback on the screen is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "AqabenchError",
    "CheckpointError",
    "DataError",
    "Fault",
    "MethodError",
    "ProtocolError",
    "StoreError",
    "UnknownNameError",
    "UnsafeFileError",
    "UsageError",
    "nearest",
]


class AqabenchError(Exception):
    """Base of all deliberate errors; the command line ends with ``exit_code``."""

    exit_code = 1


class UsageError(AqabenchError, ValueError):
    """The request itself cannot be meant: a wrong name, option or file.  Exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError, KeyError):
    """A name that no method, protocol or data set has; carries the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str) -> None:
        """Build the sentence.

        Args:
            kind: what was looked up, e.g. ``"method"``.
            name: what the user wrote.
            known: the names that exist.
            hint: what to type next, e.g. ``"aqabench list methods"``.
        """
        self.kind, self.name, self.near = kind, name, nearest(name, known)
        guess = f" Did you mean '{self.near}'?" if self.near else ""
        self.message = f"There is no {kind} called '{name}'.{guess} To see them all: {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr
        """Return the plain sentence."""
        return self.message


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file, at a place a person can go to."""

    file: str
    line: int
    column: int
    key: str
    problem: str
    got: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        """Return ``file:line:column: key: problem (got …); did you mean '…'?``."""
        where = f"{self.file}:{self.line}:{self.column}: "
        key = f"{self.key}: " if self.key else ""
        got = f" (got {self.got})" if self.got else ""
        guess = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return f"{where}{key}{self.problem}{got}{guess}"


class ProtocolError(UsageError):
    """A protocol or data-set file is wrong; lists every fault at once."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        """Keep the faults beside the text that lists them."""
        self.faults = tuple(faults)
        super().__init__("\n".join([message, *(f"  {fault}" for fault in self.faults)]))


class MethodError(AqabenchError):
    """A method file is broken, is defined twice, or broke its contract while running."""


class DataError(AqabenchError):
    """Features or labels are absent, incomplete, misaligned or not finite."""


class UnsafeFileError(DataError):
    """A file asked for something that plain array data never need; nothing of it was run."""


class CheckpointError(AqabenchError):
    """Weights that do not fit the network they are loaded into."""


class StoreError(AqabenchError):
    """The run store cannot be read or written (disk full, read-only, a foreign folder)."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to ``name``, or None when nothing is near."""
    lowered = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[near[0]] if near else None
