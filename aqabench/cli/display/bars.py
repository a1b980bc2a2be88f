"""A line for every run that is on: bar, epoch, curve so far, time left; and one for all runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from aqabench.cli.display import ending

if TYPE_CHECKING:
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.record import RunRecord
    from aqabench.train.context import Progress as Step

BLOCKS = "▁▂▃▄▅▆▇█"
LOOKS = 12
"""Looks that a sparkline has room for."""
NAME = 34


class RunBars:
    """A listener that draws."""

    def __init__(self, console: Console, plan: Sequence[RunSpec]) -> None:
        """Prepare; nothing is drawn before the ``with`` block."""
        self._console, self._total = console, len(plan)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[where]}", justify="right"),
            TextColumn("{task.fields[curve]}", style="cyan"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._all = self._bars.add_task("all runs", total=self._total, where="", curve="")
        self._own: dict[str, TaskID] = {}
        self._curve: dict[str, list[float]] = {}
        self._part: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._ended = 0

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bars.start()
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
        self._bars.update(self._all, where=what)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Add a line."""
        name = spec.label if len(spec.label) <= NAME else spec.label[: NAME - 1] + "…"
        self._own[spec.key] = self._bars.add_task(
            escape(name), total=None, where="starting", curve=""
        )
        self._curve[spec.key] = []
        self._began[spec.key] = time.monotonic()
        self._count()

    def run_waits(self, spec: RunSpec) -> None:
        """Say that somebody else is at it."""
        self._bars.update(self._own[spec.key], where="done by another process, waiting")

    def run_progress(self, spec: RunSpec, progress: Step) -> None:
        """Move the bar of the run, and a fraction of the bar of all runs."""
        self._bars.update(
            self._own[spec.key],
            total=progress.steps,
            completed=progress.step,
            where=f"epoch {progress.epoch}",
        )
        self._part[spec.key] = progress.step / progress.steps
        self._count()

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Make the curve longer."""
        self._curve[spec.key].append(srcc)
        curve = f"{sparkline(self._curve[spec.key])} {srcc:.2f}"
        self._bars.update(self._own[spec.key], curve=curve)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Take the line away and say how it ended."""
        self._ended += 1
        self._part.pop(spec.key, None)
        if spec.key in self._own:
            self._bars.remove_task(self._own.pop(spec.key))
        self._count()
        seconds = time.monotonic() - self._began.get(spec.key, time.monotonic())
        how = ending(record.status, record.error, was_stored, seconds)
        line = f"[{self._ended}/{self._total}] {spec.label}: {how}"
        self._console.print(line, highlight=False, markup=False)

    def _count(self) -> None:
        done = self._ended + sum(self._part.values())
        self._bars.update(self._all, completed=done, where=f"{self._ended} of {self._total}")


def sparkline(values: Sequence[float]) -> str:
    """Return the last values as blocks of eight heights, from the lowest to the highest."""
    shown = list(values)[-LOOKS:]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(BLOCKS[round((v - low) / span * (len(BLOCKS) - 1))] for v in shown)
