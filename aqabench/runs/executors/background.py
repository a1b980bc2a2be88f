"""A queue of our own on one machine: processes that outlive the command that started them.

It starts no more of them than the command allows; what is left when that ends waits for the next.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from aqabench.runs.executors.parcel import Parcel
from aqabench.runs.executors.queues import Place, Standing, python_there

__all__ = ["Background"]

FOREVER = 525_600
"""Minutes that a run may take: a year."""


@dataclass(frozen=True)
class Background:
    """Processes on this machine that outlive the command that started them.

    Attributes:
        room: how many of them at once.
        threads: of a run.
        most: each has a submission of its own, because it has no other name.
        pause: seconds between two questions.
    """

    room: int
    threads: int
    most: int = 1
    pause: float = 1.0

    def submit(self, folder: Path, parcels: Sequence[Parcel], shares: int) -> list[str]:
        """Start a process for each."""
        from submitit import LocalExecutor

        # submitit would hide the GPUs from whoever has not asked it for some
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        see = ["-u", "CUDA_VISIBLE_DEVICES"] if gpus is None else [f"CUDA_VISIBLE_DEVICES={gpus}"]
        executor = LocalExecutor(folder, python=python_there(see, self.threads))
        executor.update_parameters(timeout_min=FOREVER, stderr_to_stdout=True)
        with _detached():
            return [job.job_id for job in executor.submit_array(parcels)]

    def standings(self, folders: Collection[Path]) -> dict[Place, Standing]:
        """Look for the processes that see to a run; their last word is the folder."""
        wanted = {str(folder): folder.name for folder in folders}
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "submitit.local._local" in words and words[-1] in wanted:
                    found[wanted[words[-1]], 0] = Standing(str(process.pid), "RUNNING")
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        """Kill the processes that see to runs, and the runs."""
        for pid in ids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                for one in (process, *process.children(recursive=True)):
                    one.kill()
        return ""

    def how_to_end(self, folders: Collection[Path]) -> str:
        """Name what they have in their command lines, and runs of other commands have not."""
        return f"pkill -KILL -f {shlex.quote('|'.join(sorted(f.name for f in folders)))}"


@contextlib.contextmanager
def _detached() -> Iterator[None]:
    """Let what is started here have none of our streams: who reads them waits for their end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ours = [os.dup(number) for number in range(3)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for number in range(3):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, kept in enumerate(ours):
            os.dup2(kept, number)
            os.close(kept)
        os.close(nowhere)
