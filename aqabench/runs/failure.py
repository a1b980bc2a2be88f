"""A run that left no record gets one that says so, because failures are rows."""

from __future__ import annotations

from pathlib import Path

from aqabench.protocol.scenarios import scenarios
from aqabench.runs.claim import claim_soon
from aqabench.runs.env import environment, now
from aqabench.runs.job import Job
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import finished
from aqabench.runs.store import LOG

__all__ = ["record_failure"]

LOG_LINES = 40
LOG_BYTES = 16 * 2**10
"""How much is kept of the end of what the process said."""
PATIENCE = 2.0
"""Seconds that a dying process may hold its run."""


def record_failure(job: Job, reason: str, quote_log: bool) -> RunRecord:
    """Store and return the record of a run whose process could not write one.

    Where another process is at the run already, nothing is stored: that one has the word.

    Args:
        job: the run.
        reason: one sentence for the board.
        quote_log: keep the end of its log; otherwise that is of an earlier process.

    Returns:
        The record; of a run that was finished all the same, that one.

    Raises:
        StoreError: the store cannot be written.
    """
    spec = job.spec
    protocol, dataset = spec.question.protocol, spec.question.dataset
    card = job.registry.get(spec.method).card
    assert card is not None
    record = RunRecord(
        key=spec.key,
        status="failed",
        error=reason,
        traceback=_end_of(job.folder / LOG) if quote_log else "",
        identity=spec.identity,
        dataset=dataset.name,
        protocol_version=protocol.version,
        title=card.title,
        opt_outs=dict(card.opt_outs),
        overrides=dict(spec.overrides),
        tuned=spec.tuned,
        scenarios=tuple(scenarios(protocol, dataset)),
        environment=environment(),
        started=now(),
    )
    with claim_soon(job.folder, PATIENCE) as held:
        done = finished(spec, job.store)
        if done is not None:
            return done
        if held:
            job.store.write(record, None, [])
    return record


def _end_of(log: Path) -> str:
    """Return the last lines of a log, however large it is."""
    try:
        with log.open("rb") as file:
            file.seek(-min(LOG_BYTES, log.stat().st_size), 2)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:  # it said nothing, or nothing can be read here
        return ""
    return "\n".join(lines[-LOG_LINES:])
