"""Where runs are done: options that verbs share, and the way from them to an executor."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import rich_click as click

from aqabench.errors import UsageError

if TYPE_CHECKING:
    from aqabench.runs.executors.queues import Queue
    from aqabench.runs.job import Job
    from aqabench.runs.listener import Listener
    from aqabench.runs.resume import Outcome

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["local", "background", "slurm"]

OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "background", "slurm"]),
        default="local",
        show_default=True,
        help="local: processes that end with this command; background: processes that outlive it; "
        "slurm: jobs of a cluster. The same command again watches what is still on.",
    ),
    click.option(
        "--jobs",
        "-j",
        type=click.IntRange(min=1),
        help="Runs at once, a process for each. Default: as many as cores and memory allow.",
    ),
    click.option(
        "--profile",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With slurm: a YAML file with what follows, and more; these options win over it.",
    ),
    click.option("--partition", help="With slurm. Default: the cluster's own."),
    click.option("--gpus", type=int, help="With slurm: GPUs of a run. Default: 0"),
    click.option(
        "--time", help="With slurm: limit of a run, H:MM:SS or D-HH:MM:SS. Default: 1:00:00"
    ),
    click.option("--memory", help="With slurm: of a run, such as 8G. Default: the cluster's own."),
    click.option("--array-parallelism", type=int, help="With slurm: runs at once."),
)
ASKED = ("partition", "gpus", "time", "memory", "array_parallelism")
"""Fields of a profile that are options as well."""


@dataclass(frozen=True)
class Executor:
    """Where runs are done; :func:`executor_options` makes it.

    Attributes:
        kind: what was asked for.
        threads: of a run.
        at_once: runs at once; None for what the machine can do.
        queue: where they are handed to; None for local.
    """

    kind: Kind
    threads: int
    at_once: int | None
    queue: Queue | None

    def __call__(
        self, jobs: Sequence[Job], listener: Listener, say: Callable[[str], None]
    ) -> Outcome:
        """Do the jobs that are not done yet.

        Args:
            jobs: of one plan, in its order.
            listener: told of every start, step and end.
            say: told in words what happens between runs.

        Raises:
            AqabenchError: results cannot be kept, or the runs are refused.
        """
        if self.kind == "local" or self.queue is None:
            from aqabench.runs.executors.local import execute_processes, usual_jobs

            return execute_processes(jobs, self.at_once or usual_jobs(self.threads), listener)
        from aqabench.runs.executors.cluster import execute_queued
        from aqabench.runs.executors.ledger import Ledger

        ledger = Ledger(jobs[0].store, self.kind)
        return execute_queued(jobs, self.queue, ledger, listener, say)


def executor_options(function: F) -> F:
    """Add the options, and give the function an ``executor`` made of them.

    It must have ``--threads``.
    """

    @functools.wraps(function)
    def bundled(*args: Any, threads: int, **given: Any) -> Any:
        asked = {name: given.pop(name) for name in ASKED}
        executor = _executor(
            given.pop("executor"), threads, given.pop("jobs"), given.pop("profile"), asked
        )
        try:
            return function(*args, threads=threads, executor=executor, **given)
        except KeyboardInterrupt as stop:
            if str(stop):
                click.echo(str(stop), err=True)
            raise

    for option in reversed(OPTIONS):
        bundled = option(bundled)
    return bundled  # type: ignore[return-value]


def _executor(
    kind: Kind, threads: int, at_once: int | None, profile: Path | None, asked: dict[str, Any]
) -> Executor:
    """Find out, before anything runs, whether runs can be done there.

    Raises:
        UsageError: options that do not belong together, a wrong profile, a missing program.
    """
    given = [name for name, value in {"profile": profile, **asked}.items() if value is not None]
    if kind != "slurm" and given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for a cluster, but the runs are to be done here "
            f"(--executor {kind}). Leave it out, or add --executor slurm."
        )
    if kind == "local":
        return Executor(kind, threads, at_once, None)
    if kind == "slurm" and at_once is not None:
        raise UsageError(
            "--jobs is for processes on this machine, and Slurm starts runs as it has room. Use "
            "--array-parallelism for a limit of your own."
        )
    from aqabench.runs.executors.profile import read_profile
    from aqabench.runs.executors.queues import require_submitit

    cluster = read_profile(profile, asked)
    require_submitit(kind)
    if kind == "background":
        from aqabench.runs.executors.background import Background
        from aqabench.runs.executors.local import usual_jobs

        return Executor(kind, threads, at_once, Background(at_once or usual_jobs(threads), threads))
    from aqabench.runs.executors.slurm import Slurm

    return Executor(kind, threads, None, Slurm.reach(cluster, threads))
