"""Which stored runs are asked for, and which of them share a board: for ``board`` and ``compare``.

Runs under another version of their protocol are left out, and it is said what to type to get them
back; nothing is mixed that may not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aqabench.board.mixing import nothing_shared, outdated_note
from aqabench.board.select import Condition, Runs, by_condition
from aqabench.errors import UnknownNameError, UsageError
from aqabench.protocol.library import Asked, load_protocol, protocol_names
from aqabench.runs.index import Summary
from aqabench.runs.record import RunRecord

__all__ = ["Kept", "Wanted", "asked_of", "comparable"]


class Kept(Protocol):
    """Where runs are kept: a store, or a folder of records."""

    @property
    def root(self) -> Path:
        """The folder that every place is below."""

    def records(
        self, protocol: str | None = None, where: Callable[[Summary], bool] | None = None
    ) -> Iterator[RunRecord]:
        """Yield the records, of one protocol or of all."""

    def protocol_file(self, name: str) -> Path:
        """Return where a protocol of the user's own is kept."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line; empty means all.

    Attributes:
        methods: rows, by name.
        protocol: a name, or a YAML file.
        data: real or simulated.
        budget: its name.
        classes: names of classes.
    """

    methods: tuple[str, ...] = ()
    protocol: str | None = None
    data: str | None = None
    budget: str | None = None
    classes: tuple[str, ...] = ()

    def __call__(self, run: Summary) -> bool:
        """Is this run asked for, whatever its method and protocol?"""
        return (
            (not self.classes or run.class_name in self.classes)
            and self.data in (None, run.data_kind)
            and self.budget in (None, run.budget)
        )


def comparable(
    kept: Kept, wanted: Wanted, verb: str, say: Callable[[str], None]
) -> list[tuple[Asked, Condition, list[Runs]]]:
    """Return the runs that are asked for, a board each, newest first.

    Args:
        kept: where they are.
        wanted: which.
        verb: what to type to see what there is, e.g. ``"aqabench board"``.
        say: told what is left out, and how to get it back.

    Raises:
        UsageError: there are no such runs, or the named methods share no board.
        UnknownNameError: a method has no runs.
    """
    protocol = wanted.protocol
    if protocol is not None and protocol not in protocol_names():
        protocol = load_protocol(protocol).protocol.name
    conditions = by_condition(kept.records(protocol, wanted))
    known = {run.name for runs in conditions.values() for run in runs}
    if not known:
        raise UsageError(
            f"There are no such runs{f' of {protocol}' if protocol else ''} in {kept.root} yet. "
            f"Make some: aqabench run --method mcmoe --protocol {protocol or 'fisv-missing'}"
        )
    names = list(dict.fromkeys(wanted.methods))
    for name in names:
        if name not in known:
            raise UnknownNameError("method among the stored runs", name, known, verb)
    found, outdated = [], []
    for condition, runs in conditions.items():
        chosen = [r for r in runs if not names or r.name in names]
        asked = asked_of(kept, condition.protocol)
        if asked.digest != condition.protocol_digest:
            outdated.append(condition)
            if chosen:
                say(outdated_note(chosen, condition))
        elif len(chosen) >= len(names):
            found.append((asked, condition, chosen))
    if len(names) > 1 and not found:
        raise UsageError(nothing_shared(names, conditions, outdated, wanted.classes))
    return found


def asked_of(kept: Kept, protocol: str) -> Asked:
    """Return the protocol of stored runs: the shipped one, or the one that is kept with them."""
    shipped = protocol in protocol_names()
    return load_protocol(protocol if shipped else str(kept.protocol_file(protocol)))
