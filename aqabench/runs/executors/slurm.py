"""Slurm as a queue.

What it says of jobs comes from ``squeue`` alone: ``sacct`` needs accounting, which not every site
has.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from aqabench.errors import AqabenchError, UsageError
from aqabench.runs.executors.parcel import Parcel
from aqabench.runs.executors.profile import ClusterProfile
from aqabench.runs.executors.queues import Place, Standing, python_there

__all__ = ["Slurm"]

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
REQUEUES = 3
"""How often a run that needs more than its time is put back in the queue."""
MAX_ARRAY = 1001
"""Runs in an array where the cluster does not say: Slurm's own default."""
NOTICE = 90
"""Seconds before the end at which Slurm tells a run that its time is over."""
SILENCE = 60.0
"""Seconds after which a program of Slurm's counts as not answering."""
FIELDS = ("Name", "ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason")
WIDTH = 60
"""Characters that squeue leaves for each of them."""


@dataclass(frozen=True)
class Slurm:
    """A cluster; make it with :meth:`reach`.

    Attributes:
        profile: what each run asks for.
        threads: of a run.
        most: runs that fit into an array.
        room: the queue has it for all.
        pause: seconds between two questions.
    """

    profile: ClusterProfile
    threads: int
    most: int
    room: None = None
    pause: float = 10.0

    @classmethod
    def reach(cls, profile: ClusterProfile, threads: int) -> Slurm:
        """Return the cluster that this machine belongs to.

        Raises:
            UsageError: there is none, or it does not answer.
        """
        absent = [program for program in PROGRAMS if shutil.which(program) is None]
        if absent:
            raise UsageError(
                f"There is no {absent[0]} on this machine, which --executor slurm needs. Type the "
                "command on a login node of your cluster, or leave --executor slurm out."
            )
        said = _ask("scontrol", "show", "config")
        if isinstance(said, _Silence):
            raise UsageError(
                f"Slurm does not answer: {said.words}. Try 'sinfo'; when that answers, type the "
                "same command again."
            )
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
        return cls(profile, threads, int(size[1]) if size else MAX_ARRAY)

    def submit(self, folder: Path, parcels: Sequence[Parcel], shares: int) -> list[str]:
        """Hand over an array of jobs.

        Raises:
            UsageError: Slurm has not taken them.
            AqabenchError: nobody knows whether it has.
        """
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        profile = self.profile
        cpus = profile.cpus or self.threads
        at_once = max(1, (profile.array_parallelism or len(parcels) * shares) // shares)
        executor = SlurmExecutor(folder, REQUEUES, python=python_there([], self.threads))
        asked: dict[str, Any] = {
            "job_name": folder.name,
            "time": profile.minutes,
            "nodes": 1,
            "cpus_per_task": cpus,
            "srun_args": [f"--cpus-per-task={cpus}"],  # srun does not take it from sbatch
            "array_parallelism": at_once,
            "signal_delay_s": min(NOTICE, 15 * profile.minutes),
            "stderr_to_stdout": True,
            "setup": list(profile.setup),
            "wckey": None,
            "gpus_per_node": profile.gpus or None,
            "mem": profile.memory,
            "partition": profile.partition,
            "account": profile.account,
            "qos": profile.qos,
            "constraint": profile.constraint,
            "additional_parameters": {"requeue": True},  # not every site allows it by default
        }
        executor.update_parameters(**asked)
        try:
            # submitit prints what sbatch says before it raises it
            with contextlib.redirect_stderr(io.StringIO()), _bounded("sbatch") as overdue:
                return [job.job_id for job in executor.submit_array(parcels)]
        except (FailedJobError, FailedSubmissionError) as error:
            if overdue:
                raise AqabenchError(
                    f"sbatch gave no answer in {SILENCE:.0f} s, so nobody knows whether Slurm has "
                    "taken the runs. Try 'sinfo'; when that answers, type the same command again: "
                    "it cancels such jobs and hands the runs over anew."
                ) from error
            raise UsageError(
                f"Slurm did not take the runs: {_sentence(str(error))}. Correct the options or the "
                "profile ('sinfo' shows the partitions and their limits), then type the same "
                "command again."
            ) from error

    def standings(self, folders: Collection[Path]) -> dict[Place, Standing] | None:
        """Ask squeue for all that it remembers."""
        if not folders:
            return {}
        said = _ask(
            "squeue", "--noheader", "--array", "--all", "--states=all", f"--user={os.getuid()}",
            f"--name={','.join(folder.name for folder in folders)}",
            f"--Format={','.join(f'{field}:{WIDTH}|' for field in FIELDS)}",
        )  # fmt: skip
        if isinstance(said, _Silence):
            return None
        found = {}
        for line in said.splitlines():
            if line.count("|") < len(FIELDS):  # half an answer would make failures of what it lacks
                return None
            name, array, index, state, code, reason, *_ = (part.strip() for part in line.split("|"))
            single = not index.isdigit()
            found[name, 0 if single else int(index)] = Standing(
                array if single else f"{array}_{index}",
                state,
                "" if reason == "None" else reason,
                _exit_code(int(code) if code.isdigit() else 0),
            )
        return found

    def cancel(self, ids: Sequence[str]) -> str:
        """End jobs."""
        said = _ask("scancel", *ids)
        if not isinstance(said, _Silence):
            return ""
        return f"{said.words}; to end them: scancel {' '.join(ids)}"

    def how_to_end(self, folders: Collection[Path]) -> str:
        """Name the jobs."""
        return f"scancel --name={','.join(sorted({folder.name for folder in folders}))}"


@dataclass(frozen=True)
class _Silence:
    """A program did not do what it was asked; these were its words."""

    words: str


def _ask(*command: str) -> str | _Silence:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SILENCE, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return _Silence(f"{command[0]} gave no answer in {SILENCE:.0f} s")
    except OSError as error:
        return _Silence(str(error))
    return _Silence(_sentence(done.stderr)) if done.returncode else done.stdout


@contextlib.contextmanager
def _bounded(program: str) -> Iterator[list[str]]:
    """Kill a program that others start here and wait for, once it counts as not answering.

    Yields:
        Its name, where that was done.
    """
    killed: list[str] = []

    def kill() -> None:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if any(Path(word).name == program for word in child.cmdline()):
                    killed.append(program)
                    for one in (child, *child.children(recursive=True)):
                        one.kill()

    timer = threading.Timer(SILENCE, kill)
    timer.daemon = True
    timer.start()
    try:
        yield killed
    finally:
        timer.cancel()


def _sentence(words: str) -> str:
    """Join lines such as ``sbatch: error: …`` to what they say."""
    lines = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in words.splitlines()]
    return "; ".join(line.rstrip(".") for line in lines if line) or "it gave no reason"


def _exit_code(status: int) -> int:
    """Return what a wait status means; a shell says 128 + n of a program that signal n ended."""
    try:
        code = os.waitstatus_to_exitcode(status)
    except (ValueError, OverflowError):  # it has none
        return 0
    return 128 - code if code > 128 else code
