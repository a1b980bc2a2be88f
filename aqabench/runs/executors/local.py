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
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

import psutil

from aqabench import errors
from aqabench.errors import AqabenchError
from aqabench.runs.claim import claimed
from aqabench.runs.cost import available_bytes, available_cores
from aqabench.runs.executors.queues import environment_of_runs
from aqabench.runs.executors.worker import SERVER_GONE, nothing, work
from aqabench.runs.failure import record_failure
from aqabench.runs.job import Job
from aqabench.runs.listener import Listener, Step
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome, finished

__all__ = ["execute_processes", "usual_jobs"]

GRACE = 5.0
"""Seconds that a process which is told to end, or has done its run, may take."""
PRELOADED = ["aqabench.runs.execute", "torch._dynamo"]
"""What every run needs; torch's optimisers load the second, and it takes as long as torch."""
RUN_BYTES = 3 * 2**29
"""Memory that a run of the largest network may need, when the number of jobs is chosen."""


def usual_jobs(threads: int) -> int:
    """Return how many runs of so many threads this machine does at once."""
    return max(1, min(available_cores() // threads, available_bytes() // RUN_BYTES))


@dataclass
class _Worker:
    """A process at work, our end of the pipe to it, and what it has said.

    Attributes:
        job: what it does.
        process: it.
        pipe: closed once it has nothing more to say.
        logs: its words go to the run's log.
        done: when it had done its run, by the monotonic clock.
        was_stored: another process did the run.
        crash: an error that nobody foresaw.
        error: class and message of one that other runs will meet as well.
    """

    job: Job
    process: BaseProcess
    pipe: Connection
    logs: bool = False
    done: float | None = None
    was_stored: bool = False
    crash: str = ""
    error: tuple[str, str] | None = None


def execute_processes(jobs: Sequence[Job], at_once: int, listener: Listener) -> Outcome:
    """Do the jobs that are not done yet, ``at_once`` at a time.

    What another command is doing on the same store comes last, and its results are taken.

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

    def ended(job: Job, record: RunRecord, was_stored: bool) -> None:
        records[job.number] = record
        listener.run_ended(job.spec, record, was_stored)

    waiting: deque[Job] = deque()
    for job in jobs:
        stored = finished(job.spec, job.store)
        if stored is None:
            waiting.append(job)
        else:
            ended(job, stored, True)
    if not waiting:
        return Outcome(tuple(records[number] for number in sorted(records)))
    workers: list[_Worker] = []
    context = _context(waiting[0].threads)
    try:
        while waiting or workers:
            while waiting and len(workers) < at_once:
                job = _next(waiting)
                stored = finished(job.spec, job.store)  # by another command, since we looked
                if stored is not None:
                    ended(job, stored, True)
                    continue
                listener.run_started(job.spec, job.number, len(jobs))
                try:
                    with _undisturbed():
                        workers.append(_start(job, context))
                except (OSError, EOFError) as error:
                    reason = f"No process could be started for it ({error})."
                    ended(job, record_failure(job, reason, quote_log=False), False)
            for worker in _heard(workers, listener) if workers else ():
                workers.remove(worker)
                ended(worker.job, _result(worker), worker.was_stored)
    finally:
        _stop(workers)
    return Outcome(tuple(records[number] for number in sorted(records)))


def _next(waiting: deque[Job]) -> Job:
    """Take the first job that nobody is at; the first of all if there is none."""
    job = next((job for job in waiting if not claimed(job.folder)), waiting[0])
    waiting.remove(job)
    return job


def _context(threads: int) -> BaseContext:
    """Return what starts processes; its server is running and has imported what they need.

    Raises:
        AqabenchError: it cannot be started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=nothing)
    try:
        resource_tracker.ensure_running()  # which the server needs, and which ends _undisturbed
        with _undisturbed(), _threads_of_libraries(threads):
            forkserver.ensure_running()
        with _plain_main():
            process.start()  # waits for the server
    except (OSError, EOFError) as error:
        raise AqabenchError(
            f"No processes can be started here ({error or 'the first one ended at once'}). Free "
            "some memory or end other programs, then type the same command again."
        ) from error
    except KeyboardInterrupt:
        # it would go on importing for seconds, with our output open
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "multiprocessing.forkserver" in " ".join(child.cmdline()):
                    child.kill()
        raise
    process.join()
    return context


def _start(job: Job, context: BaseContext) -> _Worker:
    """Start the process of a run.

    Raises:
        OSError, EOFError: the system has no memory or no processes left.
    """
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=work, args=(job, theirs), name=job.spec.label
    )
    try:
        with _plain_main():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Worker(job, process, ours)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put Ctrl-C off: what is half started cannot be stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _threads_of_libraries(threads: int) -> Iterator[None]:
    """Set what a process that is started here reads when it loads its libraries."""
    own = environment_of_runs(threads)
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
    sources = [w.process.sentinel for w in workers]
    pipes = [w.pipe for w in workers if not w.pipe.closed]
    ready = wait([*pipes, *sources], GRACE if any(w.done is not None for w in workers) else None)
    ended = []
    for worker in workers:
        if worker.process.sentinel in ready:
            worker.process.join()
            ended.append(worker)
        if not worker.pipe.closed:
            _listen(worker, listener)
        if worker.done is not None and time.monotonic() - worker.done > GRACE:
            worker.process.kill()  # its record is stored; a thread of the method keeps it
    return ended


def _listen(worker: _Worker, listener: Listener) -> None:
    """Pass on all that a worker has said so far."""
    spec = worker.job.spec
    while True:
        try:
            if not worker.pipe.poll():
                return
            word, *rest = worker.pipe.recv()
        except (EOFError, OSError):  # the end, or half a message of a process that was killed
            worker.pipe.close()
            return
        match word:
            case "progress":
                listener.run_progress(spec, Step(*rest))
            case "looked":
                listener.run_looked(spec, *rest)
            case "waits":
                listener.run_waits(spec)
            case "logs":
                worker.logs = True
            case "done":
                worker.done, worker.was_stored = time.monotonic(), rest[0]
            case "error":
                worker.error = (rest[0], rest[1])
            case "crash":
                worker.crash = rest[0]


def _result(worker: _Worker) -> RunRecord:
    """Return the record that a worker left, or write one that says how it died."""
    worker.pipe.close()
    if worker.error is not None:
        name, message = worker.error
        raise getattr(errors, name, AqabenchError)(message)
    job = worker.job
    record = job.store.find(job.spec.question.protocol.name, job.spec.method, job.spec.key)
    if record is not None and (worker.done is not None or record.status == "finished"):
        return record
    return record_failure(job, worker.crash or _how(worker.process.exitcode), worker.logs)


def _how(code: int | None) -> str:
    """Say how a process ended."""
    if code == SERVER_GONE:
        return "Its process was lost, because the one that starts all others was ended."
    if code is None or code >= 0:
        return f"Its process ended with exit code {code} before the run was done."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    more = {
        "SIGKILL": ", which is how a system that is out of memory ends one",
        "SIGSEGV": ": a crash in compiled code",
        "SIGABRT": ": compiled code gave up",
        "SIGBUS": ": a file that it had mapped has become shorter, or the disk is full",
        "SIGILL": ": compiled code is made for another processor",
    }
    return f"Its process was ended by {name}{more.get(name, '')}."


def _stop(workers: Sequence[_Worker]) -> None:
    """End what is still at work."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + GRACE
    try:
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:  # also when Ctrl-C is pressed again
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
