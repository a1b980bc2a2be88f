"""What a person sees while runs go on: bars with time left, or plain lines where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord

if TYPE_CHECKING:
    from aqabench.method.base import Progress as Step

PLAIN_EVERY = 15.0
"""Seconds between lines of one run where the output is not a terminal."""


class RunDisplay:
    """A listener that draws one bar for all runs and one for the run that is on."""

    def __init__(self, console: Console, plan: Sequence[RunSpec]) -> None:
        """Prepare; nothing is drawn before the ``with`` block."""
        self._console, self._total = console, len(plan)
        self._live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._all = self._bars.add_task("all runs", total=self._total)
        self._one = self._bars.add_task("", total=None)
        self._began = self._said = 0.0
        self._did = 0

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live:
            self._bars.start()
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the screen as it was."""
        self._bars.stop()

    def say(self, what: str) -> None:
        """Say what is going on between runs."""
        if self._live:
            self._bars.update(self._one, description=what, total=None)
        else:
            self._console.print(f"{what} …", highlight=False)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Begin a new bar."""
        self._number = number
        if self._live:
            self._bars.reset(self._one, description=escape(spec.label), total=None)
        self._start = self._said = time.monotonic()

    def run_progress(self, spec: RunSpec, progress: Step) -> None:
        """Move the bar of the run, and a fraction of the bar of all runs."""
        if self._live:
            loss = sum(progress.loss.values())
            text = f"{escape(spec.label)}, epoch {progress.epoch}, loss {loss:.3f}"
            self._bars.update(
                self._one, description=text, total=progress.steps, completed=progress.step
            )
            self._bars.update(
                self._all, completed=self._number - 1 + progress.step / progress.steps
            )
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            left = (self._said - self._start) * (progress.steps / progress.step - 1)
            self._console.print(
                f"[{self._number}/{self._total}] {spec.label}: step {progress.step} of "
                f"{progress.steps}, loss {sum(progress.loss.values()):.3f}, {left:.0f} s left",
                highlight=False,
                markup=False,
            )

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Say how it ended."""
        self._did += 1
        if self._live:
            self._bars.update(self._all, completed=self._did)
        if was_stored:
            word = "stored already"
        elif record.status == "failed":
            word = f"FAILED: {record.error}"
        else:
            word = f"done in {time.monotonic() - self._start:.0f} s"
        self._console.print(
            f"[{self._did}/{self._total}] {spec.label}: {word}", highlight=False, markup=False
        )
