"""A run that left no record gets one that says so, because failures are rows."""

from __future__ import annotations

import datetime

from aqabench.protocol.scenarios import scenarios
from aqabench.runs.env import environment
from aqabench.runs.job import Job
from aqabench.runs.record import RunRecord
from aqabench.runs.store import LOG

__all__ = ["record_failure"]

LOG_LINES = 40
"""Last lines of what the process said that are kept."""


def record_failure(job: Job, reason: str) -> RunRecord:
    """Store and return the record of a run whose process could not write one.

    Args:
        job: the run.
        reason: one sentence for the board.

    Raises:
        StoreError: the store cannot be written.
    """
    spec = job.spec
    protocol, dataset = spec.question.protocol, spec.question.dataset
    card = job.registry.get(spec.method).card
    assert card is not None
    log = job.folder / LOG
    said = log.read_text(errors="replace").splitlines() if log.is_file() else []
    record = RunRecord(
        key=spec.key,
        status="failed",
        error=reason,
        traceback="\n".join(said[-LOG_LINES:]),
        identity=spec.identity,
        dataset=dataset.name,
        protocol_version=protocol.version,
        title=card.title,
        opt_outs=dict(card.opt_outs),
        overrides=dict(spec.overrides),
        scenarios=tuple(scenarios(protocol, dataset)),
        environment=environment(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    job.store.write(record, None, [])
    return record
