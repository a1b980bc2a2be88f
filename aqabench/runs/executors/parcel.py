"""A run as it is sent to a node, and what the node says of it.

The node and the command that watches share nothing but a file system: the run's record goes to
the store, and signs of life are JSON lines in a file that may be lost without harm.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqabench.errors import AqabenchError
from aqabench.runs.job import Job, run_job
from aqabench.runs.listener import Listener, Progress, Step
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord

__all__ = ["Ear", "Parcel"]

EVERY = 2.0
"""Seconds between two lines on how far a run is."""
_VALUES: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "progress": {"step": int, "steps": int, "epoch": int, "loss": dict},
    "looked": {"epoch": int, "srcc": float},
    "waits": {},
    "error": {"text": str},
}
"""Event -> the values that come with it."""


@dataclass(frozen=True)
class Parcel:
    """A run to do, as submitit calls it in the process of its own that a job has.

    Attributes:
        job: the run.
        signs: the file for signs of life.
    """

    job: Job
    signs: Path

    def __call__(self) -> None:
        """Do it.

        Raises:
            Exception: what no record could be made of; the job has failed then.
        """
        faulthandler.enable()  # a crash in compiled code says where it was
        pen = _Pen(self.signs)
        try:
            run_job(self.job, pen)
        except AqabenchError as error:
            pen.write("error", text=str(error))
            raise
        except Exception as error:
            pen.write("error", text=f"{type(error).__name__}: {error}")
            raise

    def checkpoint(self) -> Any:
        """Tell submitit what to put back in the queue before the time is over: the same run.

        It goes on from the checkpoint in its folder.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Pen:
    """A listener that writes down what it hears."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: float | None = None

    def write(self, event: str, **values: object) -> None:
        """Add a line; the file is closed each time, so that other machines see it."""
        # a run is not to fail because nobody can be told how far it is
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Who watches sees the job."""

    def run_waits(self, spec: RunSpec) -> None:
        """Another process is doing this run."""
        self.write("waits")

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Write a line now and then, and at the end."""
        now = time.monotonic()
        last = progress.step == progress.steps
        if self._said is None or now - self._said >= EVERY or last:
            self._said = now
            loss = {str(name): float(value) for name, value in progress.loss.items()}
            self.write(
                "progress",
                step=progress.step,
                steps=progress.steps,
                epoch=progress.epoch,
                loss=loss,
            )

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Write it down."""
        self.write("looked", epoch=epoch, srcc=srcc)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Its record says so."""


class Ear:
    """Reads what a node writes on a run, line by line as lines come.

    Attributes:
        error: why the run could not be done; empty so far.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.error = ""
        self._path = path
        self._offset = 0

    def listen(self, spec: RunSpec, listener: Listener) -> None:
        """Pass on what is new."""
        for line in self._lines():
            try:
                event, values = _read(line)
            except (ValueError, KeyError, TypeError):  # a disk was full for a while
                continue
            match event:
                case "progress":
                    listener.run_progress(spec, Step(**values))
                case "looked":
                    listener.run_looked(spec, values["epoch"], values["srcc"])
                case "waits":
                    listener.run_waits(spec)
                case "error":
                    self.error = values["text"]

    def heard(self) -> bool:
        """Has anything been written?"""
        return self._path.exists()

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from whole.splitlines()


def _read(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return an event and its values.

    Raises:
        ValueError, KeyError, TypeError: it is not what a pen writes.
    """
    said = json.loads(line)
    if not isinstance(said, dict):
        raise TypeError
    event = said["event"]
    return event, {name: kind(said[name]) for name, kind in _VALUES[event].items()}
