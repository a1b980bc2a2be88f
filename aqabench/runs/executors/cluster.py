"""A job in a queue for each run: they go on when the command that asked for them has ended.

The command watches the store, where records appear, and the queue.  It never waits for submitit's
result of a job, which does not come for a job that was killed on a site without accounting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from aqabench.disk import replace_file, storing
from aqabench.errors import UsageError
from aqabench.runs.claim import claimed
from aqabench.runs.executors.ledger import Ledger, Submission
from aqabench.runs.executors.parcel import Ear, Parcel
from aqabench.runs.executors.queues import Place, Queue, Standing, deaf, log_of, was_sent
from aqabench.runs.failure import record_failure
from aqabench.runs.job import Job
from aqabench.runs.listener import Listener
from aqabench.runs.places import RECORD, stamp
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome, finished
from aqabench.runs.store import LOG

__all__ = ["execute_queued"]

LOOK = 1.0
"""Seconds between two looks at the store."""
GRACE = 5.0
"""Seconds that a record may take from a node to here after its job has left the queue."""
LONG_GRACE = 60.0
"""The same where the job ended well, so that there must be one: folders of network file systems
may be seen as they were a while ago."""
TRIES = 5
"""Looks that a job has time for to leave the queue when its run is done."""
LOG_BYTES = 16 * 2**10
"""How much is kept of the end of what a job that failed has said."""


@dataclass
class _Run:
    """A run in the queue.

    Attributes:
        job: the run.
        submission: what it was handed over with.
        index: its place there.
        id: of its job in the queue; empty until that is known.
        ear: hears its signs of life.
        standing: what the queue last said of it.
        gone: since when it is not in the queue, by the monotonic clock.
    """

    job: Job
    submission: Submission
    index: int
    ear: Ear
    id: str = ""
    standing: Standing | None = None
    gone: float | None = None


@dataclass
class _Watch:
    """All that a command knows of its plan.

    Attributes:
        ledger, queue, listener, say: as :func:`execute_queued` takes them.
        total: runs of the plan.
        waiting: runs that are neither done nor in the queue, by key.
        on: runs that are in the queue, by key.
        records: of the runs that have ended, by number.
        started: keys of runs of which the listener knows.
        asked: when the queue was asked, by the monotonic clock.
        silent: it did not answer.
        names: of the submissions that runs were in.
        reasons: why runs wait there, as it was said last.
    """

    ledger: Ledger
    queue: Queue
    listener: Listener
    say: Callable[[str], None]
    total: int
    waiting: dict[str, Job] = field(default_factory=dict)
    on: dict[str, _Run] = field(default_factory=dict)
    records: dict[int, RunRecord] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    asked: float = -math.inf
    silent: bool = False
    names: set[str] = field(default_factory=set)
    reasons: str = ""

    def started_now(self, job: Job) -> bool:
        """Tell the listener that a run has begun, once; say whether that was now."""
        new = job.spec.key not in self.started
        if new:
            self.started.add(job.spec.key)
            self.listener.run_started(job.spec, job.number, self.total)
        return new

    def ended(self, job: Job, record: RunRecord, was_stored: bool) -> None:
        """Tell the listener that a run has ended."""
        self.waiting.pop(job.spec.key, None)
        self.on.pop(job.spec.key, None)
        self.records[job.number] = record
        self.listener.run_ended(job.spec, record, was_stored)

    def ask(self, submissions: Iterable[Submission]) -> dict[Place, Standing] | None:
        """Ask the queue for the jobs of submissions; None if it does not answer."""
        self.asked = time.monotonic()
        standings = self.queue.standings({self.ledger.folder(s) for s in submissions})
        if standings is None and not self.silent:
            self.say("the queue does not answer, it will be asked again")
        self.silent = standings is None
        return standings


def execute_queued(
    jobs: Sequence[Job],
    queue: Queue,
    ledger: Ledger,
    listener: Listener,
    say: Callable[[str], None],
) -> Outcome:
    """Do the jobs that are not done yet by way of a queue, and watch them.

    What an earlier command has handed over and is still in the queue is only watched.  A run that
    leaves the queue without a record becomes a failed one.

    Args:
        jobs: of one plan, in its order.
        queue: where they go.
        ledger: of that queue and of the jobs' store.
        listener: told of every start, step and end; runs overlap.
        say: told of what happens to all of them.

    Returns:
        The records, in the order of the jobs.

    Raises:
        AqabenchError: the queue refuses the runs, or results cannot be kept.
        KeyboardInterrupt: with a sentence on what goes on.
    """
    watch = _Watch(ledger, queue, listener, say, len(jobs))
    for job in jobs:
        record = finished(job.spec, job.store)
        if record is None:
            watch.waiting[job.spec.key] = job
        else:
            watch.ended(job, record, True)
    if watch.waiting:
        try:
            while watch.waiting or watch.on:
                _hand_over(watch)
                _look(watch)
                _question(watch)
                time.sleep(LOOK)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(_left_behind(watch)) from stop
        _tidy(watch)
    return Outcome(tuple(watch.records[number] for number in sorted(watch.records)))


def _hand_over(watch: _Watch) -> None:
    """Find what is in the queue already, and hand over what is not, as far as there is room."""
    queue, ledger = watch.queue, watch.ledger
    if watch.silent and time.monotonic() - watch.asked < queue.pause:
        return
    first = watch.asked == -math.inf  # what is at work may have been handed over by ourselves
    if not first and not [*islice(_free(watch), _room(watch))]:
        return
    with ledger.alone():
        submissions = ledger.submissions()
        standings = watch.ask(submissions)
        if standings is None:
            return
        _find_queued(watch, submissions, standings)
        ledger.tidy(_queued(standings))
        chosen = [*islice(_free(watch), _room(watch))]
        parts = [chosen[n : n + queue.most] for n in range(0, len(chosen), queue.most)]
        for part in parts:
            _submit(watch, part, len(parts))


def _free(watch: _Watch) -> Iterator[Job]:
    """Yield what waits and nobody is at; take what somebody else has done meanwhile."""
    for job in [*watch.waiting.values()]:
        if claimed(job.folder):
            if watch.started_now(job):
                watch.listener.run_waits(job.spec)
            continue
        record = finished(job.spec, job.store)
        if record is None:
            yield job
        else:
            watch.ended(job, record, True)


def _room(watch: _Watch) -> int | None:
    """Return how many runs may be handed over; None: all."""
    room = watch.queue.room
    return None if room is None else max(0, room - len(watch.on))


def _find_queued(
    watch: _Watch, submissions: Sequence[Submission], standings: Mapping[Place, Standing]
) -> None:
    """Take what an earlier command has handed over and is in the queue."""
    found, unsent = 0, []
    for submission in submissions:
        for index, run in enumerate(submission.runs):
            job, standing = watch.waiting.get(run.key), standings.get((submission.name, index))
            if job is None or standing is None or standing.is_over:
                continue
            if not was_sent(watch.ledger.folder(submission), standing.id):
                unsent.append(standing.id)  # the command was killed while it handed over
            elif stamp(str(job.folder / RECORD)) == run.record:  # else it has just failed
                _put_on(watch, job, submission, index, standing.id)
                found += 1
    if found:
        watch.say(f"{found} runs are in the queue since an earlier command")
    if unsent:
        refused = watch.queue.cancel(unsent)
        if refused:
            watch.say(
                f"{len(unsent)} jobs have nothing to do, because their command ended early, and "
                f"could not be cancelled ({refused})"
            )


def _submit(watch: _Watch, jobs: Sequence[Job], shares: int) -> None:
    ledger = watch.ledger
    with deaf():
        submission = ledger.begin(jobs)
        runs = [_put_on(watch, job, submission, index) for index, job in enumerate(jobs)]
        parcels = [Parcel(job, ledger.signs(submission, job.spec.key)) for job in jobs]
        try:
            ids = watch.queue.submit(ledger.folder(submission), parcels, shares)
        except Exception as error:
            for run in runs:
                del watch.on[run.job.spec.key]
                watch.waiting[run.job.spec.key] = run.job
            if isinstance(error, UsageError):  # else the queue may have them
                ledger.drop(submission)
            if watch.on:
                watch.say(_left_behind(watch))
            raise
        for run, id_ in zip(runs, ids, strict=True):
            run.id = id_
        ledger.settle(submission, ids)


def _put_on(watch: _Watch, job: Job, submission: Submission, index: int, id_: str = "") -> _Run:
    ear = Ear(watch.ledger.signs(submission, job.spec.key))
    run = _Run(job, submission, index, ear, id_)
    watch.names.add(submission.name)
    watch.on[job.spec.key] = run
    del watch.waiting[job.spec.key]
    return run


def _look(watch: _Watch) -> None:
    """Read what runs have said and stored."""
    for run in [*watch.on.values()]:
        if run.ear.heard():
            watch.started_now(run.job)
            run.ear.listen(run.job.spec, watch.listener)
        record = _verdict(run)
        if record is not None:
            watch.ended(run.job, record, False)


def _verdict(run: _Run) -> RunRecord | None:
    """Return the record of a run if it was written since it was handed over."""
    job = run.job
    if stamp(str(job.folder / RECORD)) in {"", run.submission.runs[run.index].record}:
        return None
    return job.store.find(job.spec.question.protocol.name, job.spec.method, job.spec.key)


def _question(watch: _Watch) -> None:
    """Ask the queue, if it is time to; what has left it without a record has failed."""
    now = time.monotonic()
    late = any(_is_late(run, now) for run in watch.on.values())
    due = now - watch.asked >= watch.queue.pause or (late and not watch.silent)
    if not watch.on or not due:
        return
    standings = watch.ask([run.submission for run in watch.on.values()])
    if standings is None:
        return
    reasons = set()
    for run in [*watch.on.values()]:
        standing = standings.get((run.submission.name, run.index))
        run.standing = standing or run.standing
        if standing is not None and not standing.is_over:
            run.gone = None
            if standing.state == "PENDING":
                reasons.add(standing.reason)
            else:
                watch.started_now(run.job)
        elif claimed(run.job.folder):  # by a process that is in no queue we see
            run.gone = None
        elif run.gone is None:
            run.gone = now
        elif _is_late(run, now):
            watch.ended(run.job, _verdict(run) or _failure(watch, run), False)
    said = ", ".join(sorted(reasons - {""}))
    if said and said != watch.reasons:
        watch.say(f"runs wait in the queue ({said})")
    watch.reasons = said


def _is_late(run: _Run, now: float) -> bool:
    """Has a run been out of the queue for so long that its record should be here?"""
    well = run.standing is not None and run.standing.state == "COMPLETED"
    return run.gone is not None and now - run.gone >= (LONG_GRACE if well else GRACE)


def _failure(watch: _Watch, run: _Run) -> RunRecord:
    """Store and return a record of a run whose job has ended without one."""
    log = log_of(watch.ledger.folder(run.submission), run.id)
    try:
        with log.open("rb") as file:
            file.seek(-min(LOG_BYTES, log.stat().st_size), 2)
            words = file.read()
    except OSError:
        words = b""
    folder = run.job.folder
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # also if there are no words: a changed folder is seen as it is, with a record that is late
        replace_file(folder / LOG, words)
        if not words:
            (folder / LOG).unlink()
    standing = run.standing or Standing(run.id, "")
    return record_failure(run.job, run.ear.error or standing.ending(), quote_log=bool(words))


def _left_behind(watch: _Watch) -> str:
    folders = {watch.ledger.folder(run.submission) for run in watch.on.values()}
    if not folders:
        return "No run is in the queue."
    rest = f", and begins the other {len(watch.waiting)}" if watch.waiting else ""
    return (
        f"{len(watch.on)} runs are in the queue or at work and go on without this command; the "
        f"same command watches them again{rest}. To end them: {watch.queue.how_to_end(folders)}"
    )


def _queued(standings: Mapping[Place, Standing]) -> set[str]:
    """Return the names of submissions that are in the queue."""
    return {name for (name, _), standing in standings.items() if not standing.is_over}


def _tidy(watch: _Watch) -> None:
    """Forget what has ended well, once its jobs have left the queue."""
    for _ in range(TRIES):
        with watch.ledger.alone():
            standings = watch.ask(watch.ledger.submissions())
            if standings is None:
                return
            queued = _queued(standings)
            watch.ledger.tidy(queued)
        if not queued & watch.names:
            return
        time.sleep(LOOK)
