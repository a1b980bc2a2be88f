"""Which stored runs may stand on one board.

Runs are comparable when protocol digest, data digest and kind, and budget agree.  Of a method that
was run from several versions of its source, the newest version counts; the rest is named, not
mixed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aqabench.runs.record import RunRecord


@dataclass(frozen=True)
class Condition:
    """What runs must share to be compared."""

    protocol: str
    protocol_digest: str
    data_kind: str
    data_digest: str
    budget: str


@dataclass(frozen=True)
class Runs:
    """Runs of one method (with one set of hand-given settings) under one condition."""

    name: str
    records: tuple[RunRecord, ...]
    older: int = 0

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Runs that have predictions."""
        return tuple(r for r in self.records if r.status == "finished")

    @property
    def failed(self) -> tuple[RunRecord, ...]:
        """Runs that ended with an error."""
        return tuple(r for r in self.records if r.status == "failed")


def condition_of(record: RunRecord) -> Condition:
    """Return what a run may be compared under."""
    identity = record.identity
    return Condition(
        protocol=identity["protocol"],
        protocol_digest=identity["protocol_digest"],
        data_kind=identity["data_kind"],
        data_digest=identity["data_digest"],
        budget=identity["budget"]["name"],
    )


def by_condition(records: Iterable[RunRecord]) -> dict[Condition, list[Runs]]:
    """Return the runs that belong together, newest condition first."""
    found: dict[Condition, dict[str, list[RunRecord]]] = {}
    newest: dict[Condition, str] = {}
    for record in records:
        if record.identity.get("validation_only"):  # a trial of a search, never tested
            continue
        condition = condition_of(record)
        found.setdefault(condition, {}).setdefault(record.row, []).append(record)
        newest[condition] = max(newest.get(condition, ""), record.started)
    order = sorted(found, key=lambda c: newest[c], reverse=True)
    return {
        c: [runs for row in sorted(found[c]) for runs in _rows(row, found[c][row])] for c in order
    }


def _rows(name: str, records: list[RunRecord]) -> list[Runs]:
    """Keep the runs of the newest source version of a method, those of each search apart."""
    last = max(records, key=lambda r: r.started).identity["source_digest"]
    kept: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.identity["source_digest"] == last:
            kept.setdefault(record.tuned.search if record.tuned else "", []).append(record)
    older = len(records) - sum(map(len, kept.values()))
    several = len(kept) > 1
    return [
        Runs(f"{name} {search[:8]}" if several else name, tuple(own), older if not place else 0)
        for place, (search, own) in enumerate(sorted(kept.items()))
    ]
