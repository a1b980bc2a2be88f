"""What executors need to know of a queue, whatever it is, and the files that submitit has there.

A queue is asked for jobs by the name of their submission, which is known before there is a job.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aqabench.errors import UsageError
from aqabench.runs.executors.parcel import Parcel

__all__ = [
    "Place", "Queue", "Standing", "deaf", "environment_of_runs", "log_of", "python_there",
    "require_submitit", "was_sent",
]  # fmt: skip

OVER = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "REVOKED", "TIMEOUT",
    }
)  # fmt: skip
"""States, in Slurm's words, of a job that has left the queue."""
THREADS_BY = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What numpy's libraries read their number of threads from, when they are loaded."""
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=2097152"}
"""Tensors of 2 MiB or more get huge pages of their own, which go back to the system when they are
freed: a third less memory at the peak of a training.  glibc reads it when a process starts."""

Place = tuple[str, int]
"""Name of a submission and index of a run in it."""


@dataclass(frozen=True)
class Standing:
    """What a queue says of a job.

    Attributes:
        id: what people call it.
        state: in Slurm's words.
        reason: why it is not running.
        code: exit code once it is over, or minus the signal that ended it.
    """

    id: str
    state: str
    reason: str = ""
    code: int = 0

    @property
    def is_over(self) -> bool:
        """Has it left the queue?"""
        return self.state in OVER

    def ending(self) -> str:
        """Say how it ended, by the last that was seen of it."""
        job = f"Its job {self.id}"
        match self.state:
            case "CANCELLED":
                return f"{job} was cancelled."
            case "TIMEOUT" | "DEADLINE":
                return f"{job} ran out of time; give it more: --time."
            case "OUT_OF_MEMORY":
                return f"{job} needed more memory than it was given; give it more: --memory."
            case "NODE_FAIL" | "BOOT_FAIL":
                return f"{job} lost its node."
            case "PREEMPTED" | "REVOKED":
                return f"{job} had to make room for another."
            case "FAILED" if self.code < 0:
                return f"{job} was ended by {_signal(-self.code)}."
            case "FAILED":
                return f"{job} ended with exit code {self.code} before the run was done."
            case "PENDING":
                return f"{job} was taken out of the queue before it began."
        return f"{job} left the queue before the run was done."


class Queue(Protocol):
    """Where runs are handed to."""

    @property
    def room(self) -> int | None:
        """Runs that may be on at once; None where the queue sees to that."""

    @property
    def most(self) -> int:
        """Runs in one submission."""

    @property
    def pause(self) -> float:
        """Seconds between two questions to it."""

    def submit(self, folder: Path, parcels: Sequence[Parcel], shares: int) -> list[str]:
        """Hand over runs and return the ids of their jobs.

        Args:
            folder: of the submission; its last part is the name of the job.
            parcels: at most :attr:`most`.
            shares: number of submissions that the plan is cut into.

        Raises:
            UsageError: they were refused; after any other error the queue may have them.
        """

    def standings(self, folders: Collection[Path]) -> dict[Place, Standing] | None:
        """Return what is known of the jobs of submissions; None if the queue does not answer."""

    def cancel(self, ids: Sequence[str]) -> str:
        """End jobs; return why they may go on, and what to type then, or nothing."""

    def how_to_end(self, folders: Collection[Path]) -> str:
        """Return what to type to end what is still on."""


def require_submitit(executor: str) -> None:
    """Refuse to go on without the package that hands over runs.

    Raises:
        UsageError: it is not installed.
    """
    if importlib.util.find_spec("submitit") is None:
        raise UsageError(
            f"--executor {executor} needs the package submitit, which is not installed. Install "
            "it: pip install 'aqabench[cluster]'"
        )


def was_sent(folder: Path, job: str) -> bool:
    """Is there something to do for a job?  Otherwise it will wait a minute for it and give up."""
    from submitit.core.utils import JobPaths

    pickle: Path = JobPaths(folder, job).submitted_pickle
    return pickle.exists()


def log_of(folder: Path, job: str) -> Path:
    """Return the file that has a job's words."""
    from submitit.core.utils import JobPaths

    log: Path = JobPaths(folder, job).stdout
    return log


def environment_of_runs(threads: int) -> dict[str, str]:
    """Return the variables that libraries of a run's process read when they are loaded.

    What the user has chosen for the allocator stays.
    """
    own = {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
    return {**dict.fromkeys(THREADS_BY, str(threads)), **own}


def python_there(environment: Sequence[str], threads: int) -> str:
    """Return how Python is started there: libraries read their threads when they are loaded."""
    own = [f"{name}={value}" for name, value in environment_of_runs(threads).items()]
    return shlex.join(["env", *environment, *own, sys.executable])  # options of env come first


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Hold back Ctrl-C and the end of the terminal, here for a while and in what is started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
