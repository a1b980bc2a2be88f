"""Several runs at once on this machine, a process for each.

A crash, a lack of memory or a kill costs one run, which becomes a row with its reason.  Processes
are forked from a server that has imported torch once, so that one starts in a tenth of a second.
This process never imports torch: it only tells the listener what it hears.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from aqabench import errors
from aqabench.errors import AqabenchError
from aqabench.runs.cost import available_bytes
from aqabench.runs.failure import record_failure
from aqabench.runs.job import Job, run_job
from aqabench.runs.listener import Listener
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome, finished
from aqabench.runs.store import LOG

if TYPE_CHECKING:
    from aqabench.train.context import Progress

__all__ = ["execute_processes", "usual_jobs"]

REPORTS_PER_SECOND = 5
GRACE = 5.0
"""Seconds that a process which is told to end may take."""
STOPPED = 3
"""Exit code of a process that met an error which other runs will meet as well."""


RUN_BYTES = 3 * 2**29
"""Memory that a run of the largest network may need, when the number of jobs is chosen."""


def usual_jobs(threads: int) -> int:
    """Return how many runs of so many threads this machine does at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min((cores or 1) // threads, available_bytes() // RUN_BYTES))


@dataclass
class _Worker:
    """A process at work, and our end of the pipe to it."""

    job: Job
    process: BaseProcess
    pipe: Connection
    was_stored: bool = False
    error: tuple[str, str] | None = None


def execute_processes(jobs: Sequence[Job], at_once: int, listener: Listener) -> Outcome:
    """Do the jobs that are not done yet, ``at_once`` at a time.

    Args:
        jobs: of one plan, in its order.
        at_once: number of processes.
        listener: told of every start, step and end; runs overlap.

    Returns:
        The records, in the order of the jobs.

    Raises:
        AqabenchError: results cannot be kept or the data cannot be read; runs that were on are
            stopped and lost, those that were finished are kept.
    """
    records: dict[int, RunRecord] = {}
    waiting: deque[Job] = deque()
    for job in jobs:
        stored = finished(job.spec, job.store)
        if stored is None:
            waiting.append(job)
        else:
            records[job.number] = stored
            listener.run_ended(job.spec, stored, True)
    context = _context()
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < at_once:
                job = waiting.popleft()
                listener.run_started(job.spec, job.number, len(jobs))
                workers.append(_start(job, context))
            for worker in _heard(workers, listener):
                workers.remove(worker)
                record = _result(worker)
                records[worker.job.number] = record
                listener.run_ended(worker.job.spec, record, worker.was_stored)
    finally:
        _stop(workers)
    return Outcome(tuple(records[number] for number in sorted(records)))


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aqabench.runs.execute"])
    return context


def _start(job: Job, context: BaseContext) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(job, theirs), name=job.spec.label, daemon=True
    )
    with _plain_main():
        process.start()
    theirs.close()
    return _Worker(job, process, ours)


@contextlib.contextmanager
def _plain_main() -> Iterator[None]:
    """Keep the child from importing our main module anew: it needs nothing of it."""
    main = sys.modules["__main__"]
    spec, path = main.__spec__, getattr(main, "__file__", None)
    main.__spec__ = None
    if path is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if path is not None:
            main.__file__ = path


def _heard(workers: Sequence[_Worker], listener: Listener) -> list[_Worker]:
    """Wait for news, pass them on, and return the workers that have ended."""
    ready = wait([w.pipe for w in workers] + [w.process.sentinel for w in workers])
    ended = []
    for worker in workers:
        if worker.pipe in ready or worker.process.sentinel in ready:
            _listen(worker, listener)
        if worker.process.sentinel in ready:
            worker.process.join()
            _listen(worker, listener)  # what came between the last look and the end
            ended.append(worker)
    return ended


def _listen(worker: _Worker, listener: Listener) -> None:
    spec = worker.job.spec
    with contextlib.suppress(EOFError, OSError):
        while worker.pipe.poll():
            word, *rest = worker.pipe.recv()
            match word:
                case "progress":
                    listener.run_progress(spec, rest[0])
                case "looked":
                    listener.run_looked(spec, rest[0], rest[1])
                case "waits":
                    worker.was_stored = True
                    listener.run_waits(spec)
                case "error":
                    worker.error = (rest[0], rest[1])


def _result(worker: _Worker) -> RunRecord:
    """Return the record that a worker left, or write one that says how it died."""
    worker.pipe.close()
    job, code = worker.job, worker.process.exitcode
    if worker.error is not None:
        raise _relayed(*worker.error)
    record = job.store.find(job.spec.question.protocol.name, job.spec.method, job.spec.key)
    if record is not None and code == 0:
        return record
    return record_failure(job, _how(code))


def _how(code: int | None) -> str:
    """Say how a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        more = ", which is how a system that is out of memory ends one" if code == -9 else ""
        return f"Its process was ended by {name}{more}."
    return f"Its process ended with exit code {code} and left no record."


def _relayed(name: str, message: str) -> AqabenchError:
    """Return the error of a worker as if it had happened here."""
    kind = getattr(errors, name, AqabenchError)
    error: AqabenchError = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def _stop(workers: Sequence[_Worker]) -> None:
    """End what is still at work."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


class _Pipe:
    """A listener in the worker that tells the one in the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._said = 0.0

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """The parent knows."""

    def run_waits(self, spec: RunSpec) -> None:
        self._pipe.send(("waits",))

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._said > 1 / REPORTS_PER_SECOND or progress.step == progress.steps:
            self._said = now
            self._pipe.send(("progress", progress))

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        self._pipe.send(("looked", epoch, srcc))

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """The parent sees the end of the process."""


def _work(job: Job, pipe: Connection) -> None:
    """Be the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    _end_with_parent()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        run_job(job, _Pipe(pipe))
    except AqabenchError as error:
        pipe.send(("error", type(error).__name__, str(error)))
        sys.exit(STOPPED)
    except BrokenPipeError:  # nobody listens any more
        sys.exit(STOPPED)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.close(log)
        if not (job.folder / LOG).stat().st_size:
            (job.folder / LOG).unlink()


def _end_with_parent() -> None:
    """End this process when its parent is gone, so that no run goes on that nobody asked for."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()
