"""What a process does that was started for one run.

It holds the run's folder, keeps what it says in the run's log, tells the process that started it
how far it is, and ends when that one does.  It knows nothing of other runs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from aqabench.disk import storing
from aqabench.errors import AqabenchError
from aqabench.runs.claim import claim
from aqabench.runs.job import Job, run_job
from aqabench.runs.listener import Progress
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import finished
from aqabench.runs.store import LOG

__all__ = ["SERVER_GONE", "nothing", "work"]

REPORTS_PER_SECOND = 5
STOPPED = 3
"""Exit code of a process that met an error which other runs will meet as well."""
SERVER_GONE = 255
"""Exit code that multiprocessing makes up where the server that would know it was ended."""
WATCH = 1.0
"""Seconds between two looks whether the server is there."""


class Teller:
    """A listener that sends what it hears, as plain data, to the process that wants to know."""

    def __init__(self, pipe: Connection) -> None:
        """Keep our end of the pipe."""
        self._pipe = pipe
        self._said = -1.0

    def tell(self, word: str, *rest: object) -> None:
        """Send a message; where nobody listens any more, this process ends at once."""
        try:
            self._pipe.send((word, *rest))
        except OSError:
            # an exception would be taken for a failure of the method and become a row
            os._exit(STOPPED)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Who listens knows."""

    def run_waits(self, spec: RunSpec) -> None:
        """Another process is doing this run."""
        self.tell("waits")

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Pass on a few a second, and the last."""
        now = time.monotonic()
        if not 0 <= now - self._said < 1 / REPORTS_PER_SECOND or progress.step == progress.steps:
            self._said = now
            loss = {str(name): float(value) for name, value in progress.loss.items()}
            self.tell("progress", progress.step, progress.steps, progress.epoch, loss)

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Pass it on."""
        self.tell("looked", epoch, srcc)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Said by :func:`work`."""


def work(job: Job, pipe: Connection) -> None:
    """Do a run.

    Tells ``waits``, ``logs`` (from now on words go to the log), ``progress``, ``looked``, and at
    the end ``done`` (was stored), ``error`` (class, message; other runs will meet it as well) or
    ``crash`` (what happened).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()
    teller = Teller(pipe)
    try:
        with claim(job.folder, lambda: teller.tell("waits")):
            if finished(job.spec, job.store) is not None:
                teller.tell("done", True)
                return
            with _log(job.folder / LOG):
                teller.tell("logs")
                teller.tell("done", run_job(job, teller))
    except AqabenchError as error:
        teller.tell("error", _plain_class(error), str(error))
        sys.exit(STOPPED)
    except Exception as error:
        teller.tell("crash", f"{type(error).__name__}: {error}")
        sys.exit(1)


def nothing() -> None:
    """Be started and end, which shows that processes can be started."""


@contextlib.contextmanager
def _log(path: Path) -> Iterator[None]:
    """Send the words of this process to a file from now on; an empty one is removed."""
    with storing(path):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(log, descriptor)
        # line by line, so that a crash takes no words along
        stream = open(  # noqa: SIM115
            descriptor, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, stream)
    os.close(log)
    faulthandler.enable()  # a crash in compiled code says where it was
    try:
        yield
    except AqabenchError:
        raise
    except Exception:
        traceback.print_exc()
        raise
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            if not path.stat().st_size:
                path.unlink()


def _plain_class(error: AqabenchError) -> str:
    """Return the nearest class of an error that is made of its message alone."""
    return next(c.__name__ for c in type(error).__mro__ if "__init__" not in vars(c))


def _end_with_parent() -> None:
    """End this process when its parent is gone, so that no run goes on that nobody asked for."""
    parent, server = multiprocessing.parent_process(), os.getppid()
    assert parent is not None

    def watch() -> None:
        while not wait([parent.sentinel], WATCH) and os.getppid() == server:
            pass
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()
