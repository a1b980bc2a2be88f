"""Plain lines, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aqabench.cli.display.endings import Endings, duration

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.runs.listener import Progress
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.record import RunRecord

EVERY = 15.0
"""Seconds between lines of one run."""


class PlainLines:
    """A line when a run ends, and one for each quarter of a minute that it goes on."""

    def __init__(self, console: Console, plan: Sequence[RunSpec]) -> None:
        """Write to a console."""
        self._console = console
        self._endings = Endings(len(plan), self._line)
        self._said: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Nothing to set up."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say what is left to say."""
        self._endings.sum_up()

    def say(self, what: str) -> None:
        """Write a line."""
        self._line(f"{what} …")

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Take the time."""
        self._endings.started(spec)
        self._said[spec.key] = time.monotonic()

    def run_waits(self, spec: RunSpec) -> None:
        """Say for whom."""
        self._line(f"{spec.label}: another process is doing it, waiting for its result")

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Write a line now and then."""
        now = time.monotonic()
        if now - self._said[spec.key] > EVERY and progress.step > 0:
            self._said[spec.key] = now
            left = self._endings.seconds(spec) * (progress.steps / progress.step - 1)
            self._line(
                f"[{self._endings.count}/{self._endings.total}] {spec.label}: step "
                f"{progress.step} of {progress.steps}, loss {sum(progress.loss.values()):.3f}, "
                f"{duration(max(0.0, left))} left"
            )

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Looks are in the record."""

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Write how it ended."""
        self._endings.ended(spec, record, was_stored)

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
