"""The report of everything that is wrong with a folder, at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aqabench.errors import DataError

NAMED = 6
"""Files with the same problem that are named before the rest is counted."""


def printable(path: Path | str) -> str:
    """Return a name that any terminal can print: what is not UTF-8, or controls it, is escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(ch if ch.isprintable() else ascii(ch)[1:-1] for ch in text)


def reason(error: Exception, path: Path) -> str:
    """Return what an error says of a file, without the file's name, which stands beside it."""
    return str(error).removeprefix(f"{path}: ")


@dataclass
class Faults:
    """Collects problems; the same problem of many files becomes one line."""

    folder: Path
    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: Path | str, problem: str) -> None:
        """Note one problem of one file, line or sample."""
        self.found.append((printable(where), problem))

    def table(self) -> list[tuple[str, str]]:
        """Return (problem, files that have it), in the order of first appearance."""
        files: dict[str, list[str]] = {}
        for where, problem in self.found:
            files.setdefault(problem, []).append(where)
        return [(problem, _names(where)) for problem, where in files.items()]

    def raise_if_any(self, dataset: str, report: Path | None = None) -> None:
        """Raise one error that lists all problems.

        Args:
            dataset: for the command that comes next.
            report: a CSV that holds every single one, or None.

        Raises:
            DataError: something was noted.
        """
        if not self.found:
            return
        lines = [f"  {problem}\n      {names}" for problem, names in self.table()]
        every = f" Every one of them is in {printable(report)}." if report else ""
        raise DataError(
            f"{printable(self.folder)} does not hold a complete {dataset} release; nothing was "
            f"imported ({len(self.found)} problems).{every}\n"
            + "\n".join(lines)
            + "\nMend the folder and type the same command again; what was read is kept."
        )


def _names(where: Sequence[str]) -> str:
    shown = ", ".join(where[:NAMED])
    return shown if len(where) <= NAMED else f"{shown} and {len(where) - NAMED} more"
