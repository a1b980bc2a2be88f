"""What of a plan is in the store already.  Needs no torch, so that finding out is instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RunStore


@dataclass(frozen=True)
class Outcome:
    """Records of a plan, in its order."""

    records: tuple[RunRecord, ...]

    @property
    def failed(self) -> tuple[RunRecord, ...]:
        """The records of runs that failed."""
        return tuple(r for r in self.records if r.status == "failed")


def finished(spec: RunSpec, store: RunStore) -> RunRecord | None:
    """Return the record of a run that is done; a failed one counts as not done."""
    record = store.find(spec.question.protocol.name, spec.method, spec.key)
    return record if record is not None and record.status == "finished" else None


def stored_outcome(plan: Sequence[RunSpec], store: RunStore) -> Outcome | None:
    """Return the outcome of a plan of which every run is done, else None."""
    records = [finished(spec, store) for spec in plan]
    done = tuple(record for record in records if record is not None)
    return Outcome(done) if len(done) == len(plan) else None
