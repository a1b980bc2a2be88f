"""Which runs of a store have been handed to a queue, so that a later command finds them there.

``<store>/.jobs/<user>/<name>/`` is one submission: ``runs.json`` beside the files of submitit.  Its
name is also that of the job in the queue, and it is written down *before* the queue is asked, so
that whoever is killed in between leaves nothing that cannot be found.
"""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from aqabench.disk import replace_file, storing
from aqabench.errors import StoreError
from aqabench.runs.job import Job
from aqabench.runs.places import RECORD, stamp
from aqabench.runs.store import RunStore

__all__ = ["Ledger", "Submission"]

RUNS = "runs.json"
Executor = Literal["background", "slurm"]


class _Entry(BaseModel):
    """One run of a submission.

    Attributes:
        protocol, method, key: where it is stored.
        record: stamp of the record it had then, which is of a failed run, or empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    method: str
    key: str
    record: str


class Submission(BaseModel):
    """Runs that were handed over together; the place of a run is its index in the array.

    Attributes:
        name: of the folder, and of the job in the queue.
        executor: what kind of queue.
        host: where the command ran.
        time: UTC, ISO 8601.
        runs: in the order of the array.
        jobs: ids by key, for people to look up; empty until the queue has said them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    executor: Executor
    host: str
    time: str
    runs: tuple[_Entry, ...]
    jobs: dict[str, str] = {}


class Ledger:
    """All submissions of one user to one kind of queue."""

    def __init__(self, store: RunStore, executor: Executor) -> None:
        """Nothing is read or made yet."""
        self._store = store
        self._executor: Executor = executor
        # other users may share the store, and what lies here is run as code
        self._root = store.root.absolute() / ".jobs" / str(os.getuid())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands from handing over runs meanwhile.

        Raises:
            StoreError: the folder cannot be made.
        """
        with storing(self._root):
            self._root.parent.mkdir(parents=True, exist_ok=True)
            self._root.mkdir(mode=0o700, exist_ok=True)
            lock = FileLock(self._root / ".lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def folder(self, submission: Submission) -> Path:
        """Return where it lies."""
        return self._root / submission.name

    def signs(self, submission: Submission, key: str) -> Path:
        """Return the file for signs of life of a run."""
        return self.folder(submission) / f"{key}.jsonl"

    def submissions(self) -> list[Submission]:
        """Return those to this kind of queue that can be seen from here, the oldest first.

        Raises:
            StoreError: one of them cannot be read.
        """
        found = []
        for path in self._root.glob(f"*/{RUNS}"):
            try:
                submission = Submission.model_validate_json(path.read_bytes())
            except FileNotFoundError:  # tidied away meanwhile
                continue
            except (OSError, ValidationError) as error:
                raise StoreError(
                    f"{path} cannot be read ({str(error).splitlines()[0]}), so it is not known "
                    f"which runs are queued. Move the folder {path.parent} away and type the same "
                    "command again."
                ) from error
            here = submission.host == socket.gethostname()
            if submission.executor == self._executor and (here or self._executor == "slurm"):
                found.append(submission)
        return sorted(found, key=lambda s: s.time)

    def begin(self, jobs: Sequence[Job]) -> Submission:
        """Write down that runs are about to be handed over.

        Raises:
            StoreError: it cannot be written.
        """
        submission = Submission(
            name=f"aqabench-{uuid.uuid4().hex[:12]}",
            executor=self._executor,
            host=socket.gethostname(),
            time=datetime.datetime.now(datetime.UTC).isoformat(),
            runs=tuple(
                _Entry(
                    protocol=job.spec.question.protocol.name,
                    method=job.spec.method,
                    key=job.spec.key,
                    record=stamp(str(job.folder / RECORD)),
                )
                for job in jobs
            ),
        )
        self._write(submission)
        return submission

    def settle(self, submission: Submission, ids: Sequence[str]) -> None:
        """Write down the ids that the queue gave, in the order of the runs.

        Raises:
            StoreError: it cannot be written.
        """
        keys = [run.key for run in submission.runs]
        self._write(submission.model_copy(update={"jobs": dict(zip(keys, ids, strict=True))}))

    def drop(self, submission: Submission) -> None:
        """Forget it, with its logs."""
        shutil.rmtree(self.folder(submission), ignore_errors=True)

    def tidy(self, queued: Container[str]) -> None:
        """Forget what has left the queue and ended well; logs of other runs stay.

        Args:
            queued: names of submissions that are still in the queue.
        """
        for submission in self.submissions():
            if submission.name not in queued and all(map(self._finished, submission.runs)):
                self.drop(submission)

    def _finished(self, run: _Entry) -> bool:
        record = self._store.find(run.protocol, run.method, run.key)
        return record is not None and record.status == "finished"

    def _write(self, submission: Submission) -> None:
        folder = self.folder(submission)
        with storing(folder):
            folder.mkdir(exist_ok=True)
            replace_file(folder / RUNS, (submission.model_dump_json(indent=1) + "\n").encode())
