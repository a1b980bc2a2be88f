"""JSON lines on the standard output, one event each, for programs that watch a sweep."""

from __future__ import annotations

import json
import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from aqabench.runs.listener import Progress
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.record import RunRecord


class EventLines:
    """Events ``message``, ``started``, ``waits``, ``progress``, ``looked`` and ``ended``.

    Every line has ``event`` and ``time`` (seconds since 1970); all but messages have ``key`` and
    ``run``, which is how people call it.
    """

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""

    def say(self, what: str) -> None:
        """Write a message."""
        self._write("message", text=what)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Write ``number`` and ``total``."""
        self._write("started", spec, number=number, total=total)

    def run_waits(self, spec: RunSpec) -> None:
        """Another process is doing the run."""
        self._write("waits", spec)

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Write ``step``, ``steps``, ``epoch`` and ``loss`` by term; null is no number."""
        self._write(
            "progress",
            spec,
            step=progress.step,
            steps=progress.steps,
            epoch=progress.epoch,
            loss={name: _number(value) for name, value in progress.loss.items()},
        )

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Write ``epoch`` and ``srcc``, by which epochs are compared."""
        self._write("looked", spec, epoch=epoch, srcc=srcc)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Write ``status``, ``error`` and ``stored``: whether it was there before."""
        self._write("ended", spec, status=record.status, error=record.error, stored=was_stored)

    def _write(self, event: str, spec: RunSpec | None = None, **values: object) -> None:
        run = {} if spec is None else {"key": spec.key, "run": spec.label}
        line = {"event": event, "time": round(time.time(), 3), **run, **values}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _number(value: float) -> float | None:
    """Return what JSON has a word for."""
    return value if math.isfinite(value) else None
