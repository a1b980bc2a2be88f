"""One run as a parcel that another process or machine can do.

Everything in it is plain data, so that it can be pickled by us for us; a job is never read from a
file that somebody else may have written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aqabench.data.source import Loader
from aqabench.disk import home
from aqabench.method.registry import Registry
from aqabench.runs.listener import Listener
from aqabench.runs.plan import RunSpec
from aqabench.runs.store import RunStore

__all__ = ["Job", "jobs_of", "run_job"]


@dataclass(frozen=True)
class Job:
    """A run and what it takes to do it.

    Attributes:
        spec: the run.
        number: its place in the plan, from 1.
        load: gives the data.
        registry: where the methods come from.
        store: where the record goes.
        threads: of torch.
        home: the folder of everything aqabench keeps.
        track: experiment trackers that watch it.
        weights: is what it learns kept beside its record?
    """

    spec: RunSpec
    number: int
    load: Loader
    registry: Registry
    store: RunStore
    threads: int
    home: Path
    track: tuple[str, ...] = ()
    weights: bool = False

    @property
    def folder(self) -> Path:
        """Where the run is stored."""
        spec = self.spec
        return self.store.directory(spec.question.protocol.name, spec.method, spec.key)


def jobs_of(
    plan: Sequence[RunSpec],
    load: Loader,
    registry: Registry,
    store: RunStore,
    threads: int,
    track: tuple[str, ...] = (),
    weights: bool = False,
) -> list[Job]:
    """Return a job for each run of a plan."""
    root = RunStore(store.root.absolute())
    return [
        Job(spec, number, load, registry, root, threads, home().absolute(), track, weights)
        for number, spec in enumerate(plan, 1)
    ]


def run_job(job: Job, listener: Listener) -> bool:
    """Do a job in this process; its record is in the store afterwards.

    Returns:
        Whether another process stored it meanwhile.

    Raises:
        AqabenchError: the data or the store are not usable, which other runs will meet as well.
    """
    os.environ["AQABENCH_HOME"] = str(job.home)
    import torch

    from aqabench.runs.execute import do_run

    torch.set_num_threads(job.threads)
    _, was_stored = do_run(
        job.spec, job.load(), job.registry, job.store, listener, job.track, job.weights
    )
    return was_stored
